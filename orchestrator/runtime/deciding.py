"""One batch in progress: records and due timers in, one ``Batch`` for the log out. No I/O and no clock in here.

A message affects only its own instance: see ``guard.py``. The batch only collects records that are already encoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

import structlog

from ..codec.documents import decode_document
from ..codec.entities import decode_entity
from ..codec.wire import BadRecord
from ..kernel import names_instance
from ..messages.inputs import Message, TimerFired
from ..ports.log import Batch, Outgoing, Owner, Position, Record
from ..tracing import Span
from .ahead import Ahead
from .destinations import Destination
from .documents import Documents
from .guard import Guard, Stored
from .setup import Deciding
from .timers import DueTimer
from .writes import Measured, Writes

__all__ = ["BatchWork", "Deciding"]

_log = structlog.get_logger("sagaline.engine")


class BatchWork:
    """The overlay of one batch over the committed documents; discarded unless its commit is known to have succeeded.

    Args:
        below: the batch whose commit is in progress; this one builds on it and is discarded with it.
    """

    def __init__(self, setup: Deciding, owner: Owner, documents: Documents, below: BatchWork | None) -> None:
        self._setup = setup
        self._offset, self._now_ms = owner.position if below is None else below.position
        self._below = {} if below is None else below.changed
        self.count = 0
        self.size_bytes = 0
        self.changed: dict[str, Stored] = {}
        self._state: dict[bytes, bytes | None] = {}
        self._appends: list[Outgoing] = []
        self._spans: list[Span] = []
        self.forwards: set[Destination] = set()
        self.missing: set[str] = set()
        self._counts: Counter[Measured] = Counter()
        self._durations: list[tuple[Measured, float]] = []
        # Not a method of self: batch and guard would reference each other, and only the collector would free them.
        self._entity = partial(_find, self.changed, self._below, documents, owner)
        self._guard = Guard(setup, owner.partition, self._entity)

    @property
    def position(self) -> Position:
        """The partition's position after this batch is committed."""
        return Position(self._offset, self._now_ms)

    def tell(self, now_ms: int) -> None:
        """Sets the time of the following decisions. It may go back: order never depends on time."""
        self._now_ms = now_ms

    def records(self, records: Iterable[Record]) -> None:
        """Decides records in order."""
        for record in records:
            self.count += 1
            self._offset = record.offset + 1
            self._merge(self._guard.record(record, self._now_ms))

    def messages(self, messages: Iterable[Message]) -> None:
        """Decides messages that the owner itself sends to its instances."""
        for message in messages:
            self.count += 1
            self._merge(self._guard.message(message, None, self._now_ms))

    def ahead(self, timers: Iterable[DueTimer], ahead: Ahead) -> None:
        """Decides timers that are not due yet. A commit that changes the document makes them forgotten."""
        for timer in timers:
            if (ready := self._guard.ahead(_fired(timer))) is not None:
                ahead.put(timer, ready)

    def timers(self, timers: Iterable[DueTimer], ahead: Ahead) -> None:
        """Decides timers that are due and still set; a later decision may have cleared them."""
        for due in timers:
            due_ms, instance, timer = due
            ready = None if self._changes(instance) else ahead.take(due)
            if ready is not None and (writes := self._guard.fire(ready, self._now_ms)) is not None:
                self._fire(due, writes)
                continue
            try:
                entity = self._entity(instance)
            except BadRecord as error:
                _log.error("instance parked", instance=instance, reason=str(error))
                continue
            if entity is None or entity.timers.get(timer) != due_ms:
                continue
            self._fire(due, self._guard.message(_fired(due), None, self._now_ms))

    def batch(self) -> Batch:
        """Everything decided so far, for one commit."""
        return Batch(self._state, self._appends, self.position)

    def committed(self) -> None:
        """Ends the spans and counts the metrics of a committed batch."""
        for span in self._spans:
            span.end()
        metrics = self._setup.metrics
        for (name, *labels), count in self._counts.items():
            metrics.add(name, count, *labels)
        for (name, *labels), seconds in self._durations:
            metrics.record(name, seconds, *labels)
        metrics.record("batches.size", self.count)
        self.changed.clear()  # the batch above finds them among the committed ones now

    def _changes(self, instance: str) -> bool:
        """True: a decision that is not committed yet has changed it."""
        return instance in self.changed or instance in self._below

    def _fire(self, due: DueTimer, writes: Writes) -> None:
        self.count += 1
        self._durations.append((("timers.lateness",), (self._now_ms - due.due_ms) / 1000))
        self._merge(writes)

    def _merge(self, writes: Writes) -> None:
        """Adds all writes of one message."""
        self.changed.update(writes.changed)
        for key, value in writes.state.items():  # of a document only the last revision is written
            self.size_bytes += len(value or b"") - len(self._state.get(key) or b"")
        self._state.update(writes.state)
        self._appends += writes.appends
        self.size_bytes += sum([len(each.value or b"") for each in writes.appends])
        self._spans += writes.spans
        self.forwards.update(writes.forwards)
        self.missing.update(writes.missing)
        self._counts.update(writes.counts)
        self._durations += writes.durations


def _fired(due: DueTimer) -> TimerFired:
    id = f"{due.instance}/{due.timer}/{due.due_ms}"
    return TimerFired(id=id, instance=due.instance, timer=due.timer, due_ms=due.due_ms)


def _find(
    changed: Mapping[str, Stored], below: Mapping[str, Stored], documents: Documents, owner: Owner, instance: str
) -> Stored:
    """The entity for the next message of the batch: from the overlays, the cache or the store."""
    for overlay in (changed, below):
        if instance in overlay:
            return overlay[instance]
    cached = documents.get(instance)
    if cached is not None:
        return cached
    stored = owner.get(instance.encode())
    if stored is None:
        return None
    found = decode_entity(stored) if not names_instance(instance) else decode_document(stored)
    documents.keep(instance, found, len(stored))
    return found
