"""Order per key, bounded concurrency, and offsets that never pass what is unfinished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaline.orchestrator.ports.log import Record, TopicPartition
from sagaline.workers import Context, Worker
from sagaline.workers.offsets import Mark, Offsets

from ..worker_world import PATIENCE_SECONDS, Pack, Packed, WorkerWorld, audit, pack, worker_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


class Desk:
    """Handlers that wait until the test lets them go on; notes who is inside."""

    def __init__(self, concurrency: int = 64, grace: timedelta = timedelta(seconds=10)) -> None:
        self.begun: list[str] = []
        self.inside: set[str] = set()
        self.clashes: list[str] = []
        self.most = 0
        self._gates: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()
        self.worker = Worker("packer", concurrency=concurrency, grace=grace)
        self.worker.handles(pack)(self.handle)
        self.worker.handles(audit)(self.handle)

    async def handle(self, command: Pack, ctx: Context) -> Packed:
        async with self._changed:
            if ctx.instance in self.inside:
                self.clashes.append(ctx.instance)
            self.inside.add(ctx.instance)
            self.begun.append(command.item)
            self.most = max(self.most, len(self.inside))
            self._changed.notify_all()
        try:
            await self.gate(command.item).wait()
        finally:
            self.inside.discard(ctx.instance)
        return Packed(parcel=command.item)

    def gate(self, item: str) -> asyncio.Event:
        return self._gates.setdefault(item, asyncio.Event())

    def open(self, *items: str) -> None:
        for item in items:
            self.gate(item).set()

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.begun) >= count)


@asynccontextmanager
async def desk(world: WorkerWorld, concurrency: int = 64) -> AsyncIterator[Desk]:
    found = Desk(concurrency)
    async with world.running(found.worker):
        yield found


async def test_commands_of_one_key_are_handled_one_after_the_other_in_order(world: WorkerWorld) -> None:
    items = [f"{key}{i}" for i in range(4) for key in "AB"]
    async with desk(world) as at:
        await world.send(*(world.command(f"order/{item[0]}", payload=Pack(item=item)) for item in items))
        await at.until_begun(2)
        assert sorted(at.begun) == ["A0", "B0"], "keys do not wait for each other"
        at.open(*items)
        replies = await world.reply_records(len(items))
    assert not at.clashes
    for key in "AB":
        assert [item for item in at.begun if item[0] == key] == [f"{key}{i}" for i in range(4)]
        mine = [record.value for record in replies if record.key == f"order/{key}".encode()]
        assert mine == [b'{"parcel":"%b%d"}' % (key.encode(), i) for i in range(4)]


async def test_a_key_is_handled_in_order_across_queues(world: WorkerWorld) -> None:
    async with desk(world) as at:
        await world.send(world.command("order/A", pack, Pack(item="first")))
        await at.until_begun(1)
        await world.send(world.command("order/A", audit, Pack(item="second")))
        await world.send(world.command("order/B", audit, Pack(item="other")))
        await at.until_begun(2)
        assert at.begun == ["first", "other"]
        at.open("first", "second", "other")
        await world.replies(3)
    assert not at.clashes


async def test_no_more_handlers_run_than_the_concurrency_allows(world: WorkerWorld) -> None:
    items = [f"i{i}" for i in range(10)]
    async with desk(world, concurrency=3) as at:
        await world.send(*(world.command(f"order/{item}", payload=Pack(item=item)) for item in items))
        await at.until_begun(3)
        at.open(*items)
        await world.replies(10)
    assert at.most == 3


async def test_what_is_finished_behind_an_unfinished_command_is_not_committed(world: WorkerWorld) -> None:
    commands = [world.command("order/A", payload=Pack(item=f"i{i}"), step=f"s{i}") for i in range(5)]
    by_item = {f"i{i}": command._replace(key=f"k{i}".encode()) for i, command in enumerate(commands)}
    found = Desk(grace=timedelta(0))
    async with world.running(found.worker):
        await world.send(*by_item.values())
        await found.until_begun(5)
        found.open("i0", "i1", "i3", "i4")
        assert len(await world.replies(4)) == 4
    assert found.inside == set()
    assert await world.uncommitted() == [f"order/A/s{i}~k3x9wq2z/1" for i in (2, 3, 4)]


async def test_a_stopping_worker_finishes_what_runs_and_leaves_the_rest_to_others(world: WorkerWorld) -> None:
    found = Desk(concurrency=1)
    async with world.running(found.worker) as runtime:
        await world.send(*(world.command("order/A", payload=Pack(item=f"i{i}"), step=f"s{i}") for i in range(3)))
        await found.until_begun(1)
        runtime.stop()
        found.open("i0", "i1", "i2")
    assert found.begun == ["i0"]
    assert len(await world.all_of(world.topics.inputs)) == 1
    assert await world.uncommitted() == ["order/A/s1~k3x9wq2z/1", "order/A/s2~k3x9wq2z/1"]


async def test_two_workers_of_one_queue_share_its_commands_whatever_their_names(world: WorkerWorld) -> None:
    async with desk(world) as one:
        other = Worker("another", concurrency=1)
        other.handles(pack)(one.handle)
        async with world.running(other):
            items = [f"i{i}" for i in range(20)]
            one.open(*items)
            await world.send(*(world.command(f"order/{item}", payload=Pack(item=item)) for item in items))
            answered = {reply.instance for reply in await world.replies(20)}
    assert answered == {f"order/{item}" for item in items}


# The arithmetic alone


def record(offset: int, partition: int = 0) -> Record:
    return Record("t", partition, offset, b"k", b"{}", (), 0)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_a_position_never_passes_an_unfinished_record(gaps: list[int], random: object) -> None:
    places = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    offsets = Offsets()
    marks = [offsets.polled(record(place)) for place in places]
    order: list[Mark] = list(marks)
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    for mark in order:
        mark.finish()
        unfinished = [m.offset for m in marks if not m.finished]
        for position in offsets.take_positions().values():
            assert all(position <= offset for offset in unfinished)
            assert position in [place + 1 for place in places]
    assert offsets.pending == 0


def test_everything_finished_is_committed_up_to_its_end() -> None:
    offsets = Offsets()
    marks = [offsets.polled(record(place, place % 2)) for place in range(6)]
    for mark in reversed(marks):
        mark.finish()
        mark.finish()
    assert offsets.take_positions() == {TopicPartition("t", 0): 5, TopicPartition("t", 1): 6}
    assert not offsets.moved


def test_what_is_behind_is_counted_from_the_first_that_is_not_finished() -> None:
    """Of a partition that gave no record nothing is known; one that is not ours any more does not count."""
    offsets = Offsets()
    marks = [offsets.polled(record(place)) for place in range(3)]
    ends = {TopicPartition("t", 0): 10, TopicPartition("t", 1): 5}
    marks[1].finish()
    assert offsets.behind(ends) == 10
    marks[0].finish()
    assert offsets.behind(ends) == 8
    marks[2].finish()
    assert offsets.behind(ends) == 7
    offsets.keep([])
    assert offsets.behind(ends) == 0


def test_a_position_that_could_not_be_committed_comes_again_unless_it_moved_on() -> None:
    offsets = Offsets()
    first, second, other = offsets.polled(record(0)), offsets.polled(record(1)), offsets.polled(record(7, 1))
    first.finish()
    other.finish()
    failed = offsets.take_positions()
    second.finish()
    offsets.put_back(failed)
    assert offsets.take_positions() == {TopicPartition("t", 0): 2, TopicPartition("t", 1): 8}


def test_a_partition_that_left_is_forgotten_and_its_late_ends_change_nothing() -> None:
    offsets = Offsets()
    gone, stays = offsets.polled(record(3)), offsets.polled(record(5, 1))
    offsets.keep([TopicPartition("t", 1)])
    assert (gone.lost, stays.lost, offsets.pending) == (True, False, 1)
    gone.finish()
    assert not offsets.moved
    stays.finish()
    assert offsets.take_positions() == {TopicPartition("t", 1): 6}


def test_a_record_that_is_delivered_again_begins_its_partition_anew() -> None:
    offsets = Offsets()
    before = [offsets.polled(record(place)) for place in (4, 5)]
    again = offsets.polled(record(4))
    assert all(mark.lost for mark in before)
    for mark in before:
        mark.finish()
    assert not offsets.moved
    again.finish()
    assert offsets.take_positions() == {TopicPartition("t", 0): 5}
