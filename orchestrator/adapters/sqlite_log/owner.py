"""The owner of an input partition: its epoch is the fence; the state partition's records are its documents.

The record id of every document is kept in memory, and the content in a cache of limited size; other content is one read
by record id. A commit removes the records that it replaces, in the same transaction.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import CorruptRecord, LogUnavailable, OwnershipLost, ValueTooLarge
from ...ports.log import Batch, Position, Record, Start, TopicPartition
from ...ports.topics import POSITION_KEY
from .feed import Cursor, Feed, Topic
from .operations import Commit
from .routing import Router
from .schema import OFFSET_MASK, connect, first_id, past_last_id, translate
from .transaction import Row
from .writer import Writer

__all__ = ["Documents", "OwnedPartition", "SqliteOwner", "recorded_offset", "restore"]

_CACHE_BYTES_MAX = 67_108_864
_ROWS_PER_READ = 1000
_READS_PER_CALL = 20
_ROWS = "SELECT id, key, value FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"


class Documents:
    """The record id of each document of a state partition, and the content of the last used."""

    def __init__(self) -> None:
        self.ids: dict[bytes, int] = {}
        self.duplicates: list[int] = []
        """Records that a later one with the same key has replaced without removing them."""
        self._cached: dict[bytes, bytes] = {}
        self._cached_bytes = 0

    def put(self, key: bytes, record_id: int, value: bytes | None) -> None:
        self.drop(key)
        if value is None:
            self.ids.pop(key, None)
            return
        self.ids[key] = record_id
        self.cache(key, value)

    def cached(self, key: bytes) -> bytes | None:
        return self._cached.get(key)

    def cache(self, key: bytes, value: bytes) -> None:
        self._cached[key] = value
        self._cached_bytes += len(value)
        while self._cached_bytes > _CACHE_BYTES_MAX and len(self._cached) > 1:
            self.drop(next(iter(self._cached)))

    def drop(self, key: bytes) -> None:
        old = self._cached.pop(key, None)
        if old is not None:
            self._cached_bytes -= len(old)


class OwnedPartition(NamedTuple):
    """A partition of two topics, with the epoch of the state's, and where it begins without a position."""

    inputs: Topic
    state: Topic
    partition: int
    epoch: int
    start: Start = "earliest"

    @property
    def input_part(self) -> int:
        return self.inputs.first_part + self.partition

    @property
    def state_part(self) -> int:
        return self.state.first_part + self.partition


def restore(path: Path, part: int, busy_ms: int, documents: Documents, start: int) -> int | None:
    """Reads a limited number of a state partition's records, from ``start``, on its own connection; runs in a thread.

    Returns:
        The record to continue with; None: that was the end.

    Raises:
        LogUnavailable: the file cannot be read.
    """
    try:
        connection = connect(path, read_only=True, busy_ms=busy_ms)
        try:
            for _ in range(_READS_PER_CALL):
                rows = connection.execute(_ROWS, (start, past_last_id(part), _ROWS_PER_READ)).fetchall()
                for record_id, key, value in rows:
                    if key in documents.ids:
                        documents.duplicates.append(documents.ids[key])
                    documents.put(key, record_id, value)
                if len(rows) < _ROWS_PER_READ:
                    return None
                start = rows[-1][0] + 1
            return start
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, path) from error


def recorded_offset(rows: Callable[[str, Sequence[object]], Sequence[Sequence[object]]], part: int, where: str) -> int:
    """The position in a state partition: the next offset of ``inputs`` to decide. Each commit writes it last.

    Args:
        rows: runs a query.
        part: of the state topic.
        where: its topic and partition, for people.

    Raises:
        CorruptRecord: the position record cannot be read.
    """
    found = rows(
        "SELECT value FROM records WHERE id >= ? AND id < ? AND key = ? ORDER BY id DESC LIMIT 1",
        (first_id(part), past_last_id(part), POSITION_KEY),
    )
    value = found[0][0] if found else None
    try:
        return int(json.loads(value)["offset"]) if isinstance(value, bytes) else 0
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise CorruptRecord(where, f"the position record cannot be read ({error!r})") from error


