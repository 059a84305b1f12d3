"""The owner of one input partition: documents in memory, one transactional producer, one reader of its inputs.

The order of a commit, and the effect of a crash in each gap:

1. Compute all batches and check every size. Crash: nothing has happened.
2. Begin, send everything at once, await every send. Crash: the successor's start aborts it.
3. Commit. Crash: the coordinator decides it as a whole; the successor restores the result.
4. Merge into the documents in memory. Crash: the successor restores the same from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import aiokafka.errors as errors

from ...errors import LogUnavailable, OwnershipLost
from ...ports.clock import Clock
from ...ports.log import Batch, Outgoing, Position, Record, TopicPartition
from ...ports.topics import POSITION_KEY
from .batches import Placed, build, place
from .driver import BROKEN
from .ending import within
from .group import Judge
from .position import write_mark
from .reader import Reader
from .settings import Connection
from .taking import Taken, Topics
from .topics import Catalog

__all__ = ["Circumstances", "KafkaOwner"]


class Circumstances(NamedTuple):
    """What all owners of one membership share."""

    connection: Connection
    catalog: Catalog
    clock: Clock
    judge: Judge
    topics: Topics


class KafkaOwner:
    """See ``ports.log.Owner``."""

    def __init__(
        self,
        shared: Circumstances,
        partition: int,
        taken: Taken,
        on_release: Callable[[KafkaOwner], None],
    ) -> None:
        self._connection, self._catalog, self._clock, self._judge, self._topics = shared
        self._partition = partition
        self._transactor, self._documents, self._position, self._backlog_end = taken
        self._on_release = on_release
        self._released = False
        self._lost: Exception | None = None
        self._committing = False
        inputs = TopicPartition(self._topics.inputs, partition)
        self._reader = Reader(self._connection, {inputs: taken.position.offset})

    @property
    def partition(self) -> int:
        return self._partition

    @property
    def position(self) -> Position:
        return self._position

    @property
    def backlog_end(self) -> int:
        return self._backlog_end

    def get(self, key: bytes) -> bytes | None:
        return self._documents.get(key)

    async def documents(self) -> AsyncIterator[tuple[bytes, bytes]]:
        for key in list(self._documents):
            if (value := self._documents.get(key)) is not None:
                yield key, value

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        if not self._committing:
            self._require_usable()
        try:
            return await self._reader.poll(max_records=max_records, timeout=timeout)
        except errors.OffsetOutOfRangeError as error:
            if await self._skip_deleted():
                return ()
            self._lost = LogUnavailable(f"the position in {self._topics.inputs}/{self._partition} is gone ({error})")
            raise self._lost from error
        except LogUnavailable as error:
            self._lost = await self._catalog.explained(error, [self._topics.inputs])
            raise self._lost from error

    async def commit(self, batch: Batch) -> None:
        self._require_usable()
        placed = await self._placed(batch)
        now_ms = self._clock.now_ms()
        batches = {
            where: build(self._transactor.create_batch, where, entries, now_ms) for where, entries in placed.items()
        }
        self._lost = LogUnavailable("a commit of this owner did not end: release it and take the partition again")
        self._committing = True
        try:
            await self._transactor.commit(batches)
        except BROKEN as error:
            self._lost = await self._verdict(error)
            if isinstance(self._lost, LogUnavailable):
                self._lost = await self._catalog.explained(self._lost, {where.topic for where in batches})
            raise self._lost from error
        finally:
            self._committing = False
        self._lost = None
        self._merge(batch)

    async def release(self) -> None:
        if self._released:
            return
        self._released = True
        # At once, not at the next garbage collection: the error's traceback refers to frames that refer to this owner.
        self._documents.clear()
        self._lost = None
        self._on_release(self)
        with contextlib.suppress(*BROKEN):
            await within(self._end(), 1.9)

    async def _end(self) -> None:
        await asyncio.gather(self._transactor.stop(), self._reader.stop(), return_exceptions=True)

    def _require_usable(self) -> None:
        if self._released:
            raise LogUnavailable("this owner has been released: take the partition again")
        if self._lost is not None:
            raise self._lost
        if self._transactor.spent:
            # The last commit succeeded, but one request was sent twice: the copy could end the next transaction.
            raise LogUnavailable(self._connection.gone("committing; release this owner and take the partition again"))

    async def _placed(self, batch: Batch) -> Placed:
        partition, state = self._partition, self._topics.state
        documents = [Outgoing(state, key, value, (), partition) for key, value in batch.state.items()]
        partitions = await self._catalog.partitions({record.topic for record in batch.appends} | {state})
        placed = place((*documents, *batch.appends), partitions)
        own = TopicPartition(state, partition)
        mark = write_mark(batch.position, {*placed, own})
        placed.setdefault(own, []).append((POSITION_KEY, mark, ()))
        return placed

    def _merge(self, batch: Batch) -> None:
        for key, value in batch.state.items():
            if value is None:
                self._documents.pop(key, None)
            else:
                self._documents[key] = value
        self._position = batch.position

    async def _skip_deleted(self) -> bool:
        """Moves to the earliest input kept, if the position is before it."""
        inputs = TopicPartition(self._topics.inputs, self._partition)
        earliest = await self._catalog.earliest(inputs)
        if self._reader.positions()[inputs] >= earliest:
            return False
        self._reader.move(inputs, earliest)
        return True

    async def _verdict(self, error: BaseException) -> OwnershipLost | LogUnavailable:
        """The error to raise: fenced or only late look the same here; the group knows."""
        if isinstance(error, TimeoutError):
            return LogUnavailable(self._connection.gone("committing", self._connection.limits.commit_s))
        try:
            ours = await self._judge(self._partition)
        except LogUnavailable as unknown:
            return unknown
        if ours:
            return LogUnavailable(
                f"the commit on partition {self._partition} failed ({type(error).__name__}: {error}): take it again"
            )
        return OwnershipLost(f"partition {self._partition} of {self._topics.inputs} belongs to another member now")
