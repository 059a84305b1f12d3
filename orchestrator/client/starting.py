"""The result of a start, from the record of its decision."""

from __future__ import annotations

from ..errors import CorruptRecord, InvalidRequest, StartConflict
from ..messages.document import Status
from ..messages.history import HistoryRecord
from ..messages.inputs import Start
from ..messages.outputs import Outcome
from ..messages.reasons import Reason, ReasonCode
from .results import Started

__all__ = ["reason_of", "started"]


def started(start: Start, record: HistoryRecord, trace: str | None, *, attach: bool = False) -> Started:
    """What the caller gets. ``attach``: an instance that was started with another input is as good.

    Raises:
        StartConflict: an instance with the same key and another input exists.
        InvalidRequest: the engine denied it for its content.
        CorruptRecord: the record contradicts itself.
    """
    if record.outcome is Outcome.DENIED and not (attach and record.code is ReasonCode.KEY_TAKEN):
        if record.code is ReasonCode.KEY_TAKEN:
            raise StartConflict(start.instance, trace)
        raise InvalidRequest(f"the engine denied the start: {record.reason}", field="input")
    return Started(
        instance=start.instance,
        definition=start.definition,
        key=start.key,
        created=record.outcome in (Outcome.APPLIED, Outcome.DEFERRED),
        status=_status(record),
        revision=record.revision,
        trace_id=trace,
        request_id=start.id,
        waits=reason_of(record) if record.outcome is Outcome.DEFERRED else None,
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
