"""When a command comes too late: by what was written with it, never by two clocks that may differ by minutes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.messages.inputs import Completed, Failed, Reply
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.sagas import DefinitionError
from sagaline.workers import Context, Worker

from ..worker_world import Ahead, Pack, Packed, WorkerWorld, pack, worker_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


def packer(calls: list[str] | None = None, *, clock_skew: timedelta = timedelta(minutes=5)) -> Worker:
    """Packs, unless the item is ``silent``; notes what it was asked for."""
    worker = Worker("packer", concurrency=2, clock_skew=clock_skew)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        if calls is not None:
            calls.append(ctx.instance)
        if command.item == "silent":
            await asyncio.Event().wait()
        return Packed(parcel="P")

    return worker


def without_time(command: Outgoing) -> Outgoing:
    return command._replace(headers=tuple(each for each in command.headers if each[0] != "ce_time"))


@pytest.mark.parametrize("seconds", [4, 40, 240, -4, -40, -240, -86_400])
async def test_a_clock_that_differs_by_minutes_changes_nothing(world: WorkerWorld, seconds: int) -> None:
    """Of a step of 3 s; a clock that is behind may be so by any span."""
    async with world.running(packer(), clock=Ahead(timedelta(seconds=seconds))) as runtime:
        (reply,) = await world.ask(world.command(due_in_ms=3_000))
    assert isinstance(reply, Completed)
    assert (runtime.counts.completed, runtime.counts.late) == (1, 0)


@pytest.mark.parametrize("seconds", [4, -4])
async def test_a_handler_has_the_span_of_its_step_whatever_the_clock_says(world: WorkerWorld, seconds: int) -> None:
    async with world.running(packer(), clock=Ahead(timedelta(seconds=seconds))) as runtime:
        began = world.clock.monotonic()
        (reply,) = await world.ask(world.command(payload=Pack(item="silent"), due_in_ms=100))
        took = world.clock.monotonic() - began
    assert isinstance(reply, Failed)
    assert "at the command's deadline" in reply.error
    assert 0.08 < took < 2.0
    assert runtime.counts.late == 1


async def test_a_clock_that_is_ahead_by_more_than_is_allowed_for_says_so(world: WorkerWorld) -> None:
    """The instance hears it with each attempt, instead of nothing at all."""
    calls: list[str] = []
    async with world.running(packer(calls), clock=Ahead(timedelta(hours=1))) as runtime:
        (reply,) = await world.ask(world.command(due_in_ms=3_000))
    assert isinstance(reply, Failed)
    assert "s after its deadline by the clock of Worker('packer')" in reply.error
    assert "clock_skew, 300 s" in reply.error
    assert (calls, runtime.counts.late, runtime.counts.failed) == ([], 1, 1)
    assert await world.uncommitted() == []


async def test_how_far_clocks_may_differ_is_declared(world: WorkerWorld) -> None:
    async with world.running(packer(clock_skew=timedelta(seconds=1)), clock=Ahead(timedelta(seconds=40))) as runtime:
        replies = await world.ask(world.command(due_in_ms=3_000), world.command("order/B", due_in_ms=50_000))
    assert sorted(type(reply).__name__ for reply in replies) == ["Completed", "Failed"]
    assert runtime.counts.late == 1
    with pytest.raises(DefinitionError, match="clock_skew is -1 day, 23:59:59; give a timedelta of zero or more"):
        Worker("packer", clock_skew=timedelta(seconds=-1))


async def test_what_was_written_after_its_deadline_is_not_begun(world: WorkerWorld) -> None:
    calls: list[str] = []
    async with world.running(packer(calls)) as runtime:
        replies = await world.ask(world.command("order/late", due_in_ms=-1), world.command("order/A"))
    assert {reply.instance: type(reply) for reply in replies} == {"order/late": Failed, "order/A": Completed}
    assert calls == ["order/A"]
    assert (runtime.counts.late, runtime.counts.failed) == (1, 1)
    assert await world.uncommitted() == []


async def test_what_waits_for_its_turn_past_its_deadline_is_not_begun(world: WorkerWorld) -> None:
    """Two silent ones hold both lanes; the third is over before they are."""
    calls: list[str] = []
    async with world.running(packer(calls)) as runtime:
        silent = Pack(item="silent")
        holders = [world.command(f"order/{n}", payload=silent, due_in_ms=200) for n in range(2)]
        replies: list[Reply] = await world.ask(*holders, world.command("order/late", due_in_ms=60))
    by_instance = {reply.instance: reply for reply in replies}
    late = by_instance["order/late"]
    assert isinstance(late, Failed)
    assert "while it waited to be handled; nothing was done" in late.error
    assert sorted(calls) == ["order/0", "order/1"]
    assert runtime.counts.late == 3


async def test_a_silent_handler_is_cancelled_at_the_deadline_and_blocks_nobody_else(world: WorkerWorld) -> None:
    async with world.running(packer()) as runtime:
        await world.send(world.command("order/A", payload=Pack(item="silent"), due_in_ms=1_000))
        undo = world.command("order/A", step="other")
        commands = undo, *(world.command(f"order/{n}") for n in range(5))
        await world.send(*commands)
        replies = await world.replies(7)
    assert [reply.instance for reply in replies][-1] == "order/A", "its own key waits, others do not"
    assert (runtime.counts.late, runtime.counts.completed) == (1, 6)
    assert await world.uncommitted() == []


async def test_a_command_that_does_not_tell_when_it_was_written_is_begun(world: WorkerWorld) -> None:
    """Without it no span is known; a deadline that passed longer ago than clocks may differ still counts."""
    fresh = without_time(world.command("order/A", due_in_ms=-1_000))
    old = without_time(world.command("order/B", due_in_ms=-301_000))
    async with world.running(packer()):
        replies = await world.ask(fresh, old)
    assert {reply.instance: type(reply) for reply in replies} == {"order/A": Completed, "order/B": Failed}
