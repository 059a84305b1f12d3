"""An instance whose code is not deployed here: what arrives is kept, shown, and applied when the code is back."""

from __future__ import annotations

from dataclasses import replace

from ..messages.document import Attention, CauseKind, Deferred, Document, Status
from ..messages.inputs import Completed, Failed, Refused, Reply, TimerFired
from ..messages.outputs import Change, Decision, Outcome
from .limits import Limits
from .replies import on_reply, on_timer, open_attempt
from .run import Run
from .signals import on_signal

__all__ = [
    "LATE",
    "NOT_DUE",
    "apply_deferred",
    "park",
    "reopen",
    "restore_timers",
    "waits_for_code",
]

LATE = "no open attempt waits for this reply: it is late, a duplicate or stray"
NOT_DUE = "the timer is not set, was moved, or is not due yet"


def waits_for_code(document: Document) -> bool:
    """True when it stands in attention for nothing but its code."""
    attention = document.attention
    return document.status is Status.ATTENTION and attention is not None and attention.kind is CauseKind.VERSION


def park(document: Document, message: Deferred, why: str, now_ms: int, limits: Limits) -> Decision:
    """Keeps a message that would count, and puts the instance into attention. Only ``Unwind`` counts after the end."""
    timers = dict(document.timers)
    if isinstance(message, TimerFired):
        if timers.pop(message.timer, None) != message.due_ms or message.due_ms > now_ms:
            return _ignored(document, NOT_DUE)
    elif isinstance(message, Completed | Refused | Failed):
        if open_attempt(document, document.steps, message) is None:
            return _ignored(document, LATE)
        if _is_kept(document, message):
            return _ignored(document, f"the first reply to this attempt waits already: {why}")
    if len(document.deferred) >= limits.deferred_max:
        return _ignored(document, f"{limits.deferred_max} messages wait already: {why}")
    standing = document.status is Status.ATTENTION
    attention = document.attention if standing else Attention(kind=CauseKind.VERSION, message=why, at_ms=now_ms)
    parked = replace(
        document,
        status=Status.ATTENTION,
        revision=document.revision + 1,
        updated_ms=document.touched_ms(now_ms),
        timers=timers,
        deferred=(*document.deferred, message),
        attention=attention,
    )
    change = Change(what="instance", before=document.status, after=Status.ATTENTION)
    return Decision(document=parked, outcome=Outcome.DEFERRED, changes=() if standing else (change,), reason=why)


def _is_kept(document: Document, reply: Reply) -> bool:
    """True when a reply to the same command is kept already."""
    kept = (message for message in document.deferred if isinstance(message, Completed | Refused | Failed))
    return any(other.command_id == reply.command_id for other in kept)


def reopen(run: Run) -> None:
    """Leaves attention: first with what was kept in the meantime."""
    restore_timers(run)
    run.attention = None
    run.move(Status.COMPENSATING if run.backward else Status.RUNNING)
    apply_deferred(run)


def restore_timers(run: Run) -> None:
    """Sets the kept timers again, so that whatever happens to their steps first can still clear them."""
    for message in run.deferred:
        if isinstance(message, TimerFired):
            run.timers.setdefault(message.timer, message.due_ms)


def apply_deferred(run: Run) -> None:
    """Applies the kept messages in order of arrival; those that have become late on the way change nothing."""
    waiting, run.deferred = run.deferred, ()
    for message in waiting:
        if run.status.is_final:
            return
        if isinstance(message, TimerFired):
            if run.timers.get(message.timer) == message.due_ms:
                del run.timers[message.timer]
                on_timer(run, message.timer)
        elif isinstance(message, Completed | Refused | Failed):
            if (found := open_attempt(run.document, run.steps, message)) is not None:
                on_reply(run, *found, message)
        else:
            on_signal(run, message)


def _ignored(document: Document, reason: str) -> Decision:
    return Decision(document=document, outcome=Outcome.IGNORED, reason=reason)
