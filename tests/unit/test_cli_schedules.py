"""``saga schedules`` against a real process, and what ``saga dev`` puts by itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from .test_cli_remote import SAGA, Process, saga

pytestmark = pytest.mark.slow

SHOP = """
from datetime import timedelta
from pydantic import BaseModel
from sagaline.sagas import Saga, Schedule, step, Contract
from sagaline.workers import Context, Worker

class Report(BaseModel):
    kind: str = "sales"
    due: str = ""

class Ask(BaseModel):
    kind: str

send_it = Contract("send", Ask, Ask, queue="reports")
worker = Worker("sender")

@worker.handles(send_it)
async def handle(command: Ask, ctx: Context) -> Ask:
    return command

@step(send_it)
def send(s: Report) -> Ask:
    return Ask(kind=s.kind)

report = Saga("report", Report, flow=[send])
nightly = Schedule("nightly", report, Report(), cron="30 2 * * *", zone="Europe/Berlin", due_into="due")
often = [Schedule("often", report, Report(), every=timedelta(seconds=1))]
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("schedules")
    (folder / "reports.py").write_text(SHOP)
    process = Process(folder, [*SAGA, "dev", "reports", "--no-reload", "--port", "0"])
    try:
        process.wait_for(r"answering at (http\S+);")
        yield process
    finally:
        process.end()


def shown(up: Process, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(100):
        listed = json.loads(saga(up, "schedules", "list", "--json"))["schedules"]
        if any(each["name"] == name for each in listed):
            found: dict[str, Any] = json.loads(saga(up, "schedules", "show", name, "--json"))
            if holds(found):
                return found
        with suppress(subprocess.TimeoutExpired):
            up.running.wait(0.1)
    raise AssertionError(f"{name} never became so; last seen: {listed}")


def test_dev_puts_the_schedules_of_its_modules_and_they_start(up: Process) -> None:
    found = shown(up, "often", lambda each: each["started"] > 0 and each["recent"][-1]["outcome"] == "started")
    assert found["changed_by"] == "sagaline-dev"
    instance = found["recent"][-1]["instance"]
    assert instance.startswith("report/often-2")
    assert "completed" in saga(up, "show", instance) or "running" in saga(up, "show", instance)
    shown(up, "nightly", lambda each: len(each["next"]) == 5)
    text = saga(up, "schedules", "list")
    for part in ("nightly", "30 2 * * * Europe/Berlin", "often", "every 1 s", "report"):
        assert part in text


def test_a_schedule_is_applied_from_code(up: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown(up, "nightly", lambda each: True)
    (tmp_path / "reports_to_apply.py").write_text(SHOP.replace("30 2", "45 2"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    applied = saga(up, "schedules", "apply", "reports_to_apply:nightly", "--reason", "release 7", "--by", "ann")
    assert applied == "nightly is in effect\n"
    again = saga(up, "schedules", "apply", "reports_to_apply:nightly", "--json")
    assert json.loads(again)["changed"] is False
    text = saga(up, "schedules", "show", "nightly")
    for part in ("nightly starts report at 45 2 * * * Europe/Berlin", "by ann: release 7", "key {schedule}-{due}"):
        assert part in text
    assert text.count("T02:45:00") + text.count("T03:00:00") == 5


def test_a_schedule_is_put_paused_triggered_and_deleted(up: Process) -> None:
    given = ["--definition", "report", "--input", '{"kind": "tax"}', "--jitter", "5s"]
    put = saga(up, "schedules", "put", "hourly", *given, "--every", "1h", "--reason", "month end")
    assert put == "hourly is in effect\n"
    assert saga(up, "schedules", "pause", "hourly", "--reason", "move") == "pause hourly: done\n"
    assert saga(up, "schedules", "pause", "hourly") == "pause hourly: nothing to change\n"
    assert "hourly" in saga(up, "schedules", "list", "--paused")
    saga(up, "schedules", "trigger", "hourly")
    since = ("--since", "2026-01-01T00:00:00Z", "--until", "2026-01-01T01:00:00Z")
    assert saga(up, "schedules", "backfill", "hourly", *since) == "backfill hourly: done\n"
    shown(up, "hourly", lambda each: [fired["outcome"] for fired in each["recent"]] == ["started"] * 3)
    text = saga(up, "schedules", "show", "hourly")
    for part in ("every 3600 s, paused", "next: none", "3 started, 0 of them denied", "report/hourly-now-", '"tax"'):
        assert part in text
    assert saga(up, "schedules", "resume", "hourly", "--json").startswith("{")
    assert saga(up, "schedules", "delete", "hourly") == "delete hourly: done\n"
    assert "there is no schedule 'hourly'" in saga(up, "schedules", "delete", "hourly", code=1)


def test_a_mistake_is_one_sentence(up: Process) -> None:
    put = ["schedules", "put", "x", "--definition", "report"]
    assert "its hour is '25'" in saga(up, *put, "--cron", "0 25 * * *", code=1)
    assert "--every '1 hour' is not a span; give a number and s, m, h or d" in saga(
        up, *put, "--every", "1 hour", code=2
    )
    assert "no module 'nowhere'" in saga(up, "schedules", "apply", "nowhere:x", code=2)
