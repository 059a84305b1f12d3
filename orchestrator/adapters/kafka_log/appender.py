"""Appends of clients and workers: one idempotent producer, and one batch per partition in flight at a time.

While a batch is in flight, further records for its partition are collected for the next one (group commit): concurrent
callers share round trips, and the order per partition is the order of the calls. After any error the producer is
replaced, because a failed batch has used its sequence numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from ...errors import LogUnavailable, ValueTooLarge
from ...ports.clock import Clock
from ...ports.log import Outgoing, TopicPartition
from .batches import BATCH_BYTES_MAX, Entry, build, place
from .driver import BROKEN, Producer
from .ending import abandon, stop_producer, translated, within
from .settings import Connection
from .topics import Catalog
from .wire import EXPLAIN_S

__all__ = ["Appender"]

_WAITING_ENTRIES_MAX = 20_000
_GATHER_ENTRIES_MAX = 2_000
_CLOSED = "the log was closed while a record was in flight: it may or may not have been written"


class _Parcel:
    """The records of one call for one partition, and the future that its caller awaits."""

    __slots__ = ("done", "entries")

    def __init__(self, entries: list[Entry], done: asyncio.Future[None]) -> None:
        self.entries = entries
        self.done = done


class Appender:
    """Safe for concurrent use by tasks of one loop."""

    def __init__(self, connection: Connection, catalog: Catalog, clock: Clock) -> None:
        self._connection = connection
        self._catalog = catalog
        self._clock = clock
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._waiting: dict[TopicPartition, deque[_Parcel]] = {}
        self._senders: dict[TopicPartition, asyncio.Task[None]] = {}
        self._count = 0
        self._room = asyncio.Event()
        self._closed = False

    async def append(self, records: Sequence[Outgoing]) -> None:
        """See ``ports.log.Log.append``."""
        try:
            await self._append(records)
        except LogUnavailable as error:
            raise await self._catalog.explained(error, {record.topic for record in records}) from error

    async def _append(self, records: Sequence[Outgoing]) -> None:
        if self._closed:
            raise LogUnavailable("the log has been closed: open another")
        partitions = await self._catalog.partitions({record.topic for record in records})
        placed = place(records, partitions)
        limit = self._connection.limits.append_s  # includes the time to explain a failure
        parcels: list[_Parcel] = []
        try:
            async with asyncio.timeout(max(limit - EXPLAIN_S, limit / 2)):
                while self._count > _WAITING_ENTRIES_MAX:
                    self._room.clear()
                    await self._room.wait()
                parcels += [self._enqueue(where, entries) for where, entries in placed.items()]
                for parcel in parcels:
                    await parcel.done
        except TimeoutError:
            await self._replace(self._producer)
            raise LogUnavailable(self._connection.gone("appending", limit)) from None
        finally:
            for parcel in parcels:
                if not parcel.done.done():
                    parcel.done.cancel()
                elif not parcel.done.cancelled():
                    parcel.done.exception()

    async def close(self) -> None:
        self._closed = True
        for task in list(self._senders.values()):
            await abandon(task, 0.3)
        await self._replace(self._producer)

    def _enqueue(self, where: TopicPartition, entries: list[Entry]) -> _Parcel:
        parcel = _Parcel(entries, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(where, deque()).append(parcel)
        self._count += len(entries)
        if where not in self._senders:
            self._senders[where] = asyncio.create_task(self._send_all(where))
        return parcel

    async def _send_all(self, where: TopicPartition) -> None:
        waiting = self._waiting[where]
        try:
            while waiting:
                await self._send_some(where, self._gather(waiting))
        finally:
            # No await between the last check of the queue and here: nothing can have been added in between.
            del self._senders[where]
            _fail(self._gather(waiting, everything=True), LogUnavailable(_CLOSED))

    def _gather(self, waiting: deque[_Parcel], *, everything: bool = False) -> list[_Parcel]:
        """Takes the parcels for the next batch; those whose caller has given up are dropped."""
        gathered: list[_Parcel] = []
        count = 0
        while waiting and (everything or count < _GATHER_ENTRIES_MAX):
            parcel = waiting.popleft()
            self._count -= len(parcel.entries)
            if not parcel.done.done():
                gathered.append(parcel)
                count += len(parcel.entries)
        self._room.set()
        return gathered

    async def _send_some(self, where: TopicPartition, parcels: list[_Parcel]) -> None:
        if not parcels:
            return
        try:
            with translated(self._connection.gone("appending")):
                producer = await self._started()
                try:
                    await within(self._send(producer, where, parcels), self._connection.limits.append_s)
                except BROKEN:
                    await self._replace(producer)
                    raise
        except ValueTooLarge as error:
            # Nothing was sent: only the call with the oversized record fails.
            if len(parcels) == 1:
                parcels[0].done.set_exception(error)
                return
            for parcel in parcels:
                await self._send_some(where, [parcel])
            return
        except Exception as error:
            _fail(parcels, error)
            return
        except asyncio.CancelledError:
            _fail(parcels, LogUnavailable(_CLOSED))
            raise
        for parcel in parcels:
            if not parcel.done.done():
                parcel.done.set_result(None)

    async def _send(self, producer: Any, where: TopicPartition, parcels: list[_Parcel]) -> None:
        entries = [entry for parcel in parcels for entry in parcel.entries]
        for batch in build(producer.create_batch, where, entries, self._clock.now_ms()):
            await (await producer.send_batch(batch, where.topic, partition=where.partition))

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                options = self._connection.options(self._connection.limits.request_s)
                producer = Producer(
                    **options, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=BATCH_BYTES_MAX
                )
                try:
                    await within(producer.start(), self._connection.limits.answer_s)
                except BaseException:
                    await stop_producer(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _replace(self, producer: Any) -> None:
        """Makes the next append start a new producer. Records in flight on this one fail by their deadline."""
        if producer is None or self._producer is not producer:
            return
        self._producer = None
        with contextlib.suppress(*BROKEN):
            await stop_producer(producer)


def _fail(parcels: Sequence[_Parcel], error: Exception) -> None:
    for parcel in parcels:
        if not parcel.done.done():
            parcel.done.set_exception(error)