class SqliteOwner:
    """See ``Owner``."""

    def __init__(self, owned: OwnedPartition, documents: Documents, feed: Feed, router: Router, writer: Writer) -> None:
        self._owned, self._documents, self._feed, self._router, self._writer = owned, documents, feed, router, writer
        self._spent = ""
        self._committing = False
        part = owned.input_part
        self._cursor = Cursor(feed)
        self._cursor.assign({part: TopicPartition(owned.inputs.name, owned.partition)}, {})
        try:
            self._position = self._restored_position()
        except BaseException:
            self._cursor.close()
            raise
        self._cursor.seek(part, first_id(part) + self._position.offset)
        self._backlog_end = feed.ends[part] & OFFSET_MASK

    @property
    def partition(self) -> int:
        return self._owned.partition

    @property
    def position(self) -> Position:
        return self._position

    @property
    def backlog_end(self) -> int:
        return self._backlog_end

    def get(self, key: bytes) -> bytes | None:
        record_id = self._documents.ids.get(key)
        if record_id is None or key == POSITION_KEY:
            return None
        cached = self._documents.cached(key)
        if cached is not None:
            return cached
        rows = self._feed.rows("SELECT value FROM records WHERE id = ?", (record_id,))
        if not rows or not isinstance(rows[0][0], bytes):
            raise OwnershipLost(f"another owner of {self._name()} has replaced a document; release this owner")
        self._documents.cache(key, rows[0][0])
        return rows[0][0]

    async def documents(self) -> AsyncIterator[tuple[bytes, bytes]]:
        part = self._owned.state_part
        start, end = first_id(part), past_last_id(part)
        rows: Sequence[Any] = [()]
        while rows:
            # Not through the cache, which is for documents in use.
            rows = self._feed.rows(_ROWS, (start, end, _ROWS_PER_READ))
            for record_id, key, value in rows:
                start = record_id + 1
                if key != POSITION_KEY and self._documents.ids.get(key) == record_id:
                    yield key, value
            await asyncio.sleep(0)

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        if not self._committing:
            self._refuse_if_spent()
        try:
            return await self._cursor.poll(max_records, timeout)
        except LogUnavailable as error:
            self._spent = str(error)
            raise

    async def commit(self, batch: Batch) -> None:
        self._refuse_if_spent()
        state_topic, documents = self._owned.state.name, self._documents
        for key, value in batch.state.items():
            self._router.check(key, value, state_topic)
        state = {**batch.state, POSITION_KEY: json.dumps(batch.position._asdict()).encode()}
        try:
            rows = [Row(self._owned.state_part, key, value, None) for key, value in state.items()]
            rows += self._router.rows(batch.appends)
        except ValueTooLarge:
            raise
        except Exception as error:
            self._spent = str(error)
            raise
        superseded = [documents.ids[key] for key in state if key in documents.ids] + documents.duplicates
        # Spent until the outcome is known: a caller that is cancelled here must not continue with this owner.
        self._spent = "the outcome of its last commit is unknown"
        self._committing = True
        try:
            ids = await self._writer.submit(
                Commit(self._owned.state_part, self._owned.epoch, rows, superseded, kept=len(state))
            )
        finally:
            self._committing = False
        for (key, value), record_id in zip(state.items(), ids, strict=True):
            documents.put(key, record_id, value)
        documents.duplicates = []
        self._position = batch.position
        self._spent = ""

    async def release(self) -> None:
        self._spent = self._spent or "it was released"
        self._cursor.close()
        self._documents = Documents()

    def _name(self) -> str:
        return f"{self._owned.inputs.name}/{self._owned.partition}"

    def _refuse_if_spent(self) -> None:
        if self._spent:
            raise OwnershipLost(f"this owner of {self._name()} is spent ({self._spent}): release it and take again")

    def _restored_position(self) -> Position:
        record_id = self._documents.ids.get(POSITION_KEY)
        if record_id is None:
            if self._documents.ids:
                raise CorruptRecord(
                    f"{self._owned.state.name}/{self._owned.partition}", "there are documents but no position record"
                )
            return Position(self._feed.offset_at(self._owned.input_part, self._owned.start), 0)
        where = f"{self._owned.state.name}/{self._owned.partition}/{record_id & OFFSET_MASK}"
        cached = self._documents.cached(POSITION_KEY)
        raw = (
            cached
            if cached is not None
            else self._feed.rows("SELECT value FROM records WHERE id = ?", (record_id,))[0][0]
        )
        try:
            value = json.loads(raw) if isinstance(raw, bytes) else {}
            position = Position(int(value["offset"]), int(value["now_ms"]))
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptRecord(where, f"the position record cannot be read ({error!r})") from error
        end = self._feed.ends[self._owned.input_part] & OFFSET_MASK
        if not 0 <= position.offset <= end:
            raise CorruptRecord(where, f"the position {position.offset} is past the end of {self._name()}, {end}")
        return position
