"""The answers when a decision cannot be used: it cannot be stored, or the code failed on the message.

A live instance is put into attention in its state before the message. Without one, the message becomes a dead letter,
and an entity that waits for its outcome is told that there will be none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..messages.document import Attention, CauseKind, Document, Status, StepStatus
from ..messages.entities import Entity
from ..messages.entity_messages import (
    Acquire,
    ChildEnd,
    ChildEnded,
    Denied,
    EventDelivered,
    Lookup,
    Routed,
    Unwind,
    Watch,
)
from ..messages.inputs import Act, ActName, Arrival, EntityMessage, Message, Start, TimerFired
from ..messages.outputs import Action, Answer, Change, DeadLetter, Decision, Outcome, Tell
from ..messages.reasons import Reason, ReasonCode
from ..messages.schedules import StartDecided
from ..messages.texts import storable
from ..messages.values import Parent
from .ending import not_begun

__all__ = ["block", "child_not_started", "decline", "deny", "deny_entity", "start_decided", "told_no"]

_REASON_CHARS = 1_000
_CHILDREN = ("run", "each")
"""Kinds of nodes whose work is done by other instances."""
_STEP_REASON_CHARS = 200
"""Limit of the reason per step, since many steps may be in progress; the attention has the full reason."""


def decline(document: Document | None, arrival: Arrival, reason: Reason) -> Decision:
    """``block`` for a live instance; otherwise, and for a message that would only have waited, ``deny``."""
    if document is None or document.status.is_final or _could_only_wait(document, arrival.message):
        return deny(document, arrival.message, reason)
    return block(document, arrival, reason)


def _could_only_wait(document: Document, message: Message) -> bool:
    """A start that waits for the end of the run, or an event."""
    stopped = document.paused or document.status is Status.ATTENTION
    return isinstance(message, Start) or (isinstance(message, EventDelivered) and stopped)


def block(document: Document, arrival: Arrival, reason: Reason) -> Decision:
    """Puts a live instance into attention in its state before the message, because the decision cannot be stored.

    Steps in flight may have taken effect; an operator's retry sends them again, except children, which continue and
    report their end once. A timer or a message from another entity is deferred until the retry; an event becomes a dead
    letter. An act is denied without a change; only a retry records in the instance why it failed.
    """
    code, text = reason.code, storable(reason.text, _REASON_CHARS)
    message = arrival.message
    if isinstance(message, Act) and message.act is not ActName.RETRY:
        return Decision(document=document, outcome=Outcome.DENIED, code=code, reason=text)
    if document.status.is_final:
        return Decision(document=document, outcome=Outcome.IGNORED, code=code, reason=text)
    kind = CauseKind.TOO_LARGE if code is ReasonCode.TOO_LARGE else CauseKind.CODE
    steps, changes = dict(document.steps), []
    short = storable(text, _STEP_REASON_CHARS)
    for name, record in document.steps.items():
        if record.kind in _CHILDREN:
            continue
        forward = record.status.is_attempting
        if forward or record.status.is_undoing:
            after = StepStatus.BLOCKED if forward else StepStatus.UNDO_FAILED
            steps[name] = replace(record, status=after, at_ms=arrival.now_ms, error=short)
            changes.append(Change(what=name, before=record.status, after=after))
    if document.status is not Status.ATTENTION:
        changes.append(Change(what="instance", before=document.status, after=Status.ATTENTION))
    waiting = (
        (message,)
        if isinstance(message, TimerFired | EntityMessage) and not isinstance(message, EventDelivered)
        else ()
    )
    blocked = replace(
        document,
        status=Status.ATTENTION,
        revision=document.revision + 1,
        updated_ms=document.touched_ms(arrival.now_ms),
        steps=steps,
        timers=_still_set(document.timers, changes, message),
        held=_still_set(document.held, changes, message),
        deferred=(*document.deferred, *waiting),
        attention=Attention(kind=kind, code=code, message=text, at_ms=arrival.now_ms),
    )
    return Decision(
        document=blocked,
        outcome=Outcome.APPLIED,
        actions=(DeadLetter(reason=text),) if isinstance(message, EventDelivered) else (),
        changes=tuple(changes),
        code=code,
        reason=text,
    )


def _still_set(timers: Mapping[str, int], blocked: Sequence[Change], message: Message) -> dict[str, int]:
    """The timers without those of blocked places, which begin again, and the one that fired, which is deferred."""
    places = {change.what for change in blocked}
    fired = message.timer if isinstance(message, TimerFired) else None
    return {name: due for name, due in timers.items() if name.rpartition(":")[0] not in places and name != fired}


def deny(document: Document | None, message: Message, reason: Reason) -> Decision:
    """Changes nothing: the message becomes a dead letter, and an entity that waits for its outcome is told.

    A start that was to begin the next run is no longer waited for.
    """
    code, text = reason.code, storable(reason.text, _REASON_CHARS)
    actions = _denied_actions(message, code, text)
    denied = Decision(document=document, outcome=Outcome.DENIED, actions=actions, code=code, reason=text)
    return not_begun(document, message, denied)


def deny_entity(entity: Entity | None, message: Message, reason: Reason) -> Answer:
    """``deny`` for a mailbox, a lock or a table."""
    code, text = reason.code, storable(reason.text, _REASON_CHARS)
    actions = _denied_actions(message, code, text)
    return Answer(entity=entity, outcome=Outcome.DENIED, actions=actions, code=code, reason=text)


def _denied_actions(message: Message, code: ReasonCode, text: str) -> tuple[Action, ...]:
    return (DeadLetter(reason=text), *told_no(message, Reason(code, text)))


def child_not_started(start: Start, reason: str) -> tuple[Tell, ...]:
    """Tells the parent, if any, that its child does not begin."""
    return () if start.parent is None else _child_ended(start.parent, start, ChildEnd.NOT_STARTED, reason)


def start_decided(start: Start, code: ReasonCode | None, reason: str) -> tuple[Tell, ...]:
    """Tells the schedule, if any, what was decided about its start; ``code`` None: the instance began."""
    if not start.schedule:
        return ()
    id, told = f"{start.id}/decided", storable(reason, _REASON_CHARS)
    return (Tell(message=StartDecided(id=id, instance=start.schedule, start=start.id, code=code, reason=told)),)


def _child_ended(at: Parent, message: Start | Unwind, end: ChildEnd, reason: str) -> tuple[Tell, ...]:
    ended = ChildEnded(
        id=f"{message.id}/answer",
        instance=at.instance,
        place=at.place,
        index=at.index,
        child=message.instance,
        end=end,
        reason=reason,
    )
    return (Tell(message=ended),)


def told_no(message: Message, reason: Reason) -> tuple[Tell, ...]:
    """The answers to the entity that waits for the outcome of a message."""
    match message:
        case Watch() | Acquire():
            id, place = f"{message.id}/denied", message.place
            code, text = reason
            return (Tell(message=Denied(id=id, instance=message.by, place=place, code=code, reason=text)),)
        case Start():
            return child_not_started(message, reason.text) + start_decided(message, reason.code, reason.text)
        case Unwind(parent=at):
            return _child_ended(at, message, ChildEnd.NOT_UNDONE, reason.text)
        case Lookup():
            id, place = f"{message.id}/answer", message.place
            code, text = reason
            return (
                Tell(
                    message=Routed(id=id, instance=message.by, place=place, to=None, version=0, code=code, reason=text)
                ),
            )
        case _:
            return ()
