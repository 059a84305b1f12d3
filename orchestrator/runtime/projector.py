"""The projector: follows the state and history topics and keeps the read model up to date.

- One transaction per batch: documents, history and the positions they came from. After a crash it goes on from there.
- Idle, or when somebody waits to read his own write, what arrives is applied at once; under load it gathers for a tenth
  of a second, so that few transactions compete with the log's own writer.
- A record that cannot be read is logged, counted and passed over; nothing else is ever skipped.
- It begins anew from the earliest record when it is asked to, when the log is another one than it knew (positions past
  its end), when retention has overtaken it, or when it stood still for so long that compaction may have removed a
  tombstone that it never saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import structlog

from ..codec.documents import decode_document, decode_history
from ..codec.entities import decode_helper
from ..codec.wire import BadRecord
from ..errors import LogUnavailable, SagalineError, TransientError
from ..kernel import is_helper
from ..messages.document import Document
from ..messages.helpers import Helper
from ..ports.clock import Clock
from ..ports.log import Log, Record, Tail, TopicPartition
from ..ports.read_model import HelperRow, HistoryRow, InstanceFilter, ReadModel, Update
from ..ports.topics import POSITION_KEY, Topics
from .metrics import Metrics

__all__ = ["Projector"]

_log = structlog.get_logger("sagaline.projector")

E = TypeVar("E", Document, Helper)

_BATCH_MAX = 500
_POLL_SECONDS = 0.5
_GATHER_SECONDS = 0.1
_LOOK_SECONDS = 0.01
_DECODE_CHUNK = 64
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_STALE_MS = 12 * 3_600_000
"""Half of the shortest time for which Kafka keeps a tombstone by default."""


class _Revision(NamedTuple):
    """A waiter's wish: an instance at this revision or a later one."""

    revision: int
    seen: asyncio.Future[None]


class Projector:
    """Runs until cancelled; one per read model and process."""

    def __init__(
        self, log: Log, topics: Topics, read_model: ReadModel, clock: Clock, metrics: Metrics | None = None
    ) -> None:
        self._log, self._topics, self._read_model, self._clock = log, topics, read_model, clock
        self._metrics = metrics or Metrics()
        self._applied: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()
        self._waiters: dict[str, list[_Revision]] = {}
        self._rebuild_wanted = False
        self._rebuilds = 0
        self._waiting = 0
        self._failures = 0
        self._last_apply = float("-inf")

    @property
    def rebuilds(self) -> int:
        """How often it has begun anew."""
        return self._rebuilds

    async def run(self) -> None:
        """Never returns: whatever fails is logged and tried again; only cancellation ends it."""
        while True:
            try:
                tail = await self._open()
                try:
                    await self._follow(tail)
                finally:
                    await tail.close()
            except SagalineError as error:
                _log.warning("the read model does not follow the log, trying again", reason=str(error))
                await self._pause()
            except Exception:
                _log.exception("the projector failed, trying again")
                await self._pause()

    async def rebuild(self, *, timeout: float = 60.0) -> None:
        """Clears the read model and returns when it holds again all that the log held at the call.

        Raises:
            TransientError: not done within ``timeout`` seconds; it goes on.
        """
        wanted = self._rebuilds + 1
        self._rebuild_wanted = True
        await self._until(lambda: self._rebuilds >= wanted, timeout)
        await self.caught_up(timeout=timeout)

    async def passed(
        self, instance: str, revision: int, history: tuple[TopicPartition, int], *, timeout: float
    ) -> bool:
        """Waits until a decision can be read: its document and its history record. False at the time-out.

        Args:
            instance: the instance, or the helper entity, decided about.
            revision: of the document after the decision.
            history: place of the history record.
            timeout: seconds.
        """
        partition, offset = history
        waiter = _Revision(revision, asyncio.get_running_loop().create_future())
        self._waiters.setdefault(instance, []).append(waiter)
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                async with self._moved:
                    await self._moved.wait_for(lambda: self._applied.get(partition, 0) > offset)
                read = self._read_model.helper if is_helper(instance) else self._read_model.get
                entity = await read(instance)
                if entity is None or entity.revision < revision:
                    await waiter.seen
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            self._forget(instance, waiter)
        return True

    async def caught_up(self, *, timeout: float) -> None:
        """Waits until everything that the log holds at the call has been applied.

        Raises:
            TransientError: not within ``timeout`` seconds, or the log is gone.
        """
        ends = await self._log.end_offsets(self._followed)
        await self._until(lambda: all(self._applied.get(at, 0) >= end for at, end in ends.items()), timeout)

    async def lag(self) -> int:
        """About how many records it has still to apply.

        Raises:
            LogUnavailable: the log is gone.
        """
        ends = await self._log.end_offsets(self._followed)
        return sum(max(0, end - self._applied.get(at, 0)) for at, end in ends.items())

    @property
    def _followed(self) -> tuple[str, str]:
        return (self._topics.state, self._topics.history)

    async def _until(self, reached: Callable[[], bool], timeout: float) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(reached)
        except TimeoutError:
            raise TransientError(
                f"the read model has not followed the log within {timeout:g} s; ask again later"
            ) from None
        finally:
            self._waiting -= 1

    async def _open(self) -> Tail:
        """A tail that goes on where the read model stands, or from the earliest record after clearing it."""
        stored = await self._read_model.positions()
        reason = await self._why_anew(stored)
        if reason is None:
            tail = await self._log.tail(self._followed, stored)
            if all(tail.positions().get(at, 0) == position for at, position in stored.items()):
                await self._moved_to(stored, {})
                return tail
            await tail.close()
            reason = "retention has overtaken it"
        if stored or self._rebuild_wanted:
            _log.info("building the read model anew", reason=reason)
            await self._read_model.clear()
        self._rebuild_wanted = False
        self._rebuilds += 1
        self._applied = {}
        return await self._log.tail(self._followed, "earliest")

    async def _why_anew(self, stored: Mapping[TopicPartition, int]) -> str | None:
        if self._rebuild_wanted:
            return "asked to"
        if not stored:
            return "it is empty"
        ends = await self._log.end_offsets(self._followed)
        if any(at not in ends or position > ends[at] for at, position in stored.items()):
            return "the log is another one, or was cut"
        behind = any(end > stored.get(at, 0) for at, end in ends.items())
        newest = (await self._read_model.list(InstanceFilter(), limit=1)).documents
        if behind and newest and self._clock.now_ms() - newest[0].updated_ms > _STALE_MS:
            return "it stood still for long"
        return None

    async def _follow(self, tail: Tail) -> None:
        """Applies what comes until a rebuild is wanted."""
        while not self._rebuild_wanted:
            records = await self._gather(tail)
            self._failures = 0
            positions = dict(tail.positions())
            if records:
                await self._apply(await _Reading(self._topics, self._metrics).read(records, positions))
                self._last_apply = self._clock.monotonic()
            elif positions != self._applied:
                await self._moved_to(positions, {})

    async def _gather(self, tail: Tail) -> Sequence[Record]:
        records = list(await tail.poll(max_records=_BATCH_MAX, timeout=_POLL_SECONDS))
        until = self._last_apply + _GATHER_SECONDS
        while records and len(records) < _BATCH_MAX and not self._waiting and self._clock.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                records += await tail.poll(max_records=_BATCH_MAX - len(records), timeout=0)
            except LogUnavailable:
                # What is at hand is applied first; the next poll tells again.
                break
        return records

    async def _apply(self, update: Update) -> None:
        while True:
            try:
                await self._read_model.apply(update)
            except TransientError as error:
                _log.warning("the read model did not take an update, trying again", reason=str(error))
                await self._pause()
            else:
                self._failures = 0
                helpers = {id: row.helper for id, row in update.helpers.items()}
                await self._moved_to(update.positions, {**update.documents, **helpers})
                return

    async def _moved_to(
        self, positions: Mapping[TopicPartition, int], entities: Mapping[str, Document | Helper | None]
    ) -> None:
        self._applied.update(positions)
        for instance in entities.keys() & self._waiters.keys():
            entity = entities[instance]
            for waiter in self._waiters[instance]:
                if not waiter.seen.done() and (entity is None or entity.revision >= waiter.revision):
                    waiter.seen.set_result(None)
        async with self._moved:
            self._moved.notify_all()

    async def _pause(self) -> None:
        await asyncio.sleep(min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(self._failures, 10)))
        self._failures += 1

    def _forget(self, instance: str, waiter: _Revision) -> None:
        waiter.seen.cancel()
        waiters = self._waiters[instance]
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[instance]


