"""Schedules over a real client, log and engine: they are put, shown and operated, and what they start is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.orchestrator.client import RequestOptions
from sagaline.orchestrator.errors import InvalidRequest, UnknownDefinition, UnknownEvent, UnknownSchedule
from sagaline.orchestrator.kernel import Registry
from sagaline.sagas import Event, Schedule
from sagaline.sagas.examples.order_fulfilment import OrderPlaced, order_fulfilment, order_placed

from ..engine_world import Note, two_steps
from .stack import Stack, stack
from .test_api_instances import http

NIGHTLY = "/v1/schedules/nightly"
DAILY = {"definition": "pair", "input": {"text": "x"}, "cron": "30 2 * * *", "zone": "Europe/Berlin"}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path, registry=Registry([two_steps(), order_fulfilment])) as running_stack:
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with http(up) as client:
        yield client


async def shown(api: httpx.AsyncClient, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while not holds(found := (await api.get(NIGHTLY)).json()):  # noqa: ASYNC110  # another process decides
            await asyncio.sleep(0.05)
    return dict(found)


async def test_a_schedule_is_put_shown_paused_resumed_and_deleted(api: httpx.AsyncClient) -> None:
    put = await api.put(NIGHTLY, json={**DAILY, "by": "ann", "reason": "reports", "jitter_seconds": 1.5})
    assert (put.status_code, put.json()["changed"]) == (200, True)
    assert (await api.put(NIGHTLY, json={**DAILY, "jitter_seconds": 1.5})).json()["changed"] is False
    found = (await api.get(NIGHTLY)).json()
    assert len(found["next"]) == 5
    assert {each[10:19] for each in found["next"]} <= {"T02:30:00", "T03:00:00"}
    assert (found["cron"], found["zone"], found["every_seconds"]) == ("30 2 * * *", "Europe/Berlin", None)
    assert (found["catch_up"], found["grace_seconds"], found["jitter_seconds"]) == ("once", 60, 1.5)
    assert (found["changed_by"], found["reason"], found["last"], found["recent"]) == ("ann", "reports", None, [])
    assert (await api.post(f"{NIGHTLY}/pause", json={"by": "bob", "reason": "month end"})).json()["changed"]
    (listed,) = (await api.get("/v1/schedules", params={"paused": "true"})).json()["schedules"]
    assert (listed["name"], listed["paused"], listed["next"]) == ("nightly", True, [])
    assert (await api.get("/v1/schedules", params={"paused": "false"})).json()["schedules"] == []
    assert (await api.post(f"{NIGHTLY}/resume")).json()["changed"]
    assert (await api.delete(NIGHTLY)).json()["changed"]
    gone = await api.get(NIGHTLY)
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:sagaline:problem:unknown-schedule")
    assert (await api.delete(NIGHTLY)).status_code == 404


async def test_what_a_schedule_starts_is_there_with_its_outcome(api: httpx.AsyncClient) -> None:
    await api.put(NIGHTLY, json={"definition": "pair", "input": {}, "every_seconds": 1, "due_into": "text"})
    found = await shown(api, lambda each: bool(each.get("last")) and each["recent"][-1]["outcome"] == "started")
    first = found["recent"][-1]
    assert (await api.get(f"/v1/instances/{first['instance']}")).json()["state"]["text"] == first["due_at"][:19] + "Z"
    assert first["instance"] == f"pair/nightly-{first['due_at'][:19]}Z"


async def test_a_trigger_and_a_backfill_start_instances(api: httpx.AsyncClient) -> None:
    await api.put(NIGHTLY, json={**DAILY, "cron": "0 * * * *", "zone": "UTC"})
    for _ in range(2):
        answer = await api.post(f"{NIGHTLY}/trigger", json={"request_id": "t-1", "by": "ann"})
        assert answer.status_code == 200
    period = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T02:59:00+00:00"}
    assert (await api.post(f"{NIGHTLY}/backfill", json=period)).json()["changed"]
    found = await shown(api, lambda each: len(each["recent"]) == 4 and all(e["code"] is None for e in each["recent"]))
    keys = [each["instance"].removeprefix("pair/nightly-") for each in reversed(found["recent"])]
    assert keys[0].startswith("now-")
    assert keys[1:] == [f"2026-01-01T0{hour}:00:00Z" for hour in range(3)]
    again = await api.post(f"{NIGHTLY}/backfill", json=period)
    assert again.json()["changed"]
    found = await shown(api, lambda each: [e["outcome"] for e in each["recent"]].count("duplicate") == 3)
    assert (found["started"], found["denied"]) == (7, 0)


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"cron": "30 25 * * *"}, 422, "its hour is '25'; the fields are minute hour"),
    ({"zone": "Europe/Berln"}, 422, "did you mean 'Europe/Berlin'?"),
    ({"every_seconds": 5}, 422, "give exactly one of cron and every"),
    ({"input": {"texts": "x"}}, 422, "its input does not fit Note: texts: there is no such field"),
    ({"due_into": "day"}, 422, "due_into is 'day'; give a field of Note"),
    ({"key": "\n"}, 422, "control character"),
    ({"event": "order-placed"}, 422, "either a definition to start or an event"),
    ({"definition": "unknown"}, 404, "there is no definition 'unknown'"),
    ({"definition": "order-fulfilment"}, 422, "a process manager is started by its events; give order-p"),
    ({"definition": None, "event": "unknown"}, 404, "there is no event 'unknown'"),
]


async def test_a_schedule_that_can_never_work_is_rejected(api: httpx.AsyncClient) -> None:
    for change, status, part in WRONG:
        answer = await api.put(NIGHTLY, json={**DAILY, **change})
        assert answer.status_code == status
        assert part in answer.json()["detail"]


async def test_requests_that_cannot_be_carried_out_say_why(api: httpx.AsyncClient) -> None:
    for act in ("pause", "resume", "trigger"):
        assert (await api.post(f"{NIGHTLY}/{act}")).status_code == 404
    assert (await api.post("/v1/schedules/Not%20a%20name/pause")).status_code == 404
    await api.put(NIGHTLY, json=DAILY)
    bad = await api.post(f"{NIGHTLY}/backfill", json={"since": "yesterday", "until": "2026-01-01T00:00:00Z"})
    assert "'yesterday' is not a time; give ISO 8601" in bad.json()["detail"]
    late = {"since": "2026-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    assert "in the past" in (await api.post(f"{NIGHTLY}/backfill", json=late)).json()["detail"]


async def test_a_declaration_in_code_is_put_by_the_client(up: Stack) -> None:
    saga = two_steps()
    schedules, options = up.client.schedules, RequestOptions(by="deploy", reason="release 7")
    assert (await schedules.put(Schedule("a", saga, Note(), every=timedelta(days=1)), options)).changed
    body = OrderPlaced(order_id="O-1", skus=["book"])
    await schedules.put(Schedule("b", order_placed, body, cron="0 0 1 1 *", due_into="order_id"), options)
    assert [each.name for each in (await schedules.list()).entities] == ["a", "b"]
    found = await schedules.get("b")
    assert (found.plan.event, found.changed_by, found.reason) == ("order-placed", "deploy", "release 7")
    (due_ms,) = schedules.upcoming(found, 1)
    assert due_ms == datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC).timestamp() * 1_000
    assert [row.record.instance for row in await schedules.history("b")] == ["@schedule/b"]
    with pytest.raises(UnknownDefinition):
        await schedules.put(Schedule("c", two_steps(name="other"), Note(), every=timedelta(days=1)))
    with pytest.raises(UnknownEvent):
        await schedules.put(Schedule("c", Event("unheard", Note), Note(), every=timedelta(days=1)))
    with pytest.raises(UnknownSchedule):
        await schedules.get("c")
    with pytest.raises(InvalidRequest, match="no time zone"):
        await schedules.backfill("a", datetime(2026, 1, 1), datetime(2026, 1, 2))
