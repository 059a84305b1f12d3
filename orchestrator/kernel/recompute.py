"""Recomputes an instance's history with the deployed code and compares it with the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...sagas.definition import AnyDefinition
from ..messages.document import Document
from ..messages.entity_messages import EventDelivered
from ..messages.history import HistoryRecord
from ..messages.inputs import Act, Arrival
from ..messages.outputs import Decision, Outcome, SendCommand
from .decide import decide
from .limits import Limits

__all__ = ["Difference", "Recomputed", "begins", "later_runs", "newest_of", "recompute"]

_DEFAULT = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first decision that differs: its revision, what was recorded, and what it would be now."""

    revision: int
    what: str
    recorded: str
    now: str

    def __str__(self) -> str:
        return f"revision {self.revision} differs: {self.what} was {self.recorded} and would now be {self.now}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """The document that the deployed code arrives at, up to the first difference. ``whole`` False: there is nothing to
    compare, because the history is incomplete or covers several versions.

    ``later``: how many runs of the key have begun after the one that can be recomputed, the first; with any there is
    nothing to compare. ``before``: the document before the last decision, or before the one that differs.
    """

    document: Document | None
    difference: Difference | None
    whole: bool
    later: int = 0
    before: Document | None = None


def recompute(definition: AnyDefinition, history: Sequence[HistoryRecord], limits: Limits = _DEFAULT) -> Recomputed:
    """Recomputes all decisions about the newest instance of the key, oldest first, if it is in the key's first run.

    Messages that were deferred, ignored or denied because the code was not deployed are so again.

    Args:
        definition: of the instance's version.
        history: all decisions about one id, oldest first; those before the last removal belong to another instance,
            those before its last run may belong to another version: a later run is counted, and not recomputed.
        limits: those of the engine.
    """
    document: Document | None = None
    before: Document | None = None
    if later := later_runs(history):
        return Recomputed(document=None, difference=None, whole=False, later=later)
    history = history[newest_of(history)]
    if any(change.what == "version" for record in history for change in record.changes):
        return Recomputed(document=None, difference=None, whole=False)
    for record in history:
        before = document
        if record.message is None or (document is None and record.revision > 1):
            return Recomputed(document=document, difference=None, whole=False)
        if record.outcome is Outcome.DEFERRED and isinstance(record.message, Act):
            continue  # only the reason was updated why a start could not begin
        code = None if _put_off(record) else definition
        decision = decide(code, document, Arrival(message=record.message, now_ms=record.at_ms), limits)
        for what, recorded, now in _compared(record, decision):
            if recorded != now:
                found = Difference(revision=record.revision, what=what, recorded=recorded, now=now)
                return Recomputed(document=document, difference=found, whole=True, before=before)
        document = decision.document
    return Recomputed(document=document, difference=None, whole=True, before=before)


def later_runs(history: Sequence[HistoryRecord]) -> int:
    """How many runs the newest instance of a key has had after its first one."""
    return sum(record.revision > 1 and begins(record) for record in history[newest_of(history)])


def newest_of(history: Sequence[HistoryRecord]) -> slice:
    """The decisions about the newest instance of the key, with its removal, but without requests after that."""
    stands = [record.status is not None for record in history]
    end = len(stands) - [*reversed(stands), True].index(True) + 1
    before = (number for number, each in enumerate(stands[: end - 1], start=1) if not each)
    return slice(max(before, default=0), end)


def begins(record: HistoryRecord) -> bool:
    """With this decision a run of the key began."""
    return any(change.what == "instance" and change.before is None for change in record.changes)


def _put_off(record: HistoryRecord) -> bool:
    without_code = record.outcome in (Outcome.IGNORED, Outcome.APPLIED) or (
        record.outcome is Outcome.DENIED and isinstance(record.message, Act | EventDelivered)
    )
    return record.outcome is Outcome.DEFERRED or (without_code and record.code is not None and record.code.wants_code)


def _compared(record: HistoryRecord, decision: Decision) -> list[tuple[str, str, str]]:
    after = decision.document
    sent = [action.id for action in decision.actions if isinstance(action, SendCommand)]
    return [
        ("the outcome", record.outcome.value, decision.outcome.value),
        ("the status", str(record.status), str(after.status if after is not None else None)),
        ("what was sent", _list([each.id for each in record.sent]), _list(sent)),
        (
            "what changed",
            _list([f"{each.what} {each.after}" for each in record.changes]),
            _list([f"{each.what} {each.after}" for each in decision.changes]),
        ),
    ]


def _list(parts: Sequence[str]) -> str:
    return ", ".join(parts) or "nothing"
