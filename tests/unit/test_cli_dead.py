"""``saga dead`` against a real process; a redrive is killed and run again."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.cli import bulk
from sagaline.orchestrator.cli.errors import Failure
from sagaline.orchestrator.cli.options import Remote
from sagaline.orchestrator.codec.dead_letters import Why, dead_letter
from sagaline.orchestrator.ports.log import Record, TopicSpec
from sagaline.orchestrator.ports.topics import Topics

from .test_cli_remote import CHECKOUT, SAGA, Process, environment, saga

pytestmark = pytest.mark.slow

QUEUE = "sagaline.commands.parking"
LETTERS = 60


async def bury(path: Path) -> None:
    """Letters of one failure, and one of another."""
    async with SqliteLog(path, clock=SystemClock()) as log:
        await log.create_topics([TopicSpec(QUEUE, 1, "delete")])
        letters = []
        for n in range(LETTERS + 1):
            record = Record(QUEUE, 0, n, b"K-%d" % (n % 5), b'{"n":%d}' % n, (("a", b"b"),), 1)
            why = Why(f"it failed: no stock for {n}" if n < LETTERS else "it was rejected: no", "failed")
            letters.append(dead_letter(Topics().dead, 0, record, why, 900_000))
        await log.append(letters)


async def redriven(path: Path) -> list[int]:
    async with SqliteLog(path, clock=SystemClock()) as log:
        (end,) = (await log.end_offsets([QUEUE])).values()
        tail = await log.tail([QUEUE], "earliest")
        found: list[Record] = []
        while len(found) < end:
            found += await tail.poll(max_records=500, timeout=0.1)
        await tail.close()
        return [json.loads(record.value or b"")["n"] for record in found]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path]]:
    """Engine and API in one process, with dead letters in its log."""
    folder = tmp_path_factory.mktemp("dead")
    command = [*SAGA, "run", CHECKOUT, "--api", "--port", "0", "--log", "sqlite:///shop.db"]
    process = Process(folder, command, SAGALINE_API_TOKENS='["a-token-for-tests-only"]')
    try:
        process.wait_for(r"answering at (http\S+);")
        asyncio.run(bury(folder / "shop.db"))
        for _ in range(100):
            if f"0-{LETTERS}" in saga(process, "dead", "list"):
                break
        yield process, folder / "shop.db"
    finally:
        process.end()


def test_letters_are_grouped_shown_edited_and_acted_on(up: tuple[Process, Path]) -> None:
    process, _ = up
    groups = saga(process, "dead", "list", "--groups")
    assert str(LETTERS) in groups
    assert "it was rejected: no" in groups
    name = f"0-{LETTERS}"
    (letter,) = json.loads(saga(process, "dead", "list", "--match", "REJECTED", "--json"))["letters"]
    assert letter["id"] == name
    assert saga(process, "dead", "edit", name, "--value", '{"n":-1}') == "edit: done\n"
    shown = saga(process, "dead", "show", name)
    for part in (
        "edited by administrator",
        f"from {QUEUE}/0/{LETTERS}",
        "it was rejected: no",
        '{"n":-1}',
        f'{{"n":{LETTERS}}}',
    ):
        assert part in shown
    assert saga(process, "dead", "discard", name, "--reason", "test data") == f"discard {name}: done\n"
    assert saga(process, "dead", "discard", name) == f"discard {name}: nothing to change\n"
    assert "discarded" in saga(process, "dead", "list", "--state", "discarded")
    assert "no dead letters match; nothing to redrive" in saga(process, "dead", "redrive", "--match", "x", "--apply")
    assert "nothing is selected: give names of letters, a filter, or --all" in saga(process, "dead", "redrive", code=2)
    refused = saga(process, "dead", "discard", "7-7", name, "7-8", code=1)
    for part in (
        "discard 7-7: there is no dead letter '7-7'",
        "discard 7-8: there is no dead letter '7-8'",
        "2 of 3 were denied; resolve the cause, then run it again: no letter is redriven or discarded twice",
    ):
        assert part in refused
    told = json.loads(saga(process, "dead", "discard", name, name, "--json"))
    assert [(each["id"], each["changed"]) for each in told["letters"]] == [(name, False)] * 2
    assert json.loads(saga(process, "dead", "list", "--limit", "1", "--json"))["count"] == LETTERS
    assert f"\n{LETTERS} dead letters match\n" in saga(process, "dead", "list", "--limit", "1")
    assert "0.1" in saga(process, "dead", "redrive", "--all", "--rate", "0.05", code=2)
    assert "not both" in saga(process, "dead", "redrive", name, "--all", code=2)
    assert "there is no dead letter '7-7'" in saga(process, "dead", "show", "7-7", code=1)


def test_a_redrive_that_is_killed_and_run_again_redrives_each_letter_once(up: tuple[Process, Path]) -> None:
    process, path = up
    url = process.wait_for(r"answering at (http\S+);")
    planned = json.loads(saga(process, "dead", "redrive", "--match", "no stock", "--json"))
    assert (planned["dry_run"], planned["counts"]) == (True, {"done": LETTERS})
    assert asyncio.run(redriven(path)) == []
    command = [*SAGA, "dead", "redrive", "--match", "no stock", "--apply", "--rate", "100"]
    given = environment(SAGALINE_URL=url, SAGALINE_API_TOKEN="a-token-for-tests-only")
    with subprocess.Popen(command, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        for _ in range(3_000):
            if len(asyncio.run(redriven(path))) >= 5:
                break
        running.kill()
    saga(process, "dead", "redrive", "--match", "no stock", "--apply")
    again = json.loads(saga(process, "dead", "redrive", "--match", "no stock", "--apply", "--json"))
    assert again["asked"] == []
    assert sorted(asyncio.run(redriven(path))) == list(range(LETTERS))


def test_a_bulk_ends_after_a_page_with_a_letter_that_is_not_decided(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next page may have letters of its key."""
    sent: list[Any] = []

    def request(remote: Remote, method: str, path: str, *, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        page = sum(not each["dry_run"] for each in sent)
        sent.append(body)
        fate = "done" if body["dry_run"] or page == 0 else "unsure"
        cursor = None if body["dry_run"] else "more"
        return 200, {"id": "b", "cursor": cursor, "asked": [{"id": "0-0", "fate": fate, "code": None, "reason": ""}]}

    monkeypatch.setattr(bulk, "request", request)
    with pytest.raises(Failure) as failed:
        bulk.run_bulk(Remote(), bulk.LETTERS, {"act": "redrive"}, apply=True, as_json=False)
    assert [each["dry_run"] for each in sent] == [True, False, False]
    assert str(failed.value) == (
        "1 of 2 were denied or have failed, and the dead letters after them were not sent; "
        "resolve the cause, then run it again: no letter is redriven or discarded twice"
    )
    assert "--id" not in capsys.readouterr().err
