"""The processor of one owned partition: poll, decide, commit, for ever.

Commit order, and what a crash in each gap does:

1. Records are read from the committed position on. A crash: the next owner reads them again.
2. ``decide`` runs over them and over due timers, into an overlay. A crash: the overlay is gone, nothing was visible.
3. One commit makes documents, history, commands, forwards and position visible. A crash in it: the log settles it as a
   whole; the next owner restores either before or after, never between.
4. The overlay is merged into memory, timers are re-indexed, spans end. A crash: the next owner rebuilds all of it from
   the documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import structlog

from ..codec.documents import decode_document
from ..codec.wire import BadRecord
from ..kernel.parking import missing_code, waits_for_code
from ..messages.document import Document
from ..messages.inputs import Act, ActName, Message
from ..ports.clock import Clock
from ..ports.log import Owner
from .deciding import BatchWork, Deciding
from .documents import Documents
from .timers import TimerIndex

__all__ = ["Processor"]

_log = structlog.get_logger("sagaline.engine")

_BATCH_MAX = 500
"""Records, and due timers, of one commit."""

_IDLE_SECONDS = 1.0
"""The longest wait for records: bounds how late a jump of the wall clock is noticed."""


class Processor:
    """Drives one ``Owner`` until it is cancelled or the owner raises. Cancel it only while ``idle`` is set.

    ``restored`` is true once its documents are indexed and it decides.
    """

    def __init__(self, owner: Owner, setup: Deciding, clock: Clock, *, on_restored: Callable[[], None]) -> None:
        self._owner, self._setup, self._clock, self._on_restored = owner, setup, clock, on_restored
        self._timers = TimerIndex()
        self._documents = Documents()
        self._own: list[Message] = []
        self._caught_up = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.restored = False

    async def run(self) -> NoReturn:
        """Never returns.

        Raises:
            OwnershipLost, LogUnavailable: as ``Owner``; the owner is spent.
        """
        await self._restore()
        self.restored = True
        self._on_restored()
        while True:
            self.idle.set()
            wait_seconds = self._wait_seconds()
            records = await self._owner.poll(max_records=_BATCH_MAX, timeout=wait_seconds)
            self.idle.clear()
            self._caught_up = self._caught_up or (not records and wait_seconds > 0)
            now_ms = max(self._clock.now_ms(), self._owner.position.now_ms)
            work = BatchWork(self._setup, self._owner, self._documents, now_ms)
            own, self._own = self._own, []
            work.messages(own)
            work.records(records)
            due = self._timers.due(now_ms, _BATCH_MAX) if self._caught_up else []
            work.timers(due)
            if own or records or due:
                await self._commit(work)

    async def _commit(self, work: BatchWork) -> None:
        await self._owner.commit(work.batch())
        self._documents.merge(work.changed)
        for instance, document in work.changed.items():
            self._timers.replace(instance, document.timers if document else {})
        work.committed()

    def _wait_seconds(self) -> float:
        """How long to wait for records. No timer fires before what came ahead of this owner is decided.

        Otherwise every time-out that passed while nobody owned the partition would win over the answer that was there.
        """
        self._caught_up = self._caught_up or self._owner.position.offset >= self._owner.backlog_end
        if self._own:
            return 0.0
        if not self._caught_up:
            return _IDLE_SECONDS
        due_ms = self._timers.next_due_ms()
        if due_ms is None:
            return _IDLE_SECONDS
        return min(_IDLE_SECONDS, max(0, due_ms - self._clock.now_ms()) / 1000)

    async def _restore(self) -> None:
        """Rebuilds the timer index; instances that waited for a version that is here now are asked to go on."""
        async for key, value in self._owner.documents():
            try:
                document = decode_document(value)
            except BadRecord as error:
                _log.error("instance parked", instance=key.decode(errors="replace"), reason=str(error))
                continue
            self._timers.replace(document.id, document.timers)
            if self._waited_for_us(document):
                self._own.append(
                    Act(
                        id=f"deployed/{document.id}/{document.revision}",
                        instance=document.id,
                        act=ActName.RETRY,
                        by="sagaline",
                        reason=f"version {document.version} is deployed here",
                        traceparent=document.traceparent,
                    )
                )

    def _waited_for_us(self, document: Document) -> bool:
        definition = self._setup.registry.find(document.definition, document.version)
        return waits_for_code(document) and missing_code(definition, document) is None
