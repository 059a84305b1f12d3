"""Several runs of one key: a start with the policy ``queue`` or ``replace`` begins a run when the one before has ended,
and so does an event for a process manager with ``late="restart"``.

- A start waits until then in the document. The decision that ends a run sends the first one to the instance once more.
- A run has an incarnation of its own, and so its own effect keys and command ids (G3); revisions go on.
- A start is known by its id, as an act is: a repeated one is taken once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

from ...sagas.definition import AnyDefinition
from ...sagas.process_manager import ProcessManager
from ..messages.document import Document, Managed, Requested, Status
from ..messages.entity_messages import EventDelivered
from ..messages.inputs import Act, ActName, Conflict, Message, Start
from ..messages.outputs import Change, Decision, Outcome
from ..messages.reasons import Reason, ReasonCode, not_now
from .acts import apply_act, fulfilled, objection
from .compatibility import missing_code, not_deployed
from .context import DecisionContext
from .limits import Limits
from .managing import begin_manager, process_of
from .outstanding import is_open
from .unusable import deny

__all__ = ["REQUESTS_MAX", "continues", "in_turn", "on_event_after_end", "removed", "runs_again"]

REQUESTS_MAX = 20
"""An instance remembers the ids of its last acts and past starts, so that a repeated one is recognised: this many."""
_QUEUED_MAX = 16
_WAITS = "it waits until the run before it has ended"


def runs_again(definition: AnyDefinition | None, document: Document | None, message: Message) -> bool:
    """True for a start or a late event that begins the next run of an instance that has ended."""
    if document is None or not document.status.is_final:
        return False
    if isinstance(message, EventDelivered):
        return isinstance(definition, ProcessManager) and _begins_again(definition, document, message)
    if not isinstance(message, Start):
        return False
    if not _may_wait(document, message) or _is_past(document, message):
        return False
    if message.conflict is Conflict.REPLACE and not _is_queued(document, message):
        return True
    return not document.queued or document.queued[0].id == message.id


def continues(document: Document, fresh: Document) -> Document:
    """The document of the next run, before its first decision: ``fresh`` with what outlives the run before."""
    passed = document.queued[:1] if document.queued and document.queued[0].id == fresh.started_by else document.queued
    dropped = tuple(_dropped(start) for start in passed if start.id != fresh.started_by)
    ended = Requested(id=document.started_by, digest=document.digest)
    return replace(
        fresh,
        revision=document.revision,
        updated_ms=document.touched_ms(fresh.updated_ms),
        requests=(*document.requests, ended, *dropped)[-REQUESTS_MAX:],
        queued=document.queued[len(passed) :],
    )


def removed(before: Document | None, after: Document | None) -> Document | None:
    """The document of a run that has ended and that nothing of the state has any longer; None: there is none."""
    if before is None or not before.status.is_final or (after is not None and after.incarnation == before.incarnation):
        return None
    return before


def on_event_after_end(
    manager: ProcessManager[Any] | None, document: Document, message: EventDelivered, now_ms: int, limits: Limits
) -> Decision | None:
    """What ``late`` says of an event for an ended instance; None: it is ignored. Without the code, ``manager`` None, a
    next run is not possible: the event becomes a dead letter.
    """
    if document.managed is None or message.event_id in document.managed.seen:
        return None
    late = document.managed.late if manager is None else manager.late
    ended = f"it came after the end: {document.id} is {document.status}"
    match late:
        case "ignore":
            return None
        case "dead_letter":
            return deny(document, message, Reason(ReasonCode.STALE, f"{ended}; handle it by hand, or discard it"))
        case "restart" | None if manager is not None:
            return _restart(manager, document, message, now_ms, limits)
        case "restart" | None:
            text = f"{ended}, and the code that may begin it again is not deployed here; deploy it, then redrive this"
            return deny(document, message, Reason(ReasonCode.CODE_NOT_DEPLOYED, text))
        case _:
            assert_never(late)


def _restart(
    manager: ProcessManager[Any], document: Document, message: EventDelivered, now_ms: int, limits: Limits
) -> Decision | None:
    """Begins the next run of a key; None: the event starts no instance. What was taken before is not taken again."""
    if not _starts(manager, message):
        return None
    if _shows_effects(document):
        text = f"{document.id} was abandoned with effects that are not undone, and is kept to show them"
        return deny(document, message, not_now(f"{text}; redrive this after its retention"))
    fresh = continues(document, process_of(message, manager.version, now_ms))
    seen = document.managed.seen if document.managed is not None else ()
    begun = begin_manager(manager, replace(fresh, managed=Managed(seen=seen)), message, now_ms, limits)
    after = begun.document
    if after is None or after.managed is None or after.managed.phase is not None or not after.status.is_active:
        return begun
    denied = Reason(ReasonCode.STALE, "its handler has denied it: the earlier run of the key stays")
    kept = replace(begun, document=document, changes=(), outcome=Outcome.DENIED)
    return replace(kept, code=denied.code, reason=denied.text)


def _begins_again(manager: ProcessManager[Any], document: Document, event: EventDelivered) -> bool:
    taken = document.managed is None or event.event_id in document.managed.seen
    return not taken and manager.late == "restart" and _starts(manager, event) and not _shows_effects(document)


def _starts(manager: ProcessManager[Any], event: EventDelivered) -> bool:
    subscription = manager.subscriptions.get(event.event)
    return subscription is not None and subscription.starts is not None


def _shows_effects(document: Document) -> bool:
    return document.status is Status.ABANDONED and any(map(is_open, document.steps.values()))


def in_turn(
    definition: AnyDefinition | None, document: Document, start: Start, now_ms: int, limits: Limits
) -> Decision | None:
    """What a start with a policy does to an instance whose run goes on; None: it has none, or cannot wait here."""
    if not _may_wait(document, start):
        return None
    if _is_queued(document, start):
        return Decision(document=document, outcome=Outcome.UNCHANGED, code=ReasonCode.QUEUED, reason=_WAITS)
    if any(each == _dropped(start) for each in document.requests):
        return _denied(document, Reason(ReasonCode.STALE, "a later start replaced this one before it began"))
    if _is_past(document, start):
        text = "this start was taken already"
        return Decision(document=document, outcome=Outcome.UNCHANGED, code=ReasonCode.DUPLICATE, reason=text)
    if start.conflict is Conflict.REPLACE:
        return _replace(definition, document, start, now_ms, limits)
    if len(document.queued) >= _QUEUED_MAX:
        text = f"{_QUEUED_MAX} starts wait for the end of this run, the limit; start it again later"
        return _denied(document, Reason(ReasonCode.NO_ROOM, text))
    after = replace(
        document,
        revision=document.revision + 1,
        updated_ms=document.touched_ms(now_ms),
        queued=(*document.queued, start),
    )
    return _taken(Decision(document=after, outcome=Outcome.APPLIED), start)


def _replace(
    definition: AnyDefinition | None, document: Document, start: Start, now_ms: int, limits: Limits
) -> Decision:
    if (reason := objection(document, ActName.CANCEL)) is not None:
        text = f"the run before it cannot be cancelled: {reason.text}; start it with 'queue'"
        return _denied(document, Reason(reason.code, text))
    missing = missing_code(definition, document)
    if definition is None or missing is not None:
        return _denied(document, missing or not_deployed(document))
    dropped = tuple(_dropped(each) for each in document.queued)
    waits = replace(document, queued=(start,), requests=(*document.requests, *dropped)[-REQUESTS_MAX:])
    ctx = DecisionContext(definition, waits, now_ms, limits)
    if not fulfilled(document, ActName.CANCEL):
        by = f"the start {start.id}, which replaces it"
        apply_act(ctx, Act(id=start.id, instance=start.instance, act=ActName.CANCEL, by=by))
    return _taken(ctx.decision(), start)


def _taken(decision: Decision, start: Start) -> Decision:
    change = Change(what="queued", before=None, after=start.id)
    return replace(decision, changes=(change, *decision.changes), code=ReasonCode.QUEUED, reason=_WAITS)


def _denied(document: Document, reason: Reason) -> Decision:
    return Decision(document=document, outcome=Outcome.DENIED, code=reason.code, reason=reason.text)


def _may_wait(document: Document, start: Start) -> bool:
    """A child belongs to its parent, and has one run."""
    return start.conflict is not Conflict.REJECT and start.parent is None and document.parent is None


def _is_past(document: Document, start: Start) -> bool:
    return start.id == document.started_by or any(each.id == start.id for each in document.requests)


def _is_queued(document: Document, start: Start) -> bool:
    return any(each.id == start.id for each in document.queued)


def _dropped(start: Start) -> Requested:
    return Requested(id=start.id, digest="replaced")
