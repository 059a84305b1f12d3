"""``decide``: one message and one document make one decision. Total: every message has an answer in every status.

The runtime passes the definition, the document, the message and the time; nothing here does I/O. The result is a new
document, the actions to carry out and the changes for the history. How one message becomes one decision:

1. Special cases: an instance that waits to begin (``beginning``), an older version (``migrating``), a start, a message
   that needs none of the author's code (``entity_messages``). Else: an act (``_act``) or other messages (``_coded``).
2. If the instance is paused or its code is not deployed, the message is deferred (``deferral``, ``compatibility``).
3. ``context`` is the working copy of the document; its status changes follow the tables in ``transitions``.
4. The message is applied to its step: by ``replies`` (also timers), ``entity_messages`` or ``acts``. ``failure``
   handles a failed step: it drops a branch that the parallel can spare, or starts compensating.
5. ``flow`` starts what can start now: forward (``walk`` for sagas, ``managing`` for process managers, ``travelling``
   for routing slips) or backward (``compensation``). ``sending`` builds the commands.
6. The working copy becomes the new document, one revision later. A decision that cannot be stored, or code that
   raised, is answered by ``unusable`` instead.

Order of reading: the modules above from 3 to 6, then 1 and 2. Kinds of nodes: ``branching``, ``waiting``, ``locking``,
``children``, ``rounds``; of routing slips ``slip``, of process managers ``asked``. Operators: ``step_actions``,
``editing``, ``restarting``, ``forking``, ``inspection``. All other entities: ``entities``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from pydantic import JsonValue

from ...sagas.definition import AnyDefinition
from ...sagas.policy import to_ms
from ...sagas.process_manager import ProcessManager
from ..messages.document import CauseKind, Deferred, Document, Requested, Status
from ..messages.entity_messages import EventDelivered, Expire, ExpiryRequested, Probe, Unwind
from ..messages.inputs import (
    Act,
    ActName,
    Arrival,
    Completed,
    EntityMessage,
    Failed,
    Heartbeat,
    JsonObject,
    Rejected,
    Reply,
    Start,
    TimerFired,
)
from ..messages.outputs import Action, Archive, Change, DeadLetter, Decision, Outcome, Tell, incarnation_of
from ..messages.reasons import Reason, ReasonCode, invalid
from ..messages.texts import storable
from .acts import abandon, apply_act, fulfilled, objection
from .beginning import BEGINS, NEWEST, NotAdmitted, admitted, needs_no_code, state_of, waits, waits_by_event
from .compatibility import missing_code, not_deployed
from .context import RETENTION, DecisionContext, said, told_id
from .deferral import (
    LATE,
    NOT_DUE,
    defer,
    hold,
    ignored,
    overfull,
    reopen,
    restore_timers,
    take_in,
    waits_for_code,
    wants_code,
)
from .editing import NOTHING_TO_CHANGE
from .ending import not_begun
from .entity_messages import STRAY, on_entity_message, without_code
from .flow import go_on, resume
from .forking import cannot_begin, taken_over
from .heartbeats import on_heartbeat
from .limits import Limits
from .managing import EARLY, begin_manager, forget_early, process_of
from .migrating import CannotMigrate, migrated, must_migrate
from .replies import on_reply, on_timer, open_attempt
from .runs import REQUESTS_MAX, continues, in_turn, on_event_after_end, removed, runs_again
from .unusable import child_not_started, deny, start_decided

__all__ = ["decide"]

_DEFAULT = Limits()
_DIGEST_CHARS = 16


def decide(
    definition: AnyDefinition | None, document: Document | None, arrival: Arrival, limits: Limits = _DEFAULT
) -> Decision:
    """Decides what happens to an instance when a message arrives.

    Args:
        definition: the version the instance is pinned to, or a newer one that migrates from it (for a Start: the one
            to start); None: not deployed here.
        document: the current instance; None: there is none.
        arrival: the message and the time.
        limits: see ``Limits``.
    """
    decision = _decide(definition, document, arrival, limits)
    last = removed(document, decision.document)
    if last is None or not last.archive:
        return decision
    return replace(decision, actions=(*decision.actions, Archive(document=last)))


def _decide(definition: AnyDefinition | None, document: Document | None, arrival: Arrival, limits: Limits) -> Decision:
    if definition is not None and document is not None and document.unbegun and not document.status.is_final:
        if not needs_no_code(arrival.message):
            return _begin(definition, document, arrival, limits)
        definition = None
    message = arrival.message
    if (late := _late(definition, document, arrival, limits)) is not None:
        return late
    goes_on = None if runs_again(definition, document, message) else document
    if goes_on is not None and definition is not None and must_migrate(definition, goes_on):
        return _migrate(definition, goes_on, arrival, limits)
    if isinstance(message, Start):
        decision = _start(definition, document, message, arrival.now_ms, limits)
        told = start_decided(message, decision.code, decision.reason)
        return replace(decision, actions=(*decision.actions, *told)) if told else decision
    if (
        isinstance(message, Expire | ExpiryRequested | Unwind | Probe)
        and (answer := without_code(document, message)) is not None
    ):
        return answer
    if document is None and isinstance(message, EventDelivered) and isinstance(definition, ProcessManager):
        fresh = process_of(message, definition.version, arrival.now_ms)
        return begin_manager(definition, fresh, message, arrival.now_ms, limits)
    if document is None and isinstance(message, EventDelivered) and definition is None and not message.place:
        return waits_by_event(message, arrival.now_ms)
    if document is None:
        outcome = Outcome.DENIED if isinstance(message, Act) else Outcome.IGNORED
        code = ReasonCode.NO_SUCH_INSTANCE
        return Decision(document=None, outcome=outcome, code=code, reason="there is no such instance")
    match message:
        case TimerFired() if message.timer == EARLY and document.timers.get(EARLY) == message.due_ms:
            return forget_early(document, arrival.now_ms)
        case TimerFired() if message.timer == RETENTION:
            return _expire(document, message, arrival.now_ms)
        case Act():
            return _act(definition, document, message, arrival.now_ms, limits)
        case Heartbeat():
            return on_heartbeat(definition, document, message, arrival.now_ms)
        case Completed() | Rejected() | Failed() | TimerFired():
            return _coded(definition, document, message, arrival.now_ms, limits)
        case _ if isinstance(message, EntityMessage):
            return _coded(definition, document, message, arrival.now_ms, limits)
        case _:
            text = f"a message of kind {message.kind!r} is not for an instance"
            return ignored(document, Reason(ReasonCode.MISDIRECTED, text))


def digest_of(value: JsonValue) -> str:
    """SHA-256 of the JSON with sorted keys; two inputs of one key, and two acts of one id, are compared by it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _migrate(definition: AnyDefinition, document: Document, arrival: Arrival, limits: Limits) -> Decision:
    """Migrates the instance to the newer version, then decides. A decision that changes nothing does not migrate it."""
    before, after = str(document.version), str(definition.version)
    try:
        target = migrated(definition, document)
    except CannotMigrate as error:
        parked = _decide(None, document, arrival, limits)
        found = parked.document
        if found is None or found.attention is None or found.attention.kind is not CauseKind.VERSION:
            return parked
        code, text = error.reason
        said_here = replace(parked, code=code, reason=text)
        if parked.outcome is not Outcome.DEFERRED:
            return said_here
        why = replace(found.attention, code=code, message=storable(text, limits.detail_chars))
        return replace(said_here, document=replace(found, attention=why))
    decision = _decide(definition, target, arrival, limits)
    if decision.document == target:
        return replace(decision, document=document)
    moved = [Change(what="version", before=before, after=after)]
    old, new = (each.managed.phase if each.managed else None for each in (document, target))
    if new is not None and old != new:
        moved.append(Change(what="phase", before=old, after=new))
    return replace(decision, changes=(*moved, *decision.changes))