class _Reading:
    """Turns records into one update: of each entity's documents only the last is parsed.

    Lets others run in between, because the engine often lives in the same event loop.
    """

    def __init__(self, topics: Topics, metrics: Metrics) -> None:
        self._topics, self._metrics = topics, metrics

    async def read(self, records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> Update:
        last: dict[bytes, Record] = {}
        history: list[HistoryRow] = []
        for number, record in enumerate(records):
            if number % _DECODE_CHUNK == _DECODE_CHUNK - 1:
                await asyncio.sleep(0)
            if record.topic == self._topics.state:
                if record.key is not None and record.key != POSITION_KEY:
                    last[record.key] = record
                continue
            try:
                history.append(HistoryRow(record.offset, decode_history(record)))
            except BadRecord as error:
                self._skip(record, error)
        documents: dict[str, Document | None] = {}
        helpers: dict[str, HelperRow] = {}
        for number, (key, record) in enumerate(last.items()):
            if number % _DECODE_CHUNK == _DECODE_CHUNK - 1:
                await asyncio.sleep(0)
            try:
                entity = key.decode()
                if is_helper(entity):
                    helpers[entity] = HelperRow(record.offset, _read(entity, record.value, decode_helper))
                else:
                    documents[entity] = _read(entity, record.value, decode_document)
            except (BadRecord, UnicodeDecodeError) as error:
                self._skip(record, error)
        return Update(documents, history, positions, helpers)

    def _skip(self, record: Record, error: Exception) -> None:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        _log.error("a record that cannot be read is not shown", place=place, reason=str(error))
        self._metrics.add("projector.skipped")


def _read(entity: str, value: bytes | None, decode: Callable[[bytes], E]) -> E | None:
    document = decode(value) if value is not None else None
    if document is not None and document.id != entity:
        raise BadRecord(f"the record's key is {entity!r}, its document is {document.id!r}")
    return document
