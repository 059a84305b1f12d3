"""Deferred messages: while an instance is paused or its code is not deployed, messages are kept and shown. They are
applied in order of arrival when the instance continues.

Events can come in any number and are limited. Of other messages there are no more than the instance has asked for.
"""

from __future__ import annotations

from dataclasses import replace

from ..messages.document import Attention, CauseKind, Deferred, Document, Status
from ..messages.entity_messages import EventDelivered, Unwind
from ..messages.inputs import Completed, Failed, Rejected, Reply, TimerFired
from ..messages.outputs import Change, Decision, Outcome
from ..messages.reasons import Reason, ReasonCode
from .context import DecisionContext
from .entity_messages import on_entity_message
from .flow import resume
from .limits import Limits
from .managing import EARLY, sort_queue
from .replies import on_reply, on_timer, open_attempt
from .unusable import deny

__all__ = [
    "LATE",
    "NOT_DUE",
    "apply_deferred",
    "hold",
    "ignored",
    "overfull",
    "defer",
    "reopen",
    "restore_timers",
    "take_in",
    "waits_for_code",
    "wants_code",
]

PAUSED = Reason(ReasonCode.PAUSED, "it is paused")
REDRIVE = "let the instance continue, then redrive this event from the dead letters"
LATE = Reason(ReasonCode.STALE, "no open attempt waits for this reply: it is late, a duplicate or stray")
NOT_DUE = Reason(ReasonCode.STALE, "the timer is not set, was moved, or is not due yet")


def waits_for_code(document: Document) -> bool:
    """True when it needs attention only because its code is missing."""
    attention = document.attention
    return document.status is Status.ATTENTION and attention is not None and attention.kind is CauseKind.VERSION


def defer(document: Document, message: Deferred, why: Reason, now_ms: int, limits: Limits) -> Decision:
    """Defers a message for missing code, and puts the instance into attention. A stale message is ignored instead."""
    kept = _kept(document, message, why, now_ms, limits)
    if isinstance(kept, Decision):
        return kept
    standing = document.status is Status.ATTENTION
    attention = document.attention if standing else wants_code(why, now_ms)
    parked = replace(kept, status=Status.ATTENTION, attention=attention)
    change = Change(what="instance", before=document.status, after=Status.ATTENTION)
    changes = () if standing else (change,)
    return Decision(document=parked, outcome=Outcome.DEFERRED, changes=changes, code=why.code, reason=why.text)


def wants_code(why: Reason, now_ms: int) -> Attention:
    """The attention of an instance that waits for its code."""
    return Attention(kind=CauseKind.VERSION, code=why.code, message=why.text, at_ms=now_ms)


def hold(document: Document, message: Deferred, now_ms: int, limits: Limits) -> Decision:
    """Defers a message until the pause is over, whether the code is deployed or not. A stale message is ignored."""
    kept = _kept(document, message, PAUSED, now_ms, limits)
    if isinstance(kept, Decision):
        return kept
    return Decision(document=kept, outcome=Outcome.DEFERRED, code=PAUSED.code, reason=PAUSED.text)


def _kept(document: Document, message: Deferred, why: Reason, now_ms: int, limits: Limits) -> Document | Decision:
    """The document with the message at the end of its queue, or the decision not to keep it."""
    timers = dict(document.timers)
    if isinstance(message, TimerFired):
        if timers.pop(message.timer, None) != message.due_ms or message.due_ms > now_ms:
            return ignored(document, NOT_DUE)
    elif isinstance(message, Completed | Rejected | Failed):
        if open_attempt(document, document.steps, message.command_id) is None:
            return ignored(document, LATE)
        if _is_kept(document, message):
            text = f"the first reply to this attempt is deferred already: {why.text}"
            return ignored(document, Reason(ReasonCode.DUPLICATE if why.code is ReasonCode.PAUSED else why.code, text))
    elif isinstance(message, EventDelivered) and (count := _events(document)) >= limits.deferred_max:
        return deny(
            document,
            message,
            Reason(ReasonCode.NO_ROOM, f"{count:,} events are deferred already: {why.text}; {REDRIVE}"),
        )
    return replace(
        document,
        revision=document.revision + 1,
        updated_ms=document.touched_ms(now_ms),
        timers=timers,
        deferred=(*document.deferred, message),
    )


def _events(document: Document) -> int:
    early = document.managed.early if document.managed is not None else ()
    return sum(isinstance(message, EventDelivered) for message in (*document.deferred, *early))


def overfull(ctx: DecisionContext, message: EventDelivered) -> Reason | None:
    """Why an event cannot wait for a later phase; None: it was taken, or may wait."""
    events = [each for each in ctx.managed.early if isinstance(each, EventDelivered)]
    if not any(each is message for each in events):
        return None
    room = len(events) <= ctx.limits.deferred_max
    if room and sum(len(each.encoded) for each in events) <= ctx.limits.document_bytes * 3 // 4:
        return None
    text = f"{len(events) - 1:,} events already wait for a phase with a handler for them; {REDRIVE}"
    return Reason(ReasonCode.NO_ROOM, text)


def _is_kept(document: Document, reply: Reply) -> bool:
    """True when a reply to the same command is kept already."""
    kept = (message for message in document.deferred if isinstance(message, Completed | Rejected | Failed))
    return any(other.command_id == reply.command_id for other in kept)


def reopen(ctx: DecisionContext) -> None:
    """Leaves attention and applies the deferred messages."""
    restore_timers(ctx)
    ctx.attention = None
    ctx.move(Status.COMPENSATING if ctx.backward else Status.RUNNING)
    if ctx.document.managed is not None:
        sort_queue(ctx)  # other code may be deployed now
    apply_deferred(ctx)


def restore_timers(ctx: DecisionContext) -> None:
    """Sets the deferred timers again, so that an earlier change of their steps can still clear them."""
    for message in ctx.deferred:
        if isinstance(message, TimerFired):
            ctx.timers.setdefault(message.timer, message.due_ms)


def apply_deferred(ctx: DecisionContext) -> None:
    """Applies the deferred messages in order of arrival, up to the end of the instance; those that have become stale
    change nothing.
    """
    waiting, ctx.deferred = ctx.deferred, ()
    for number, message in enumerate(waiting):
        if ctx.status.is_final:
            ctx.deferred = waiting[number:]
            return
        if isinstance(message, TimerFired):
            if ctx.timers.get(message.timer) == message.due_ms and message.timer != EARLY:  # that one fires on its own
                del ctx.timers[message.timer]
                on_timer(ctx, message.timer)
        elif isinstance(message, Completed | Rejected | Failed):
            if (found := open_attempt(ctx.document, ctx.steps, message.command_id)) is not None:
                on_reply(ctx, *found, message)
        elif on_entity_message(ctx, message) and isinstance(message, Unwind):
            resume(ctx)


def take_in(ctx: DecisionContext) -> None:
    """Applies the deferred messages without sending anything, before an instance starts compensating."""
    ctx.quiet = True
    apply_deferred(ctx)
    ctx.quiet = False


def ignored(document: Document, reason: Reason) -> Decision:
    """The decision that changes nothing and sends nothing."""
    return Decision(document=document, outcome=Outcome.IGNORED, code=reason.code, reason=reason.text)