def _begin(definition: AnyDefinition, document: Document, arrival: Arrival, limits: Limits) -> Decision:
    """Decides about an instance that has waited for its code to begin: it is admitted first."""
    try:
        target = admitted(definition, document, arrival.now_ms)
    except NotAdmitted as error:
        return _not_begun(document, arrival, error.reason, limits)
    decision = _decide(definition, target, arrival, limits)
    if decision.document == target:
        return replace(decision, document=document)
    if document.version in (NEWEST, definition.version):
        return decision
    version = Change(what="version", before=str(document.version), after=str(definition.version))
    return replace(decision, changes=(version, *decision.changes))


def _not_begun(document: Document, arrival: Arrival, why: Reason, limits: Limits) -> Decision:
    """The deployed code cannot begin the instance: messages are kept, a retry updates the reason, other acts are
    denied.
    """
    attention, message = wants_code(why, arrival.now_ms), arrival.message
    if isinstance(message, EntityMessage):
        parked = defer(document, message, why, arrival.now_ms, limits)
        kept = parked.document if parked.outcome is Outcome.DEFERRED else None
        return parked if kept is None else replace(parked, document=replace(kept, attention=attention))
    if not isinstance(message, Act):
        return ignored(document, STRAY)
    if message.act is not ActName.RETRY:
        return _denied(document, why)
    at_ms = document.touched_ms(arrival.now_ms)
    shown = replace(document, revision=document.revision + 1, updated_ms=at_ms, attention=attention)
    return Decision(document=shown, outcome=Outcome.DEFERRED, code=why.code, reason=why.text)


