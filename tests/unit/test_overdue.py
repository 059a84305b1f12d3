"""What is expected and does not happen in time is shown, published and counted; the flow itself does not care."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import httpx

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import Client, Overdue
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.kernel.waits import overdue_steps
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Saga, Step, step

from .kernel_nodes import HOUR, Did, Do, Talk
from .stack import stack


def slow(within: timedelta) -> Step[Talk]:
    @step(Contract("do-slow", Do, Did, queue="q"), timeout=HOUR, expected_within=within, name="slow")
    def build(s: Talk) -> Do:
        return Do()

    return build


def saga(within: timedelta = timedelta(minutes=5)) -> Saga[Talk]:
    return Saga("talk", Talk, flow=[slow(within)])


def test_a_step_that_is_not_done_in_time_is_overdue_and_goes_on() -> None:
    """An event says so, the history shows it, and the reply counts as ever."""
    begun = Scene.start(saga())
    assert overdue_steps(begun.advance(timedelta(minutes=4)).document) == []
    late = begun.advance(timedelta(minutes=5))
    (found,) = overdue_steps(late.document)
    assert (found.step, found.status, found.overdue_ms, found.deadline_ms) == ("slow", "sent", 300_000, 3_600_000)
    (event,) = late.published
    assert (event.event, event.key) == ("sagaline.overdue", "talk/k")
    assert event.body == {"instance": "talk/k", "step": "slow", "status": "sent"}
    assert ("overdue", "slow") in [(change.what, change.after) for _, change in late.changes]
    done = late.ok("slow")
    assert overdue_steps(done.document) == []
    assert done.status == "completed"


def test_a_step_that_is_done_in_time_is_never_overdue() -> None:
    """The timer goes with the step."""
    done = Scene.start(saga()).ok("slow").advance(HOUR)
    assert not done.published


async def listed(client: Client) -> Sequence[Overdue]:
    """The list, once there is something in it."""
    async with asyncio.timeout(10):
        while True:
            if found := (await client.overdue()).overdue:
                return found
            await asyncio.sleep(0.02)


async def test_what_is_overdue_is_listed_counted_and_on_the_topic_of_events(tmp_path: Path) -> None:
    """Over HTTP as well."""
    async with stack(tmp_path, registry=Registry([saga(timedelta(milliseconds=50))])) as up:
        await up.client.start("talk", {}, key="1")
        found = await listed(up.client)
        assert [each.instance for each in found] == ["talk/1"]
        assert await up.client.overdue("other") == ([], None)
        tail = await up.log.tail([up.topics.events], "earliest")
        (record,) = await tail.poll(max_records=10, timeout=1.0)
        await tail.close()
        assert dict(record.headers)["ce_type"] == b"sagaline.overdue"
        app = create_app(up.client, clock=SystemClock())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            (shown,) = (await api.get("/v1/overdue")).json()["overdue"]
        assert (shown["instance"], shown["step"], shown["status"]) == ("talk/1", "slow", "sent")
        assert shown["overdue"] < shown["deadline"]
