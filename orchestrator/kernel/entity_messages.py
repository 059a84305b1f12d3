"""Messages from other entities to an instance. Those that it does not wait for, or no longer, change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from ...sagas.process_manager import ProcessManager
from ..messages.document import CauseKind, Document, Status
from ..messages.entity_messages import (
    ChildEnd,
    ChildEnded,
    Deadlocked,
    Denied,
    EventDelivered,
    Expire,
    ExpiryRequested,
    Granted,
    Probe,
    Routed,
    Unwind,
)
from ..messages.inputs import EntityMessage, Message
from ..messages.outputs import Decision, Outcome, Tell, place_of_label
from ..messages.reasons import Reason, ReasonCode
from . import locking, waiting
from .children import on_child_ended
from .context import RETENTION, DecisionContext
from .failure import compensate
from .flow import go_on
from .locking import on_deadlocked, on_granted, passed_on
from .managing import on_managed_event
from .waiting import on_event, on_routed

__all__ = ["STRAY", "on_entity_message", "without_code"]

STRAY = Reason(ReasonCode.STALE, "the instance does not wait for this message")


def on_entity_message(ctx: DecisionContext, message: EntityMessage) -> bool:
    """Applies the message and moves the instance on. False: it changed nothing.

    After an ``Unwind`` the caller first applies the deferred messages.
    """
    if isinstance(message, ChildEnded | EventDelivered | Routed | Granted | Denied):
        place = place_of_label(message.place)
        record = ctx.steps.get(place)
        if record is not None and ctx.label(place) != message.place:
            return False  # for another life of the key, or an older generation
        message = replace(message, place=place) if place != message.place else message
    match message:
        case ChildEnded():
            changed = on_child_ended(ctx, message)
        case EventDelivered():
            managed = isinstance(ctx.definition, ProcessManager)
            changed = on_managed_event(ctx, message) if managed else on_event(ctx, message)
        case Routed():
            changed = on_routed(ctx, message)
        case Granted():
            changed = on_granted(ctx, message)
        case Denied():
            changed = locking.on_denied(ctx, message) or waiting.on_denied(ctx, message)
        case Deadlocked():
            changed = on_deadlocked(ctx, message)
        case Unwind():
            changed = _on_unwind(ctx, message)
        case Probe() | Expire() | ExpiryRequested():
            changed = False
        case _:
            assert_never(message)
    if changed and not isinstance(message, Unwind):
        go_on(ctx)
    return changed


def _on_unwind(ctx: DecisionContext, message: Unwind) -> bool:
    """The parent asks this child to undo everything. The parent gets the result when the child ends."""
    if ctx.status is Status.COMPENSATING or ctx.backward or ctx.pivot_passed:
        return False
    ctx.unpause()
    ctx.timers.pop(RETENTION, None)
    ctx.finished_ms = None
    compensate(ctx, CauseKind.CANCELLED, f"cancelled by its parent {message.parent.instance}: {message.reason}")
    return True


def without_code(document: Document | None, message: Message) -> Decision | None:
    """The answer to a message that needs none of the author's code; None: it needs the code."""
    match message:
        case Probe() if document is not None:
            passed = passed_on(document, message)
            return Decision(
                document=document, outcome=Outcome.IGNORED, actions=passed, code=STRAY.code, reason=STRAY.text
            )
        case ExpiryRequested() if (
            document is None or document.status.is_final or document.incarnation != message.incarnation
        ):
            leave = Tell(message=Expire(id=f"{message.id}/answer", instance=message.child))
            return _answered(document, leave, "the child can be removed")
        case ExpiryRequested():
            return _answered(document, None, "the child is still needed")
        case Expire() if document is not None and document.status.is_final:
            return Decision(document=None, outcome=Outcome.APPLIED, reason="no instance above needs it any more")
        case Unwind() if document is None or (
            document.status.is_final and (document.status is not Status.COMPLETED or document.pivot_passed)
        ):
            return _ended(document, message)
        case _:
            return None


def _ended(document: Document | None, message: Unwind) -> Decision:
    """The answer to an ``Unwind`` of a child that has ended for good: it is undone already, or never will be."""
    if document is None:
        why = "there is no such instance"
    elif document.status is Status.COMPLETED:
        why = "it is past its pivot and cannot be undone"
    else:
        why = "it was abandoned" if document.status is Status.ABANDONED else ""
    at = message.parent
    told = ChildEnded(
        id=f"{message.id}/answer",
        instance=at.instance,
        place=at.place,
        index=at.index,
        child=message.instance,
        end=ChildEnd.NOT_UNDONE if why else ChildEnd.COMPENSATED,
        reason=why,
    )
    return _answered(document, Tell(message=told), "it has ended")


def _answered(document: Document | None, answer: Tell | None, text: str) -> Decision:
    actions, code = () if answer is None else (answer,), ReasonCode.ANSWERED
    return Decision(document=document, outcome=Outcome.UNCHANGED, actions=actions, code=code, reason=text)