def _start(
    definition: AnyDefinition | None, document: Document | None, start: Start, now_ms: int, limits: Limits
) -> Decision:
    """Begins an instance, or the next run of one that has ended; ``document`` None: there was none before."""
    if document is not None and not runs_again(definition, document, start):
        return _started_again(definition, document, start, now_ms, limits)
    decision = _begun(definition, document, start, now_ms, limits)
    return decision if decision.document is not None else not_begun(document, start, decision)


def _begun(
    definition: AnyDefinition | None, before: Document | None, start: Start, now_ms: int, limits: Limits
) -> Decision:
    try:
        if definition is None:
            version = NEWEST if start.version is None else start.version
            fresh = _fresh(start, version, start.input, now_ms, before)
            return waits(fresh, not_deployed(fresh))
        if isinstance(definition, ProcessManager):
            starts = [name for name, each in definition.subscriptions.items() if each.starts is not None]
            return _dead(start, invalid(f"a process manager is started by its events; publish {' or '.join(starts)}"))
        if start.fork is not None and (wrong := cannot_begin(definition, start.fork)) is not None:
            return _dead(start, Reason(ReasonCode.CODE_DIFFERS, wrong))
        if start.version is not None and start.version != definition.version:
            fresh = _fresh(start, start.version, start.input, now_ms, before)
            return _start_of_older(definition, fresh, now_ms, limits)
        state = state_of(definition, start.input, forked=start.fork is not None)
    except NotAdmitted as error:
        return _dead(start, invalid(str(error)))
    except Exception as error:
        return _dead(start, invalid(f"the validators of the state raised {said(error)}"))
    fresh = _fresh(start, definition.version, state, now_ms, before)
    ctx = DecisionContext(definition, fresh, now_ms, limits)
    ctx.changes.append(BEGINS)
    go_on(ctx)
    return ctx.decision()


def _start_of_older(definition: AnyDefinition, fresh: Document, now_ms: int, limits: Limits) -> Decision:
    """A start of a version that is no longer deployed, by the version that migrates from it."""
    try:
        target = admitted(definition, fresh, now_ms)
    except NotAdmitted as error:
        return waits(fresh, error.reason)
    ctx = DecisionContext(definition, target, now_ms, limits)
    ctx.changes += (BEGINS, Change(what="version", before=str(fresh.version), after=str(definition.version)))
    go_on(ctx)
    return ctx.decision()


