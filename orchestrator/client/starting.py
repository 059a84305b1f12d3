"""The result of a start, from the record of its decision."""

from __future__ import annotations

from typing import get_args

from ..errors import ActDenied, CorruptRecord, InvalidRequest, StartConflict
from ..messages.document import Status
from ..messages.history import HistoryRecord
from ..messages.inputs import Conflict, OnConflict, Start
from ..messages.outputs import Outcome
from ..messages.reasons import Reason, ReasonCode
from .results import Started

__all__ = ["conflict_of", "reason_of", "started"]


def conflict_of(given: str) -> Conflict:
    """The policy as the engine knows it: ``attach`` is the caller's reading of ``reject``.

    Raises:
        InvalidRequest: there is no such policy.
    """
    if given not in get_args(OnConflict):
        known = ", ".join(map(repr, get_args(OnConflict)))
        raise InvalidRequest(f"conflict is {given!r}; give one of {known}", field="conflict")
    return Conflict.REJECT if given == "attach" else Conflict(given)


def started(start: Start, record: HistoryRecord, trace: str | None, *, attach: bool = False) -> Started:
    """What the caller gets. ``attach``: an instance that was started with another input is as good.

    Some starts wait: for code, or for the end of the run before.

    Raises:
        StartConflict: an instance with the same key and another input exists.
        ActDenied: it cannot wait for the end of the run before.
        InvalidRequest: the engine denied it for its content.
        CorruptRecord: the record contradicts itself.
    """
    if record.outcome is Outcome.DENIED and not (attach and record.code is ReasonCode.KEY_TAKEN):
        if record.code is ReasonCode.KEY_TAKEN:
            raise StartConflict(start.instance, trace)
        if record.status is not None:
            raise ActDenied(start.instance, start.kind, record.status.value, reason_of(record))
        raise InvalidRequest(f"the engine denied the start: {record.reason}", field="input")
    waits = record.outcome is Outcome.DEFERRED or record.code is ReasonCode.QUEUED
    return Started(
        instance=start.instance,
        definition=start.definition,
        key=start.key,
        created=record.outcome in (Outcome.APPLIED, Outcome.DEFERRED),
        status=_status(record),
        revision=record.revision,
        trace_id=trace,
        request_id=start.id,
        waits=reason_of(record) if waits else None,
    )


def _status(record: HistoryRecord) -> Status:
    if record.status is None:
        raise CorruptRecord(record.instance, "a start was applied and has no status")
    return record.status


def reason_of(record: HistoryRecord) -> Reason:
    """Why it was not simply applied."""
    if record.code is None:
        raise CorruptRecord(record.instance, f"its decision about {record.outcome} has no code")
    return Reason(record.code, record.reason)
