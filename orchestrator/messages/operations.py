"""Operations: the requests of people that the history keeps, with who sent them and why."""

from __future__ import annotations

from typing import Final, TypeAlias

from .dead import DeadRequest
from .entity_messages import SetRules, table_id
from .history import HistoryRecord
from .inputs import Act
from .parcels import Discard, Edit, Redrive, Reschedule, Skip
from .personal import ERASED_TABLE
from .schedules import Backfill, DeleteSchedule, PauseSchedule, PutSchedule, ResumeSchedule, Trigger

__all__ = ["OPERATIONS", "Operation", "act_of", "operation_of"]

Operation: TypeAlias = (
    Act
    | SetRules
    | Redrive
    | Reschedule
    | Edit
    | Skip
    | Discard
    | DeadRequest
    | PutSchedule
    | PauseSchedule
    | ResumeSchedule
    | Trigger
    | Backfill
    | DeleteSchedule
)

OPERATIONS: Final = (
    *(Act, SetRules, Redrive, Reschedule, Edit, Skip, Discard, DeadRequest),
    *(PutSchedule, PauseSchedule, ResumeSchedule, Trigger, Backfill, DeleteSchedule),
)
"""The classes of ``Operation``: every message that says who sent it and why."""


def operation_of(record: HistoryRecord) -> Operation | None:
    """The request of a person that a decision is about; None: it is about something else, or it was not kept."""
    return record.message if isinstance(record.message, OPERATIONS) else None


def act_of(operation: Operation) -> str:
    """What was asked for: the name of an act, or the kind of the request."""
    if isinstance(operation, Act | DeadRequest):
        return operation.act.value
    if operation.instance == table_id(ERASED_TABLE):
        return "erase"
    return operation.kind.replace("_", "-")