def _fresh(start: Start, version: int, state: JsonObject, now_ms: int, before: Document | None) -> Document:
    fresh = Document(
        id=start.instance,
        definition=start.definition,
        version=version,
        key=start.key,
        status=Status.RUNNING,
        revision=0,
        state=state,
        digest=_digest(start),
        started_by=start.id,
        created_ms=now_ms,
        updated_ms=now_ms,
        traceparent=start.traceparent,
        parent=start.parent,
        steps=taken_over(start.fork, now_ms) if start.fork is not None else {},
        origin=start.fork.origin if start.fork is not None else None,
        incarnation=incarnation_of(start.id, now_ms),
    )
    return fresh if before is None else continues(before, fresh)


def _digest(start: Start) -> str:
    return digest_of(start.input if start.fork is None else {"fork": asdict(start.fork), "state": start.input})


def _started_again(
    definition: AnyDefinition | None, document: Document, start: Start, now_ms: int, limits: Limits
) -> Decision:
    if (waits := in_turn(definition, document, start, now_ms, limits)) is not None:
        return waits
    told = child_not_started(start, "an instance with this key exists already")
    if document.digest == _digest(start):
        return replace(_unchanged(document, ReasonCode.DUPLICATE, "started already with this input"), actions=told)
    taken = Reason(ReasonCode.KEY_TAKEN, "started already with another input")
    return replace(_denied(document, taken), actions=told)


def _dead(start: Start, reason: Reason) -> Decision:
    actions: tuple[Action, ...] = (DeadLetter(reason=reason.text), *child_not_started(start, reason.text))
    return replace(_denied(None, reason), actions=actions)


def _denied(document: Document | None, reason: Reason) -> Decision:
    return Decision(document=document, outcome=Outcome.DENIED, code=reason.code, reason=reason.text)


def _unchanged(document: Document, code: ReasonCode, text: str) -> Decision:
    return Decision(document=document, outcome=Outcome.UNCHANGED, code=code, reason=text)


def _coded(
    definition: AnyDefinition | None, document: Document, message: Deferred, now_ms: int, limits: Limits
) -> Decision:
    """Applies a message that needs the author's code; without the code it is kept. An instance that has ended ignores
    it.
    """
    if document.status.is_final and not isinstance(message, Unwind | TimerFired):
        return ignored(document, LATE if isinstance(message, Completed | Rejected | Failed) else STRAY)
    if document.paused and not isinstance(message, Unwind):  # an unwind by the parent ends a pause
        return hold(document, message, now_ms, limits)
    missing = missing_code(definition, document)
    if definition is None or missing is not None:
        return defer(document, message, missing or not_deployed(document), now_ms, limits)
    return _apply(DecisionContext(definition, document, now_ms, limits), message)


def _apply(ctx: DecisionContext, message: Deferred) -> Decision:
    if isinstance(message, TimerFired):
        return _timer(ctx, message)
    return _reply(ctx, message) if isinstance(message, Completed | Rejected | Failed) else _entity_message(ctx, message)


def _reply(ctx: DecisionContext, reply: Reply) -> Decision:
    if waits_for_code(ctx.document):
        reopen(ctx)
    found = open_attempt(ctx.document, ctx.steps, reply.command_id)
    if found is None:
        return ignored(ctx.document, LATE)
    step, undo = found
    on_reply(ctx, step, undo, reply)
    return ctx.decision()


def _entity_message(ctx: DecisionContext, message: EntityMessage) -> Decision:
    """Applies a message from another entity. It arrives exactly once; a stale one may still change something."""
    parked = waits_for_code(ctx.document)
    if parked:
        reopen(ctx)
    if isinstance(message, Unwind):
        restore_timers(ctx)
    changed = on_entity_message(ctx, message)
    if changed and isinstance(message, Unwind):
        take_in(ctx)
        resume(ctx)  # it may have been stopped
    if isinstance(message, EventDelivered) and (reason := overfull(ctx, message)) is not None:
        return deny(ctx.document, message, reason)
    if changed or parked:
        return ctx.decision()
    return ignored(ctx.document, STRAY)


