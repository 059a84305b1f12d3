"""The laws of keys: the runs of one key follow one another, and the last document of each is archived.

They follow the recorded starts and changes with a queue of their own, not the one in the documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sagaline.orchestrator.codec.documents import decode_document
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Conflict, Start
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode

from .agenda import BAD
from .generations import began_as
from .witness import Decided, Evidence, begins

__all__ = ["archived", "one_instance", "queued"]


def one_instance(found: Evidence) -> Iterator[str]:
    """A key has one run at a time; the next one begins after its end, if a start or an event asks for it."""
    began: set[str] = set()
    for instance, history in found.history.items():
        before: Status | None = None
        for record in (decided.record for decided in history):
            if begins(record):
                began.add(instance)
                if before is not None and not (before.is_final and _asks_for_another(record)):
                    yield f"{instance} began while it lived, at revision {record.revision}"
            before = record.status
    for start in found.accepted.values():
        if isinstance(start, Start) and not start.id.startswith(BAD) and start.instance not in began:
            yield f"{start.instance} was accepted and never began"


def _asks_for_another(record: HistoryRecord) -> bool:
    asked = record.message
    return isinstance(asked, EventDelivered) or (isinstance(asked, Start) and asked.conflict is not Conflict.REJECT)


@dataclass(slots=True)
class _Key:
    """What the starts of one key have come to. ``began``: those that are known until the key is removed."""

    instance: str
    waiting: list[str] = field(default_factory=list)
    began: set[str] = field(default_factory=set)
    status: Status | None = None
    backward: bool = False

    def decided(self, record: HistoryRecord) -> Iterator[str]:
        start = record.message
        if isinstance(start, Start) and record.outcome in (Outcome.APPLIED, Outcome.DEFERRED):
            yield from self._taken(start, record)
        for change in record.changes:
            if change.what == "instance":
                self.backward = change.after == Status.COMPENSATING or (self.backward and not begins(record))
        self.status = record.status
        if self.status is None:
            self.began.clear()

    def _taken(self, start: Start, record: HistoryRecord) -> Iterator[str]:
        if begins(record):
            self.backward = False
            if start.id in self.began:
                yield f"{self.instance} began twice by start {start.id}"
            self.began.add(start.id)
            if start.id in self.waiting:
                if self.waiting[0] != start.id:
                    yield f"{self.instance}: start {start.id} overtakes {self.waiting[0]}, which waits"
                self.waiting.remove(start.id)
            elif self.waiting and start.conflict is not Conflict.REPLACE:
                yield f"{self.instance}: start {start.id} overtakes {self.waiting[0]}, which waits"
            else:
                self.waiting = []
        elif record.code is ReasonCode.QUEUED:
            replaces = start.conflict is Conflict.REPLACE
            self.waiting = [start.id] if replaces else [*self.waiting, start.id]
            turns = any(change.what == "instance" for change in record.changes)
            if replaces and not (self.backward or turns):
                yield f"{self.instance}: start {start.id} replaces a run, which goes on"
        elif start.id in self.waiting:
            self.waiting.remove(start.id)  # it can never begin


def queued(found: Evidence) -> Iterator[str]:
    """A start that waits begins its run once, in its turn; one that replaces a run ends it."""
    for instance, history in found.history.items():
        key = _Key(instance)
        for record in (decided.record for decided in history):
            yield from key.decided(record)
        if key.waiting and (key.status is None or key.status.is_final):
            yield f"{instance} has ended, and {', '.join(key.waiting)} still wait for that"


def archived(found: Evidence) -> Iterator[str]:
    """The last document of each run is archived once, when it is removed, if its definition says so."""
    documents = [decode_document(record.value or b"") for record in found.archived]
    came = Counter((each.id, each.incarnation) for each in documents)
    last = {(each.id, each.incarnation): each for versions in found.versions.values() for each in versions}
    gone = {key for instance, history in found.history.items() for key in _removed(instance, history)}
    for key in came.keys() - gone:
        yield f"{key} is archived, and was not removed"
    for key in gone & last.keys():
        document = last[key]
        definition = found.registry.find(document.definition, document.version)
        wanted = definition is None or definition.retention.archive
        if came[key] != wanted and not (came[key] == 1 and document.status is Status.ABANDONED):
            yield f"{key} was removed, and archived {came[key]} times; its definition says {wanted}"
    yield from _differ(documents, found)


def _differ(documents: Sequence[Document], found: Evidence) -> Iterator[str]:
    """What is archived is what was stored last."""
    stored = {
        (each.id, each.incarnation, each.revision): each for versions in found.versions.values() for each in versions
    }
    for each in documents:
        if stored.get((each.id, each.incarnation, each.revision), each) != each:
            yield f"{each.id} is archived as it never was, at revision {each.revision}"


def _removed(instance: str, history: Sequence[Decided]) -> Iterator[tuple[str, str]]:
    """The runs that have ended and whose document is no longer stored."""
    run, ended = "", False
    for record in (decided.record for decided in history):
        if ended and (record.status is None or begins(record)):
            yield instance, run
        if begins(record):
            run = began_as(record)
        ended = record.status is not None and record.status.is_final
