"""The log on one SQLite file: opening, housekeeping and closing.

The writer's thread writes, the event loop reads; see writer.py and feed.py. Several connections of a process, and
several processes on one machine, may use the same file. Machines may not share it over a network file system, because
SQLite's WAL needs shared memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import structlog

from ...errors import LogUnavailable, TopicMismatch
from ...ports.clock import Clock
from ...ports.log import Outgoing, Owner, Record, Standing, Start, TopicPartition, TopicSpec
from .feed import Cursor, Feed, Topic
from .groups import Groups, SqliteMembership, SqliteSubscription, has_members
from .operations import Append, Call, Seat, create, differences, sit
from .owner import Documents, OwnedPartition, SqliteOwner, recorded_offset, restore
from .retention import SWEEP_MAX, sweep
from .routing import Router
from .schema import OFFSET_MASK, first_id, prepare, translate
from .writer import News, Writer

__all__ = ["SqliteLog"]

_SWEEP_SECONDS = 5.0
_SWEEPS_AT_ONCE = 20
_SAY_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class _Open(NamedTuple):
    feed: Feed
    groups: Groups
    writer: Writer
    router: Router


class SqliteTail:
    """See ``Tail``."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        return await self._cursor.poll(max_records, timeout)

    def positions(self) -> Mapping[TopicPartition, int]:
        return self._cursor.positions()

    async def close(self) -> None:
        self._cursor.close()


