"""What the SQLite log removes when retention is over, and what stays although it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagaline.orchestrator.ports.log import TopicPartition
from sagaline.orchestrator.ports.topics import POSITION_KEY

from .harness import batch, out, read, read_all
from .test_sqlite_log import DAY_MS, TOPICS, TickingClock, opened, sole_owner, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


async def test_old_records_go_and_a_reader_of_them_goes_on_at_the_earliest(path: Path) -> None:
    clock = TickingClock()
    async with opened(path, clock) as log:
        await log.append([out(TOPICS.events, b"k", b"old", 0) for _ in range(700)])
        clock.now += 6 * DAY_MS
        await log.append([out(TOPICS.events, b"k", b"new", 0)])
        assert await log.sweep() == 0
        clock.now += 2 * DAY_MS
        removed = [await log.sweep(), await log.sweep(), await log.sweep()]
        assert removed == [500, 200, 0], "bounded per run and partition"
        tail = await log.tail([TOPICS.events], {TopicPartition(TOPICS.events, 0): 3})
        assert [(r.offset, r.value) for r in await read(tail, 1)] == [(700, b"new")]


async def test_old_records_of_inputs_go_when_they_are_decided(path: Path) -> None:
    """However long nobody decided: those from the position on stay, on every partition for itself."""
    clock = TickingClock()
    async with opened(path, clock) as log:
        await log.append([out(TOPICS.inputs, b"k", b"%d" % n, part) for n in range(5) for part in (0, 1)])
        clock.now += 30 * DAY_MS
        await log.append([out(TOPICS.inputs, b"k", b"new", part) for part in (0, 1)])
        assert await log.sweep() == 0, "nobody has decided anything"
        owner = await sole_owner(log)
        await owner.commit(batch({b"a": b"1"}, [], 3))
        assert [await log.sweep(), await log.sweep()] == [3, 0]
        assert [r.value for r in await read_all(log, TOPICS.inputs) if r.partition == 0] == [b"3", b"4", b"new"]
        await owner.commit(batch({}, [], 6))
        assert [await log.sweep(), await log.sweep()] == [2, 0]
        assert len([r for r in await read_all(log, TOPICS.inputs) if r.partition == 1]) == 6


async def test_commands_of_queues_called_inputs_and_state_go_like_others(path: Path) -> None:
    clock = TickingClock()
    async with opened(path, clock) as log:
        await log.create_topics(TOPICS.specs(["inputs", "state"], 2))
        await log.append([out(TOPICS.commands("inputs"), b"k", b"v", 0) for _ in range(3)])
        clock.now += 8 * DAY_MS
        assert await log.sweep() == 2


@pytest.mark.parametrize("value", [b"no position", b"[]", b"{}", b'{"offset":null}', b'{"offset":1e999}', None])
async def test_a_position_that_cannot_be_read_keeps_its_inputs_and_stops_no_sweep(
    path: Path, value: bytes | None
) -> None:
    clock = TickingClock()
    async with opened(path, clock) as log:
        await log.append([out(topic, b"k", b"v", 0) for topic in (TOPICS.inputs, TOPICS.dead) for _ in range(3)])
        await log.append([out(TOPICS.state, POSITION_KEY, value, 0)])
        clock.now += 100 * DAY_MS
        assert await log.sweep() == 2
        assert len(await read_all(log, TOPICS.inputs)) == 3


async def test_the_last_record_stays_so_that_offsets_go_on(path: Path) -> None:
    clock = TickingClock()
    async with opened(path, clock) as log:
        await log.append([out(TOPICS.inputs, b"k", b"%d" % i, 0) for i in range(3)])
        await (await sole_owner(log)).commit(batch({}, [], 3))
        clock.now += 30 * DAY_MS
        assert await log.sweep() == 2
    async with opened(path, clock) as log:
        await log.append([out(TOPICS.inputs, b"k", b"3", 0)])
        assert [(r.offset, r.value) for r in await read_all(log, TOPICS.inputs)] == [(2, b"2"), (3, b"3")]


async def test_tombstones_go_when_every_reader_has_had_a_day(path: Path) -> None:
    clock = TickingClock()
    async with opened(path, clock) as log:
        owner = await sole_owner(log)
        await owner.commit(batch({b"a": b"1", b"b": b"2"}))
        await owner.commit(batch({b"a": None}))
        clock.now += DAY_MS - 1
        assert await log.sweep() == 0
        clock.now += 2
        assert await log.sweep() == 1
        assert {key for key, _ in stored(path, TOPICS.state)} == {b"b", POSITION_KEY}


async def test_a_tombstone_that_is_the_last_record_stays(path: Path) -> None:
    clock = TickingClock()
    async with opened(path, clock) as log:
        await log.append([out(TOPICS.state, b"a", None, 0), out(TOPICS.state, b"b", None, 0)])
        clock.now += 2 * DAY_MS
        assert await log.sweep() == 1
        assert set((await log.end_offsets([TOPICS.state])).values()) == {2, 0}
