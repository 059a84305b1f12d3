"""``decide_entity``: one message, one entity other than an instance, one answer. Total, as ``decide`` is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..messages.dead import DEAD, DeadRequest
from ..messages.entities import DeadMark, DeletedSchedule, Entity, Lock, Mailbox, Parcel, Schedule, Table
from ..messages.entity_messages import Acquire, Lookup, ProbeLock, Published, Release, SetRules, Unwatch, Watch
from ..messages.inputs import Arrival, TimerFired
from ..messages.outputs import Answer, Outcome
from ..messages.parcels import Discard, Edit, Handled, Posted, Redrive, Reschedule, Skip
from ..messages.reasons import ReasonCode
from ..messages.schedules import (
    SCHEDULE,
    Backfill,
    DeleteSchedule,
    PauseSchedule,
    PutSchedule,
    ResumeSchedule,
    StartDecided,
    Trigger,
)
from .dead import decide_dead
from .limits import Limits
from .lock import decide_lock
from .mailbox import decide_mailbox, forget
from .parcel import decide_parcel, on_due
from .schedule import decide_schedule, on_schedule_timer
from .table import decide_table

__all__ = ["decide_entity", "is_timeless", "names_instance"]

_DEFAULT = Limits()
_HOMES = (
    ((Published, Watch, Unwatch), "@mailbox/"),
    ((Acquire, Release, ProbeLock), "@lock/"),
    ((Lookup, SetRules), "@table/"),
    ((Posted, Handled, Redrive, Reschedule, Edit, Skip, Discard), "@parcel/"),
    ((DeadRequest,), DEAD),
    ((PutSchedule, PauseSchedule, ResumeSchedule, Trigger, Backfill, DeleteSchedule, StartDecided), SCHEDULE),
)
"""Where each message belongs: an entity that does not exist yet would take any."""


def names_instance(id: str) -> bool:
    """True for the id of an instance; those of other entities begin with ``@``."""
    return not id.startswith("@")


def is_timeless(id: str) -> bool:
    """True: what the timers of this entity do depends on nothing but its document, not on the time that they fire."""
    return id.startswith("@parcel/")


def decide_entity(
    entity: Entity | None,
    arrival: Arrival,
    limits: Limits = _DEFAULT,
    subscribers: Sequence[str] = (),
    branches: Collection[str] = (),
) -> Answer:
    """Decides what happens to an entity other than an instance when a message arrives.

    Args:
        entity: the current one; None: there is none.
        arrival: the message and the time.
        limits: see ``Limits``.
        subscribers: instances of process managers that get a published event whether they wait for it or not.
        branches: that rules for a table may name.
    """
    message = arrival.message
    if not all(message.instance.startswith(home) for kinds, home in _HOMES if isinstance(message, kinds)):
        text = f"a message of kind {message.kind!r} is not for {message.instance!r}"
        return Answer(entity=entity, outcome=Outcome.IGNORED, code=ReasonCode.MISDIRECTED, reason=text)
    match message, entity:
        case (Published() | Watch() | Unwatch()) as message, (Mailbox() | None) as box:
            return decide_mailbox(box, message, arrival.now_ms, limits, subscribers)
        case (Acquire() | Release() | ProbeLock()) as message, (Lock() | None) as lock:
            return decide_lock(lock, message, arrival.now_ms)
        case (Lookup() | SetRules()) as message, (Table() | None) as table:
            return decide_table(table, message, arrival.now_ms, branches)
        case (
            (Posted() | Handled() | Redrive() | Reschedule() | Edit() | Skip() | Discard()) as message,
            (Parcel() | None) as parcel,
        ):
            return decide_parcel(parcel, message, arrival.now_ms, limits)
        case DeadRequest() as request, (DeadMark() | None) as mark:
            return decide_dead(mark, request, arrival.now_ms, limits)
        case (
            (
                PutSchedule()
                | PauseSchedule()
                | ResumeSchedule()
                | Trigger()
                | Backfill()
                | DeleteSchedule()
                | StartDecided()
            ) as message,
            (Schedule() | DeletedSchedule() | None) as schedule,
        ):
            return decide_schedule(schedule, message, arrival.now_ms, limits)
        case TimerFired() as timer, (Mailbox() | Parcel() | DeadMark() | Schedule() | DeletedSchedule()) as waits:
            if waits.timers.get(timer.timer) != timer.due_ms or timer.due_ms > arrival.now_ms:
                text = "the timer is not set, or not due yet"
                return Answer(entity=waits, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=text)
            if isinstance(waits, Mailbox):
                return forget(waits, arrival.now_ms)
            if isinstance(waits, DeadMark | DeletedSchedule):
                return Answer(entity=None, outcome=Outcome.APPLIED)
            if isinstance(waits, Schedule):
                return on_schedule_timer(waits, timer.timer, arrival.now_ms, limits)
            return on_due(waits, timer.timer)
        case message, _:
            text = f"a message of kind {message.kind!r} is not for {message.instance!r}"
            return Answer(entity=entity, outcome=Outcome.IGNORED, code=ReasonCode.MISDIRECTED, reason=text)
