"""The processor of one owned partition: poll, decide, commit, repeat.

Commit order, and the effect of a crash in each gap:

1. Records are read from the committed position on. A crash: the next owner reads them again.
2. ``decide`` runs on them and on due timers, into an overlay. A crash: the overlay is lost; nothing was visible.
3. One commit makes documents, history, commands, forwards and position visible. A crash: the log settles the commit as
   a whole; the next owner restores the state before or after it, never between.
4. The overlay is merged into memory, timers are indexed, spans end. A crash: the next owner rebuilds all of it from the
   documents.

While a commit is in progress the next batch is decided on top of its overlay, and committed after it. A commit with an
unknown outcome ends the owner and discards both overlays.

When nothing else is to do, timers that are not due yet are decided: see ``ahead.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NoReturn, TypeVar

import structlog

from ..codec.documents import decode_document
from ..codec.glance import may_wait_for_code, timers_of
from ..codec.wire import BadRecord
from ..errors import CorruptRecord, TopicGone, TopicMismatch
from ..kernel import is_timeless
from ..kernel.compatibility import missing_code
from ..kernel.deferral import waits_for_code
from ..kernel.migrating import must_migrate
from ..messages.document import Document
from ..messages.inputs import Act, ActName, Message
from ..messages.texts import said, trace_of
from ..ports.log import Batch, Owner, Record
from .ahead import Ahead, Room
from .clocks import WatchedClock
from .deciding import BatchWork, Deciding
from .documents import Documents
from .timers import TimerIndex

__all__ = ["Processor"]

_log = structlog.get_logger("sagaline.engine")
T = TypeVar("T")

_BATCH_MAX = 500
"""Most records, due timers and messages of the owner itself in one commit."""
_BATCH_BYTES_MAX = 8 << 20
"""Nothing is added to a batch of this size: a commit has a deadline."""
_TIMERS_MAX = 50
"""Due timers that are decided between two checks of the batch's size."""

_AHEAD_MAX = 20
"""Timers that are decided ahead before the event loop gets control."""

_RESTORE_MAX = 500
"""Documents that are indexed before the event loop, which also runs the heartbeats, gets control."""
_SAY_SECONDS = 5.0
_DETAIL_CHARS = 8_000

_EMPTY_SECONDS = 1.0
"""A poll without records for this long means that there are none."""
_IDLE_SECONDS = 3_600.0
"""Timeout of a poll after that; a record or a timer ends the wait earlier."""