class SqliteLog:
    """The ``Log`` port on one file: ``open`` it (or enter it as a context manager) before, ``close`` it after.

    Args:
        path: the file; created if it is missing, but not its folder. SQLite keeps ``-wal`` and ``-shm`` beside it.
        clock: for timestamps, and for the liveness of a group's members.
        member_timeout: after this long without a heartbeat another process may take a member's partitions.
        deadline: of every call.
        max_value_bytes: the largest record that is accepted.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        clock: Clock,
        member_timeout: timedelta = timedelta(seconds=5),
        deadline: timedelta = timedelta(seconds=10),
        max_value_bytes: int = 900_000,
    ) -> None:
        self._path, self._clock = Path(path), clock
        self._member_timeout, self._deadline = member_timeout, deadline.total_seconds()
        self._max_value_bytes = max_value_bytes
        self._opened: _Open | None = None
        self._house: asyncio.Task[None] | None = None

    async def open(self) -> SqliteLog:
        """Opens the file; creates it if it is missing.

        Raises:
            ConfigurationError: the path cannot be used, or another program or a newer version made the file.
            LogUnavailable: another process held the file's lock for the whole deadline.
        """
        if self._opened is None:
            connection = await asyncio.to_thread(prepare, self._path, int(self._deadline * 1000))
            try:
                feed = Feed(self._path)
            except sqlite3.Error as error:
                connection.close()
                raise translate(error, self._path) from error
            groups = Groups(feed)
            writer = Writer(self._path, connection, self._clock, self._deadline, self._hear)
            self._opened = _Open(feed, groups, writer, Router(feed, self._max_value_bytes))
            groups.refresh()
            writer.watch(True)
            self._house = asyncio.create_task(self._keep_house(), name=f"housekeeping of {self._path.name}")
        return self

    async def __aenter__(self) -> SqliteLog:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def max_value_bytes(self) -> int:
        return self._max_value_bytes

    # Topics

    async def create_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        return await self._open().writer.submit(Call(partial(create, specs)))

    async def check_topics(self, specs: Sequence[TopicSpec]) -> None:
        feed = self._open().feed
        wrong = [text for spec in specs if (text := differences(spec, feed.topic(spec.name)))]
        if wrong:
            raise TopicMismatch("; ".join(wrong))

    async def topics(self) -> Collection[str]:
        return [str(name) for (name,) in self._open().feed.rows("SELECT name FROM topics")]

    async def partitions(self, topic: str) -> int:
        found = self._open().feed.topic(topic)
        return found.partitions if found else 0

    # Writing

    async def append(self, records: Sequence[Outgoing]) -> None:
        opened = self._open()
        if rows := opened.router.rows(records):
            await opened.writer.submit(Append(rows))

    # Groups

    async def join(self, inputs: str, state: str, group: str, *, start: Start = "earliest") -> SqliteMembership:
        opened = self._open()
        topics = self._topic(inputs), self._topic(state)
        seat = Seat(group, inputs, self._clock.new_id())
        await self._sit([seat])
        return SqliteMembership(seat, topics, opened.groups, opened.writer, partial(self._own, *topics, start))

    async def standing(self, inputs: str, state: str, group: str) -> Mapping[int, Standing]:
        feed, owned, kept = self._open().feed, self._topic(inputs), self._topic(state)
        alive = has_members(feed, group, inputs, self._clock.now_ms())
        return {
            partition: Standing(alive, recorded_offset(feed.rows, kept.first_part + partition, f"{state}/{partition}"))
            for partition in range(owned.partitions)
        }

    async def is_read(self, topic: str, group: str) -> bool:
        feed, _ = self._open().feed, self._topic(topic)
        return has_members(feed, group, topic, self._clock.now_ms())

    async def consumed(self, topic: str, group: str) -> Mapping[TopicPartition, int]:
        feed, found = self._open().feed, self._topic(topic)
        kept = dict(feed.rows("SELECT part, next FROM positions WHERE grp = ?", (group,)))
        return {
            TopicPartition(topic, partition): int(str(kept.get(found.first_part + partition, 0)))
            for partition in range(found.partitions)
        }

    async def subscribe(self, topics: Sequence[str], group: str) -> SqliteSubscription:
        opened = self._open()
        member = self._clock.new_id()
        seats = {self._topic(name): Seat(group, name, member) for name in topics}
        await self._sit(list(seats.values()))
        return SqliteSubscription(group, seats, opened.feed, opened.groups, opened.writer)

    # Reading

    async def tail(
        self,
        topics: Sequence[str],
        start: Mapping[TopicPartition, int] | Literal["earliest", "latest"],
        *,
        partitions: Collection[int] | None = None,
    ) -> SqliteTail:
        feed = self._open().feed
        parts = self._all_parts(topics)
        if partitions is not None:
            parts = {part: place for part, place in parts.items() if place.partition in partitions}
        starts = feed.read_ends(parts) if start == "latest" else feed.read_firsts(parts)
        if not isinstance(start, str):
            starts |= {p: max(starts[p], first_id(p) + start[tp]) for p, tp in parts.items() if tp in start}
        cursor = Cursor(feed)
        cursor.assign(parts, starts)
        return SqliteTail(cursor)

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        parts = self._all_parts(topics)
        return {parts[part]: end & OFFSET_MASK for part, end in self._open().feed.read_ends(parts).items()}

    # Housekeeping

    async def sweep(self) -> int:
        """Removes a limited number of records past their topic's retention; returns how many. Also runs by itself.

        Raises:
            LogUnavailable: it was not done; it will be retried.
        """
        return await self._open().writer.submit(Call(sweep))

    async def close(self) -> None:
        if self._opened is None or self._opened[0].closed:
            return
        feed, groups, writer, _ = self._opened
        if self._house is not None:
            self._house.cancel()
            await asyncio.gather(self._house, return_exceptions=True)
        groups.set_broken(LogUnavailable(f"the log {self._path} is closed; open it again"))
        await groups.leave_all(writer)
        feed.close()
        await writer.close()

    async def _keep_house(self) -> None:
        """Renews the seats of our members, and removes records past their retention."""
        groups = self._open().groups
        loop = asyncio.get_running_loop()
        next_sweep = loop.time() + _SWEEP_SECONDS
        while True:
            await asyncio.sleep(self._member_timeout.total_seconds() / 4)
            try:
                if groups.seats:
                    await self._sit(groups.seats)
                await groups.clear_leftover(self._open().writer)
                # For changes that a failed read may have missed.
                self._open().feed.refresh()
                groups.refresh()
                if loop.time() >= next_sweep:
                    next_sweep = loop.time() + _SWEEP_SECONDS
                    for _ in range(_SWEEPS_AT_ONCE):
                        if await self.sweep() < SWEEP_MAX:
                            break
            except LogUnavailable as error:
                groups.set_broken(error)

    def _hear(self, news: News) -> None:
        """After every transaction: wakes the readers of its records."""
        feed, groups, _, _ = self._open()
        try:
            feed.advance(news.ends)
            if news.foreign:
                feed.refresh()
            if news.foreign or news.groups_changed:
                groups.refresh()
        except LogUnavailable as error:
            # The next reader gets the same error from its own call.
            groups.set_broken(error)

    # Entities

    async def _sit(self, seats: Sequence[Seat]) -> None:
        timeout_ms = int(self._member_timeout.total_seconds() * 1000)
        await self._open().writer.submit(Call(partial(sit, list(seats), timeout_ms)))
        self._open().groups.set_broken(None)

    async def _own(self, inputs: Topic, state: Topic, begin: Start, partition: int, epoch: int) -> Owner:
        opened = self._open()
        owned = OwnedPartition(inputs, state, partition, epoch, begin)
        busy_ms = int(self._deadline * 1000)
        documents, start = Documents(), first_id(owned.state_part)
        loop = asyncio.get_running_loop()
        say_at = loop.time() + _SAY_SECONDS
        try:
            while True:
                async with asyncio.timeout(self._deadline):
                    reading = asyncio.to_thread(restore, self._path, owned.state_part, busy_ms, documents, start)
                    following = await reading
                if following is None:
                    break
                start = following
                if loop.time() >= say_at:
                    say_at = loop.time() + _SAY_SECONDS
                    _log.info("reading", place=f"{state.name}/{partition}", documents=len(documents.ids))
        except TimeoutError:
            raise LogUnavailable(
                f"reading {state.name}/{partition} made no progress within {self._deadline:g} s; take it again, "
                "or give the log a longer deadline"
            ) from None
        return SqliteOwner(owned, documents, opened.feed, opened.router, opened.writer)

    def _open(self) -> _Open:
        if self._opened is None:
            raise LogUnavailable(f"the log {self._path} is not open; await its open() first")
        return self._opened

    def _topic(self, name: str) -> Topic:
        topic = self._open().feed.topic(name)
        if topic is None:
            raise TopicMismatch(f"{name} does not exist: create it with `saga topics create`")
        return topic

    def _all_parts(self, topics: Sequence[str]) -> dict[int, TopicPartition]:
        return {
            topic.first_part + partition: TopicPartition(topic.name, partition)
            for topic in map(self._topic, topics)
            for partition in range(topic.partitions)
        }