def _timer(ctx: DecisionContext, timer: TimerFired) -> Decision:
    if ctx.timers.get(timer.timer) != timer.due_ms or timer.due_ms > ctx.now_ms:
        return ignored(ctx.document, NOT_DUE)
    if waits_for_code(ctx.document):
        reopen(ctx)
    if ctx.timers.get(timer.timer) == timer.due_ms:  # a deferred message may have cleared or moved it
        del ctx.timers[timer.timer]
        on_timer(ctx, timer.timer)
    return ctx.decision()


def _late(
    definition: AnyDefinition | None, document: Document | None, arrival: Arrival, limits: Limits
) -> Decision | None:
    """The answer to an event for a process that has ended; None: it is no such event, or it is ignored."""
    message = arrival.message
    if document is None or not document.status.is_final or not isinstance(message, EventDelivered):
        return None
    manager = definition if isinstance(definition, ProcessManager) else None
    return on_event_after_end(manager, document, message, arrival.now_ms, limits)


def _act(definition: AnyDefinition | None, document: Document, act: Act, now_ms: int, limits: Limits) -> Decision:
    digest = digest_of([act.act, act.step, act.value])[:_DIGEST_CHARS]
    known = next((each for each in document.requests if each.id == act.id), None)
    if known is not None and known.digest != digest:
        text = "another act of this id was done; give this one an id of its own"
        return _denied(document, Reason(ReasonCode.REQUEST_TAKEN, text))
    if known is not None:
        return _unchanged(document, ReasonCode.DUPLICATE, "this request was carried out already")
    if act.expected and act.expected != document.tag:
        text = f"it is at {document.tag} now, not at {act.expected}: look at it again, then decide"
        return _denied(document, Reason(ReasonCode.REVISION_DIFFERS, text))
    if (reason := objection(document, act.act)) is not None:
        return _denied(document, reason)
    if fulfilled(document, act.act):
        return _unchanged(document, *NOTHING_TO_CHANGE)
    if act.act is ActName.ABANDON:
        if definition is None:
            return abandon(document, now_ms, limits.orphan_retention_ms, archive=True)
        kept = definition.retention
        return abandon(document, now_ms, to_ms(kept.abandoned), archive=kept.archive)
    missing = missing_code(definition, document)
    if definition is None or missing is not None:
        return _denied(document, missing or not_deployed(document))
    ctx = DecisionContext(definition, document, now_ms, limits)
    if (denied := apply_act(ctx, act)) is not None:
        nothing = denied.code is ReasonCode.NOTHING_TO_CHANGE
        return _unchanged(document, *denied) if nothing else _denied(document, denied)
    ctx.requests = (*document.requests, Requested(id=act.id, digest=digest))[-REQUESTS_MAX:]
    return ctx.decision()


def _expire(document: Document, timer: TimerFired, now_ms: int) -> Decision:
    """The retention is over: removes the instance. A child first asks its root, once per retention window, whether it
    is still needed.
    """
    if document.timers.get(RETENTION) != timer.due_ms or timer.due_ms > now_ms:
        return ignored(document, NOT_DUE)
    if document.parent is None:
        gone = Decision(document=None, outcome=Outcome.APPLIED, reason="the retention window is over")
        # No start waits for this run any longer: they arrive again in their order, and the first begins.
        return replace(gone, actions=tuple(Tell(message=start) for start in document.queued))
    finished_ms = document.finished_ms if document.finished_ms is not None else now_ms
    again_ms = now_ms + max(1, timer.due_ms - finished_ms)
    kept = replace(
        document,
        revision=document.revision + 1,
        updated_ms=document.touched_ms(now_ms),
        timers={RETENTION: again_ms},
        finished_ms=now_ms,
    )
    root, life = document.parent.root, document.parent.root_incarnation
    asks = ExpiryRequested(id=told_id(document, 1), instance=root, child=document.id, incarnation=life)
    told, reason = (Tell(message=asks),), "it asks its root whether it can be removed"
    return Decision(document=kept, outcome=Outcome.APPLIED, actions=told, reason=reason)
