"""One partition of a subscription alone: what a release frees, what a stop waits for, what a crash repeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.errors import LogUnavailable
from sagaline.orchestrator.messages.parcels import ATTEMPT, PARCEL, RELEASE, SOURCE, TIMESTAMP
from sagaline.orchestrator.ports.log import Batch, Membership, Outgoing, Owner, Position, Record, Tail
from sagaline.orchestrator.ports.topics import Topics
from sagaline.workers.arrived import Arrived, Reading
from sagaline.workers.source import SourcePartition
from sagaline.workers.subscription import Guarantee

TOPICS = Topics("t")
REDELIVERED = TOPICS.redelivered("g")


class Place:
    """The partition, and the processes that own it one after the other."""

    def __init__(self, log: SqliteLog, membership: Membership) -> None:
        self.log, self.membership = log, membership

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[Owner]:
        owner = await self.membership.take(0)
        try:
            yield owner
        finally:
            await owner.release()

    @asynccontextmanager
    async def driven(
        self,
        owner: Owner,
        arrived: Callable[[Arrived], None],
        *,
        delivery: Guarantee = "at_least_once",
        process: str = "p",
        room: Callable[[bool], int] = lambda redelivered: 1_000,
    ) -> AsyncIterator[SourcePartition]:
        """Ends as by a crash, unless ``stop`` was called."""
        reading = Reading(
            log=self.log,
            clock=SystemClock(),
            redeliveries=REDELIVERED,
            group="g",
            process=process,
            alone=asyncio.Lock(),
            grace_seconds=10.0,
            delivery=delivery,
            room=room,
            remembers=frozenset(),
            arrived=arrived,
        )
        source = SourcePartition(owner, reading)
        run = asyncio.create_task(source.run())
        try:
            async with asyncio.timeout(10):
                yield source
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock(), member_timeout=timedelta(seconds=2)) as log:
        await log.create_topics([*TOPICS.specs([], 1), *TOPICS.subscribed("g", None, 1)])
        membership = await log.join(TOPICS.events, TOPICS.parked("g"), "g")
        await membership.changed()
        yield Place(log, membership)


def nothing(arrived: Arrived) -> None:
    raise AssertionError(f"{arrived} came")


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110  # neither a commit nor what is handed over tells a loop
        await asyncio.sleep(0.01)


def redelivery(key: bytes, offset: int) -> Outgoing:
    source = f"{TOPICS.events}/0/{offset}".encode()
    headers = ((PARCEL, b"@parcel/g/" + key), (SOURCE, source), (ATTEMPT, b"2"))
    return Outgoing(REDELIVERED, key, b"{}", headers, 0)


@pytest.mark.parametrize(("up_to", "left"), [(8, 9), (9, None), (12, None)])
async def test_a_release_that_is_older_than_the_marker_is_ignored(place: Place, up_to: int, left: int | None) -> None:
    async with place.owner() as owner:
        await owner.commit(Batch({b"key/k": b"9"}, (), Position(0, 1)))
        async with place.driven(owner, nothing) as source:
            headers = ((PARCEL, b"@parcel/g/k"), (RELEASE, str(up_to).encode()))
            await place.log.append([Outgoing(REDELIVERED, b"k", None, headers, 0)])
            await until(lambda: owner.get(b"~redelivered") is not None)
            assert owner.get(b"key/k") == (None if left is None else str(left).encode())
            source.stop()
            await source.idle.wait()
            assert owner.get(b"~open") is None


async def test_a_stop_waits_for_messages_whose_position_was_committed_first(place: Place) -> None:
    """The stop comes with that very commit: nobody else would ever get them."""
    handed: list[Arrived] = []
    async with place.owner() as owner, place.driven(owner, handed.append, delivery="at_most_once") as source:
        commit = owner.commit

        async def stopping(batch: Batch) -> None:
            await commit(batch)
            if batch.position.offset == 1:
                source.stop()

        owner.commit = stopping  # type: ignore[method-assign]
        await place.log.append([Outgoing(TOPICS.events, b"k", b"{}", (), 0)])
        await until(lambda: handed)
        await asyncio.sleep(0.1)
        assert not source.idle.is_set()
        source.done(handed[0])
        await source.idle.wait()


async def test_redeliveries_that_cannot_be_read_are_an_objection_until_they_can(place: Place) -> None:
    opened = place.log.tail
    is_away = True

    async def tail(*which: Any, **partitions: Any) -> Tail:
        found = await opened(*which, **partitions)
        poll = found.poll

        async def polled(**bounds: Any) -> Sequence[Record]:
            if is_away:
                raise LogUnavailable("the network is cut")
            return await poll(**bounds)

        found.poll = polled  # type: ignore[method-assign]
        return found

    place.log.tail = tail  # type: ignore[method-assign]
    async with place.owner() as owner, place.driven(owner, nothing) as source:
        await until(lambda: source.objection == "its redeliveries cannot be read: the network is cut")
        is_away = False
        await place.log.append([Outgoing(REDELIVERED, b"k", b"{}", (), 0)])
        await until(lambda: source.objection is None)


@pytest.mark.parametrize("storm", ["source", "redeliveries"])
async def test_the_source_and_the_redeliveries_are_read_into_bounded_memory_of_their_own(
    place: Place, storm: str
) -> None:
    """A storm of one of the two fills its own room, and what comes from the other one is delivered."""
    handed: dict[bool, list[Arrived]] = {False: [], True: []}
    many, one = handed[storm == "redeliveries"], handed[storm == "source"]

    def arrived(each: Arrived) -> None:
        handed[each.redelivered is not None].append(each)

    async def append(redelivered: bool, count: int) -> None:
        await place.log.append(
            [redelivery(b"k", n) if redelivered else Outgoing(TOPICS.events, b"k", b"{}", (), 0) for n in range(count)]
        )

    await append(storm == "redeliveries", 400)
    async with (
        place.owner() as owner,
        place.driven(owner, arrived, room=lambda redelivered: 100 - len(handed[redelivered])) as source,
    ):
        await until(lambda: len(many) == 100)
        await append(storm == "source", 1)
        await until(lambda: one)
        assert len(many) == 100
        done = 0
        while done < 400:
            await until(lambda: many)
            done += len(many)
            while many:
                source.done(many.pop())
        assert len(one) == 1


async def test_a_redelivery_is_as_old_as_its_message(place: Place) -> None:
    handed: list[Arrived] = []
    again = redelivery(b"k", 3)
    dated = again._replace(headers=(*again.headers, (TIMESTAMP, b"77")))
    await place.log.append([dated, again])
    async with place.owner() as owner, place.driven(owner, handed.append):
        await until(lambda: len(handed) == 2)
    assert handed[0].record.timestamp_ms == 77
    assert handed[1].record.timestamp_ms > 77, "without the header: when it was given back"


async def test_a_stop_loses_nothing_that_a_crash_makes_suspicious_and_whose_position_was_committed_first(
    place: Place,
) -> None:
    """Nobody gets it twice, so that it cannot kill twice: it is not delivered one at a time."""
    names = [b"a", b"b", b"c"]
    suspected = {b"~seen/s/%d" % offset: b'["x"]' for offset in range(3)}
    await place.log.append([Outgoing(TOPICS.events, name, b"{}", (), 0) for name in names])
    handed: list[Arrived] = []
    async with place.owner() as owner:
        await owner.commit(Batch({b"~open": b'"x"', **suspected}, (), Position(0, 1)))
        async with place.driven(owner, handed.append, delivery="at_most_once") as source:
            await until(lambda: handed)
            source.stop()
            while not source.idle.is_set():
                for each in handed[:]:
                    handed.remove(each)
                    names.remove(each.record.key or b"")
                    source.done(each)
                await asyncio.sleep(0.01)
            assert owner.position.offset == 3
            assert names == []


@pytest.mark.parametrize("topic", ["source", "redeliveries"])
async def test_what_was_finished_ahead_of_an_unfinished_message_does_not_come_again_with_exactly_once(
    place: Place, topic: str
) -> None:
    again = [redelivery(key, offset) for key, offset in ((b"slow", 3), (b"quick", 4))]
    first = [Outgoing(TOPICS.events, key, b"{}", (), 0) for key in (b"slow", b"quick")]
    await place.log.append(first if topic == "source" else again)
    handed: list[Arrived] = []
    async with place.owner() as owner, place.driven(owner, handed.append, delivery="exactly_once") as source:
        await until(lambda: len(handed) == 2)
        before = owner.position
        source.done(handed[1], [Outgoing(TOPICS.inputs, b"x", b"{}", (), 0)])
        await until(lambda: owner.position is not before)
    handed.clear()
    async with place.owner() as owner, place.driven(owner, handed.append, delivery="exactly_once") as source:
        await place.log.append([Outgoing(TOPICS.events, b"last", b"{}", (), 0), redelivery(b"last", 5)])
        await until(lambda: [each.record.key for each in handed].count(b"last") == 2)
        assert sorted(each.record.key or b"" for each in handed) == [b"last", b"last", b"slow"]


@pytest.mark.parametrize(
    ("processes", "poison"), [("aaaaa", False), ("abababab", False), ("abcabc", False), ("abcd", True), ("abbcd", True)]
)
async def test_a_message_is_poison_when_three_processes_had_it_and_none_of_them_came_back(
    place: Place, processes: str, poison: bool
) -> None:
    """A process that has lost its connection, or its partition for a while, takes it again under the same name."""
    await place.log.append([Outgoing(TOPICS.events, b"k", b"{}", (), 0)])
    found: list[bool] = []
    for process in processes:
        handed: list[Arrived] = []
        async with place.owner() as owner, place.driven(owner, handed.append, process=process):
            await until(lambda: handed)  # noqa: B023  # it is awaited here
            found.append(handed[0].is_poison)
    assert found == [False] * (len(processes) - 1) + [poison]