class Processor:
    """Drives one ``Owner`` until it is cancelled or the owner raises.

    ``partitions``: how many a topic has, 0: there is none. ``restored``: its documents are indexed and it decides.
    ``room``: that of the process. To end it: ``stop``, await ``idle``, cancel.
    """

    def __init__(
        self,
        owner: Owner,
        setup: Deciding,
        clock: WatchedClock,
        *,
        partitions: Callable[[str], Awaitable[int]],
        on_restored: Callable[[], None],
        room: Room,
    ) -> None:
        self._partitions = partitions
        self._owner, self._setup, self._clock, self._on_restored = owner, setup, clock, on_restored
        self._documents = Documents()
        self._timers = TimerIndex(partial(_timers_of, owner, self._documents), early=is_timeless)
        self._ahead = Ahead(room)
        self._own: deque[Message] = deque()
        self._arrived: deque[Record] = deque()
        self._caught_up = False
        self._stopping = asyncio.Event()
        self._polling: asyncio.Task[Sequence[Record]] | None = None
        self._committing: tuple[BatchWork, asyncio.Task[None]] | None = None
        self._unreadable: CorruptRecord | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self.restored = False

    def stop(self) -> None:
        """Begins nothing new; ``idle`` is set when the commit in progress has ended."""
        self._stopping.set()
        if self._polling is not None:
            self._polling.cancel()

    async def run(self) -> NoReturn:
        """Never returns.

        Raises:
            OwnershipLost, LogUnavailable: as ``Owner``; the owner is spent.
            CorruptRecord: the next record can never be read; everything before it is committed.
        """
        await self._restore()
        self._clock.taken(self._owner.partition, self._owner.position)
        self.restored = True
        self._on_restored()
        try:
            while not self._stopping.is_set():
                work = BatchWork(self._setup, self._owner, self._documents, self._below())
                await self._fill(work)
                await self._settle()
                if work.count:
                    self._committing = work, asyncio.create_task(self._commit(work))
                if self._unreadable is not None:
                    await self._settle()
                    raise self._unreadable
            await self._settle()
            self.idle.set()
            await asyncio.Event().wait()
            raise AssertionError("this event is never set")
        finally:
            self._ahead.clear()
            await self._drop()
            self.idle.set()  # a failed processor has nothing to wait for

    async def _fill(self, work: BatchWork) -> None:
        """Decides what arrives, until the batch is not empty and no commit is in progress."""
        while not self._stopping.is_set() and self._unreadable is None:
            work.tell(self._clock.now_ms())
            work.messages(_until_full(self._own, work))
            work.records(_until_full(self._arrived, work))
            self._caught_up = self._caught_up or work.position.offset >= self._owner.backlog_end
            while self._caught_up and not _full(work):
                if not (due := self._timers.due(work.position.now_ms, min(_TIMERS_MAX, _BATCH_MAX - work.count))):
                    break
                work.timers(due, self._ahead)
            if work.count and self._committing is None:
                return
            early = [] if self._ahead.full else self._timers.soon(_AHEAD_MAX)
            work.ahead(early, self._ahead)
            await self._wait(work, 0 if early else None)

    async def _wait(self, work: BatchWork, seconds_max: float | None) -> None:
        """Waits until records arrive, the commit in progress ends, a timer is due, or that time is over.

        A full batch waits only for the commit.
        """
        waits: set[asyncio.Task[Sequence[Record]] | asyncio.Task[None]] = set()
        full = _full(work)
        if not full:
            if self._polling is None:
                seconds = _IDLE_SECONDS if self._caught_up else _EMPTY_SECONDS
                poll = self._owner.poll(max_records=_BATCH_MAX, timeout=seconds)
                self._polling = asyncio.create_task(poll)
            waits.add(self._polling)
        if self._committing is not None:
            waits.add(self._committing[1])
        elif not work.count:
            self.idle.set()
        due = None if full else self._due()
        try:
            awaited = waits if due is None else {*waits, due}
            await asyncio.wait(awaited, timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if due is not None:
                due.cancel()
        self.idle.clear()
        if self._committing is not None and self._committing[1].done():
            await self._settle()
        if self._polling in waits and self._polling is not None and self._polling.done():
            polling, self._polling = self._polling, None
            if not polling.cancelled():
                try:
                    self._take_in(polling.result())
                except CorruptRecord as error:
                    self._unreadable = error  # everything before it is committed first

    def _take_in(self, records: Sequence[Record]) -> None:
        if self._caught_up and len(records) < _BATCH_MAX:
            self._clock.read(records)
        self._arrived.extend(records)
        self._caught_up = self._caught_up or not records

    def _below(self) -> BatchWork | None:
        return None if self._committing is None else self._committing[0]

    async def _settle(self) -> None:
        """Waits for the commit in progress; raises its error."""
        if self._committing is not None:
            await self._committing[1]
            self._committing = None

    async def _commit(self, work: BatchWork) -> None:
        batch = work.batch()
        began = asyncio.get_running_loop().time()
        await self._written(work, batch)
        self._setup.metrics.record("batches.commit", asyncio.get_running_loop().time() - began)
        self._documents.merge(work.changed, batch.state)
        for key in batch.state:
            document = work.changed[key.decode()]
            self._timers.replace(key, document.timers if document else {})
            self._ahead.forget(key.decode())
        work.committed()

    async def _written(self, work: BatchWork, batch: Batch) -> None:
        """Commits, if everything that is forwarded has a place."""
        destinations, topics = self._setup.destinations, self._setup.topics
        await destinations.look(work.forwards, topics, self._partitions)
        try:
            await self._owner.commit(batch)
        except (TopicMismatch, TopicGone) as error:
            if not work.forwards:
                raise
            raise destinations.lost(error) from error
        await destinations.look_again(work.missing, self._partitions)

    async def _drop(self) -> None:
        """Cancels the poll and the commit, and drops them: the frames of their errors would keep this object alive."""
        under_way = self._polling, self._committing and self._committing[1]
        self._polling = self._committing = None
        for task in under_way:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _due(self) -> asyncio.Task[None] | None:
        """A task that ends when the next timer is due; None: no timer may fire now, or there is none.

        No timer fires before the backlog is decided. Otherwise each timeout that passed while the partition had no
        owner would win over a reply that came in time.
        """
        due_ms = self._timers.next_due_ms() if self._caught_up else None
        return None if due_ms is None else asyncio.create_task(self._clock.reach(due_ms))

    async def _restore(self) -> None:
        """Rebuilds the timer index; instances that waited for code that is deployed now get a retry."""
        loop = asyncio.get_running_loop()
        count, say_at = 0, loop.time() + _SAY_SECONDS
        async for key, value in self._owner.documents():
            self._index(key, value)
            count += 1
            if count % _RESTORE_MAX == 0:
                self._setup.metrics.add("documents.restored", _RESTORE_MAX)
                await asyncio.sleep(0)
                if loop.time() >= say_at:
                    say_at = loop.time() + _SAY_SECONDS
                    _log.info("restoring", partition=self._owner.partition, indexed=count)
        self._setup.metrics.add("documents.restored", count % _RESTORE_MAX)

    def _index(self, key: bytes, value: bytes) -> None:
        """Indexes one document. Any error, also of code that reads it, affects only its own instance."""
        try:
            self._timers.replace(key, timers_of(key, value))
            if not may_wait_for_code(value) or key.startswith(b"@"):
                return
            document = decode_document(value)
            waited = self._waited_for_us(document)
        except Exception as error:
            _parked(key.decode(errors="replace"), error)
            return
        if waited:
            act = Act(
                id=f"deployed/{document.id}/{document.revision}",
                instance=document.id,
                act=ActName.RETRY,
                by="sagaline",
                reason=f"code for version {document.version} is deployed here",
            )
            self._own.append(act)

    def _waited_for_us(self, document: Document) -> bool:
        definition = self._setup.registry.deciding(document)
        if definition is None or not waits_for_code(document):
            return False
        return must_migrate(definition, document) or missing_code(definition, document) is None


def _parked(instance: str, error: Exception) -> None:
    if isinstance(error, BadRecord):
        _log.error("instance parked", instance=instance, reason=str(error))
    else:
        _log.error("instance parked", instance=instance, reason=said(error), detail=trace_of(error, _DETAIL_CHARS))


def _full(work: BatchWork) -> bool:
    return work.count >= _BATCH_MAX or work.size_bytes >= _BATCH_BYTES_MAX


def _until_full(waiting: deque[T], work: BatchWork) -> Iterator[T]:
    """Takes items while the batch has room."""
    while waiting and not _full(work):
        yield waiting.popleft()


def _timers_of(owner: Owner, documents: Documents, key: bytes) -> Mapping[str, int]:
    """Of the committed document."""
    entity = documents.get(key.decode())
    if entity is not None:
        return entity.timers
    value = owner.get(key)
    try:
        return timers_of(key, value) if value is not None else {}
    except BadRecord:
        return {}
