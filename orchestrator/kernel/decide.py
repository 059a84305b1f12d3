"""``decide``: one message, one document, one decision. Total: no message raises, whatever the status.

``block`` is the answer when the outside found that a decision cannot be stored (too large) or the kernel itself failed.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import assert_never

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from ...sagas import Saga
from ..messages.document import Attention, CauseKind, Document, Status, StepStatus
from ..messages.inputs import Act, ActName, Arrival, Completed, Failed, JsonObject, Refused, Reply, Start, TimerFired
from ..messages.outputs import Change, DeadLetter, Decision, Outcome
from .acts import apply_act, fulfilled, objection
from .flow import go_on, undoable
from .limits import Limits
from .replies import on_reply, on_step_timer, open_attempt, reopen
from .run import RETENTION, Run

__all__ = ["block", "decide"]

_DEFAULT = Limits()
_LATE = "no open attempt waits for this reply: it is late, a duplicate or stray"
_NOT_DUE = "the timer is not set, was moved, or is not due yet"


def decide(
    definition: Saga[BaseModel] | None, document: Document | None, arrival: Arrival, limits: Limits = _DEFAULT
) -> Decision:
    """What happens to an instance when a message arrives.

    Args:
        definition: the version the instance is pinned to (for a Start: the one to start); None: not deployed here.
        document: the instance as it is; None: there is none.
        arrival: the message and the time.
        limits: see ``Limits``.
    """
    message = arrival.message
    if isinstance(message, Start):
        return _start(definition, document, message, arrival.now_ms, limits)
    if document is None:
        if isinstance(message, Act):
            return Decision(document=None, outcome=Outcome.REFUSED, reason="there is no such instance")
        return Decision(document=None, outcome=Outcome.IGNORED, reason="there is no such instance")
    if isinstance(message, TimerFired) and message.timer == RETENTION:
        return _expire(document, message, arrival.now_ms)
    if definition is None:
        return _undeployed(document, message, arrival.now_ms, limits)
    run = Run(definition, document, arrival.now_ms, limits)
    match message:
        case Completed() | Refused() | Failed():
            return _reply(run, message)
        case TimerFired():
            return _timer(run, message)
        case Act():
            return _act(run, message)
        case _:
            assert_never(message)


def block(document: Document, arrival: Arrival, kind: CauseKind, message: str) -> Decision:
    """Puts a live instance into attention as it was before the message: the decision about it cannot be stored.

    Whatever was in flight counts as "may have happened"; an operator's retry sends it again.
    """
    steps = dict(document.steps)
    changes = []
    for name, record in document.steps.items():
        forward = record.status in (StepStatus.SENT, StepStatus.WAITING)
        if forward or record.status in (StepStatus.UNDO_SENT, StepStatus.UNDO_WAITING):
            after = StepStatus.BLOCKED if forward else StepStatus.UNDO_FAILED
            steps[name] = replace(record, status=after, at_ms=arrival.now_ms, error=message)
            changes.append(Change(what=name, before=record.status, after=after))
    if document.status is not Status.ATTENTION:
        changes.append(Change(what="instance", before=document.status, after=Status.ATTENTION))
    blocked = replace(
        document,
        status=Status.ATTENTION,
        revision=document.revision + 1,
        updated_ms=arrival.now_ms,
        steps=steps,
        timers={},
        paused=False,
        attention=Attention(kind=kind, message=message, at_ms=arrival.now_ms),
    )
    return Decision(document=blocked, outcome=Outcome.APPLIED, changes=tuple(changes), reason=message)


def input_digest(value: JsonObject) -> str:
    """What two inputs of the same key are compared by: SHA-256 of the JSON with sorted keys."""
    return hashlib.sha256(to_json(_sorted(value))).hexdigest()


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _start(
    definition: Saga[BaseModel] | None, document: Document | None, start: Start, now_ms: int, limits: Limits
) -> Decision:
    digest = input_digest(start.input)
    if document is not None:
        if document.digest == digest:
            return Decision(document=document, outcome=Outcome.UNCHANGED, reason="started already with this input")
        return Decision(document=document, outcome=Outcome.REFUSED, reason="started already with another input")
    if definition is None:
        version = "" if start.version is None else f" version {start.version}"
        return _dead(f"there is no definition {start.definition!r}{version} deployed here")
    try:
        state = definition.state.model_validate_json(to_json(start.input)).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        return _dead(
            f"the input is not a {definition.state.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        )
    fresh = Document(
        id=start.instance,
        definition=definition.name,
        version=definition.version,
        key=start.key,
        status=Status.RUNNING,
        revision=0,
        state=state,
        digest=digest,
        started_by=start.id,
        created_ms=now_ms,
        updated_ms=now_ms,
        traceparent=start.traceparent,
    )
    run = Run(definition, fresh, now_ms, limits)
    run.changes.append(Change(what="instance", before=None, after=Status.RUNNING))
    go_on(run)
    return run.decision()


def _dead(reason: str) -> Decision:
    return Decision(document=None, outcome=Outcome.REFUSED, actions=(DeadLetter(reason=reason),), reason=reason)


def _ignored(document: Document, reason: str) -> Decision:
    return Decision(document=document, outcome=Outcome.IGNORED, reason=reason)


def _reply(run: Run, reply: Reply) -> Decision:
    _reopen_if_deployed(run)
    found = open_attempt(run.id, run.steps, reply)
    if found is None:
        return _ignored(run.document, _LATE)
    step, undo = found
    if step not in run.definition.steps:
        return block(run.document, Arrival(message=reply, now_ms=run.now_ms), CauseKind.CODE, _missing(step))
    on_reply(run, step, undo, reply)
    return run.decision()


def _timer(run: Run, timer: TimerFired) -> Decision:
    due_ms = run.timers.get(timer.timer)
    if due_ms is None or due_ms != timer.due_ms or due_ms > run.now_ms:
        return _ignored(run.document, _NOT_DUE)
    step = timer.timer.rpartition(":")[0]
    if step not in run.definition.steps:
        return block(run.document, Arrival(message=timer, now_ms=run.now_ms), CauseKind.CODE, _missing(step))
    _reopen_if_deployed(run)
    run.timers.pop(timer.timer, None)
    on_step_timer(run, timer.timer)
    return run.decision()


def _missing(step: str) -> str:
    return f"the deployed code has no step {step!r}, which is open here; deploy it again, or as a new version"


def _act(run: Run, act: Act) -> Decision:
    if (reason := objection(run.document, act.act)) is not None:
        return Decision(document=run.document, outcome=Outcome.REFUSED, reason=reason)
    if fulfilled(run.document, act.act):
        return Decision(document=run.document, outcome=Outcome.UNCHANGED, reason="nothing to change")
    missing = [name for name in run.steps if name not in run.definition.steps]
    if missing and act.act is not ActName.ABANDON:
        return Decision(document=run.document, outcome=Outcome.REFUSED, reason=_missing(missing[0]))
    apply_act(run, act)
    left = f"left open: {', '.join(undoable(run.steps)) or 'nothing'}" if act.act is ActName.ABANDON else ""
    return replace(run.decision(), reason=left)


def _reopen_if_deployed(run: Run) -> None:
    """Called with a definition at hand: an instance that only waited for it goes on by itself."""
    if run.attention is not None and run.attention.kind is CauseKind.VERSION:
        reopen(run)


def _expire(document: Document, timer: TimerFired, now_ms: int) -> Decision:
    if document.timers.get(RETENTION) != timer.due_ms or timer.due_ms > now_ms:
        return _ignored(document, _NOT_DUE)
    return Decision(document=None, outcome=Outcome.APPLIED, reason="the retention window is over")


def _undeployed(document: Document, message: Reply | TimerFired | Act, now_ms: int, limits: Limits) -> Decision:
    """The version is not deployed here: keep what arrives, show it, go on after an operator's (or a node's) retry."""
    why = f"{document.definition!r} version {document.version} is not deployed here"
    if isinstance(message, Act):
        return Decision(document=document, outcome=Outcome.REFUSED, reason=f"{why}; deploy it first")
    if document.status.is_final:
        return _ignored(document, "the instance has ended")
    if len(document.deferred) >= limits.deferred_max:
        return _ignored(document, f"{limits.deferred_max} messages wait already")
    timers = dict(document.timers)
    if isinstance(message, TimerFired):
        if timers.get(message.timer) != message.due_ms or message.due_ms > now_ms:
            return _ignored(document, _NOT_DUE)
        del timers[message.timer]
    elif open_attempt(document.id, document.steps, message) is None:
        return _ignored(document, _LATE)
    parked = replace(
        document,
        status=Status.ATTENTION,
        revision=document.revision + 1,
        updated_ms=now_ms,
        timers=timers,
        deferred=(*document.deferred, message),
        attention=document.attention or Attention(kind=CauseKind.VERSION, message=f"{why}; deploy it", at_ms=now_ms),
    )
    changes = () if document.status is Status.ATTENTION else (_to_attention(document),)
    return Decision(document=parked, outcome=Outcome.DEFERRED, changes=changes, reason=why)


def _to_attention(document: Document) -> Change:
    return Change(what="instance", before=document.status, after=Status.ATTENTION)
