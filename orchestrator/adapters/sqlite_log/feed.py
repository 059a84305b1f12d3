"""Reads in the event loop: one reading connection, the known ends of partitions, and the cursors that wait for more.

Readers never wait for the writer: WAL gives each statement its own snapshot. A read is limited by count and bytes, so
that it may run in the event loop; a restore, which is large, runs in a thread on its own connection.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...errors import LogUnavailable
from ...ports.log import Record, Start, TopicPartition
from .headers import decode_headers
from .schema import OFFSET_MASK, connect, first_id, past_last_id, translate

__all__ = ["Cursor", "Feed", "Topic"]

_READ_BYTES_MAX = 1_048_576
_BUSY_MS = 100


class Topic(NamedTuple):
    """A topic in the file; its partitions have consecutive numbers from ``first_part``."""

    name: str
    partitions: int
    first_part: int
    policy: str
    retention_ms: int | None


class Feed:
    """The event loop's view of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect(path, read_only=True, busy_ms=_BUSY_MS)
        self._topics: dict[str, Topic] = {}
        self._cursors: dict[int, set[Cursor]] = {}
        self.ends: dict[int, int] = {}
        """The next id of every partition that has a reader."""
        self.closed = False

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Raises: LogUnavailable."""
        if self.closed:
            raise LogUnavailable(f"the log {self._path} is closed; open it again")
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def topic(self, name: str) -> Topic | None:
        """A topic by name. Topics never change, so it is cached."""
        found = self._topics.get(name)
        if found is None:
            rows = self.rows(
                "SELECT name, partitions, first_part, policy, retention_ms FROM topics WHERE name = ?", (name,)
            )
            if rows:
                found = self._topics[name] = Topic(*rows[0])
        return found

    def read_ends(self, parts: Iterable[int]) -> dict[int, int]:
        """The next id of each partition, from the file."""
        found = self._of_each("max", parts)
        return {part: first_id(part) if last is None else last + 1 for part, last in found.items()}

    def read_firsts(self, parts: Iterable[int]) -> dict[int, int]:
        """The id of the first record of each partition, from the file; of an empty one that of its next record."""
        return {part: first or first_id(part) for part, first in self._of_each("min", parts).items()}

    def _of_each(self, which: Literal["min", "max"], parts: Iterable[int]) -> dict[int, int | None]:
        within = "FROM records WHERE id >= p.value << 40 AND id < (p.value + 1) << 40"
        query = f"SELECT p.value, (SELECT {which}(id) {within}) FROM json_each(?) AS p"  # nosec B608  # min or max
        rows = self.rows(query, (json.dumps(list(parts)),))
        return {int(part): id for part, id in rows}

    def offset_at(self, part: int, start: Start) -> int:
        """The offset at which a reader of a partition begins. A time is searched for record by record."""
        if start == "earliest":
            return 0
        if start != "latest":
            found = self.rows(
                "SELECT id FROM records WHERE id >= ? AND id < ? AND timestamp_ms >= ? ORDER BY id LIMIT 1",
                (first_id(part), past_last_id(part), start),
            )
            if found:
                return int(str(found[0][0])) & OFFSET_MASK
        return self.read_ends([part])[part] & OFFSET_MASK

    def read(self, part: TopicPartition, start: int, end: int, max_records: int) -> list[Record]:
        """Records of one partition from an id on; fewer than requested if they are large."""
        topic, partition = part
        records: list[Record] = []
        size = 0
        try:
            for record_id, key, value, headers, timestamp_ms in self._connection.execute(
                "SELECT id, key, value, headers, timestamp_ms FROM records WHERE id >= ? AND id < ? "
                "ORDER BY id LIMIT ?",
                (start, end, max_records),
            ):
                offset = record_id & OFFSET_MASK
                records.append(Record(topic, partition, offset, key, value, decode_headers(headers), timestamp_ms))
                if value is not None and (size := size + len(value)) > _READ_BYTES_MAX:
                    break
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return records

    # Cursors

    def add(self, cursor: Cursor, parts: Iterable[int]) -> None:
        if new := [part for part in parts if part not in self._cursors]:
            self.ends.update(self.read_ends(new))
        for part in parts:
            self._cursors.setdefault(part, set()).add(cursor)

    def remove(self, cursor: Cursor, parts: Iterable[int]) -> None:
        for part in parts:
            readers = self._cursors.get(part, set())
            readers.discard(cursor)
            if not readers:
                self._cursors.pop(part, None)
                self.ends.pop(part, None)

    def advance(self, ends: Mapping[int, int]) -> None:
        """Wakes the readers of partitions that have grown."""
        for part, end in ends.items():
            readers = self._cursors.get(part)
            if readers and end > self.ends[part]:
                self.ends[part] = end
                for cursor in readers:
                    cursor.wake()

    def refresh(self) -> None:
        """Reads the ends from the file, after another process has written it."""
        if self._cursors and not self.closed:
            self.advance(self.read_ends(self._cursors))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for cursor in {cursor for cursors in self._cursors.values() for cursor in cursors}:
                cursor.wake()
            self._connection.close()


class Cursor:
    """Reads some partitions, each in order and all fairly."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._parts: dict[int, TopicPartition] = {}
        self._next: dict[int, int] = {}
        self._news = asyncio.Event()
        self._turn = 0

    def assign(self, parts: Mapping[int, TopicPartition], next_ids: Mapping[int, int]) -> None:
        """Reads exactly these partitions from now on: from the given ids, else from the current position."""
        self._feed.add(self, parts.keys() - self._parts.keys())
        self._feed.remove(self, self._parts.keys() - parts.keys())
        self._next = {part: next_ids.get(part, self._next.get(part, first_id(part))) for part in parts}
        self._parts = dict(parts)
        self.wake()

    def seek(self, part: int, next_id: int) -> None:
        self._next[part] = next_id

    @property
    def parts(self) -> Mapping[int, TopicPartition]:
        return self._parts

    def positions(self) -> dict[TopicPartition, int]:
        return {tp: self._next[part] & OFFSET_MASK for part, tp in self._parts.items()}

    def wake(self) -> None:
        self._news.set()

    def read(self, max_records: int) -> list[Record]:
        """The records that are available now."""
        self._news.clear()
        if self._feed.closed:
            raise LogUnavailable("the log is closed; open it again")
        ends, position = self._feed.ends, self._next
        ready = [part for part in self._parts if ends[part] > position[part]]
        self._turn += 1
        turn = self._turn % len(ready) if ready else 0
        records: list[Record] = []
        for part in ready[turn:] + ready[:turn]:
            found = self._feed.read(self._parts[part], position[part], past_last_id(part), max_records - len(records))
            position[part] = first_id(part) + found[-1].offset + 1 if found else ends[part]
            records += found
            if len(records) >= max_records:
                break
        return records

    async def wait(self, until: float) -> bool:
        """Waits for new records until a time of the event loop. True: there may be some."""
        if self._news.is_set():
            return True
        try:
            async with asyncio.timeout_at(until):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def poll(self, max_records: int, timeout: float) -> list[Record]:
        until = asyncio.get_running_loop().time() + timeout
        while not (records := self.read(max_records)):
            if not await self.wait(until):
                return []
        return records

    def close(self) -> None:
        self.assign({}, {})
