"""``decide``: one message, one document, one decision. Total: no message raises, whatever the status.

``block`` is the answer when the outside found that a decision cannot be stored (too large) or the kernel itself failed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from pydantic import ValidationError
from pydantic_core import to_json

from ...sagas.policy import to_ms
from ...sagas.saga import AnySaga
from ..messages.document import Attention, CauseKind, Document, Status, StepStatus
from ..messages.inputs import Act, ActName, Arrival, JsonObject, Reply, Start, TimerFired
from ..messages.outputs import Change, DeadLetter, Decision, Outcome
from .acts import abandon, apply_act, fulfilled, objection
from .flow import go_on
from .limits import Limits
from .parking import LATE, NOT_DUE, missing_code, park, reopen, waits_for_code
from .replies import on_reply, on_step_timer, open_attempt
from .run import RETENTION, Run, as_json, said

__all__ = ["block", "decide"]

_DEFAULT = Limits()


def decide(
    definition: AnySaga | None, document: Document | None, arrival: Arrival, limits: Limits = _DEFAULT
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
        outcome = Outcome.REFUSED if isinstance(message, Act) else Outcome.IGNORED
        return Decision(document=None, outcome=outcome, reason="there is no such instance")
    if isinstance(message, TimerFired) and message.timer == RETENTION:
        return _expire(document, message, arrival.now_ms)
    if isinstance(message, Act):
        return _act(definition, document, message, arrival.now_ms, limits)
    missing = missing_code(definition, document)
    if definition is None or missing is not None:
        return park(document, message, missing or "", arrival.now_ms, limits)
    run = Run(definition, document, arrival.now_ms, limits)
    return _timer(run, message) if isinstance(message, TimerFired) else _reply(run, message)


def block(document: Document, arrival: Arrival, kind: CauseKind, message: str) -> Decision:
    """Puts a live instance into attention as it was before the message: the decision about it cannot be stored.

    Whatever was in flight counts as "may have happened"; an operator's retry sends it again. An instance that has
    ended stays as it is.
    """
    if document.status.is_final:
        return _ignored(document, message)
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
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _start(
    definition: AnySaga | None, document: Document | None, start: Start, now_ms: int, limits: Limits
) -> Decision:
    try:
        digest = input_digest(start.input)
        if document is not None:
            return _started_again(document, digest)
        if definition is None:
            version = "" if start.version is None else f" version {start.version}"
            return _dead(f"there is no definition {start.definition!r}{version} deployed here")
        state = as_json(definition.state.model_validate_json(to_json(start.input)))
    except ValidationError as error:
        first = error.errors()[0]
        return _dead(f"the input is not valid: {'.'.join(map(str, first['loc'])) or 'input'}: {first['msg']}")
    except Exception as error:
        return _dead(f"the validators of the state raised {said(error)}")
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


def _started_again(document: Document, digest: str) -> Decision:
    if document.digest == digest:
        return Decision(document=document, outcome=Outcome.UNCHANGED, reason="started already with this input")
    return Decision(document=document, outcome=Outcome.REFUSED, reason="started already with another input")


def _dead(reason: str) -> Decision:
    return Decision(document=None, outcome=Outcome.REFUSED, actions=(DeadLetter(reason=reason),), reason=reason)


def _ignored(document: Document, reason: str) -> Decision:
    return Decision(document=document, outcome=Outcome.IGNORED, reason=reason)


def _reply(run: Run, reply: Reply) -> Decision:
    if run.status.is_final:
        return _ignored(run.document, LATE)
    if waits_for_code(run.document):
        reopen(run)
    found = open_attempt(run.id, run.steps, reply)
    if found is None:
        return _ignored(run.document, LATE)
    step, undo = found
    on_reply(run, step, undo, reply)
    return run.decision()


def _timer(run: Run, timer: TimerFired) -> Decision:
    if run.timers.get(timer.timer) != timer.due_ms or timer.due_ms > run.now_ms:
        return _ignored(run.document, NOT_DUE)
    if waits_for_code(run.document):
        reopen(run)
    if run.timers.get(timer.timer) == timer.due_ms:  # what was kept for it may have cleared or moved it
        del run.timers[timer.timer]
        on_step_timer(run, timer.timer)
    return run.decision()


def _act(definition: AnySaga | None, document: Document, act: Act, now_ms: int, limits: Limits) -> Decision:
    if (reason := objection(document, act.act)) is not None:
        return Decision(document=document, outcome=Outcome.REFUSED, reason=reason)
    if fulfilled(document, act.act):
        return Decision(document=document, outcome=Outcome.UNCHANGED, reason="nothing to change")
    if act.act is ActName.ABANDON:
        retention_ms = limits.orphan_retention_ms if definition is None else to_ms(definition.retention)
        return abandon(document, now_ms, retention_ms)
    missing = missing_code(definition, document)
    if definition is None or missing is not None:
        return Decision(document=document, outcome=Outcome.REFUSED, reason=missing or "")
    run = Run(definition, document, now_ms, limits)
    apply_act(run, act)
    return run.decision()


def _expire(document: Document, timer: TimerFired, now_ms: int) -> Decision:
    if document.timers.get(RETENTION) != timer.due_ms or timer.due_ms > now_ms:
        return _ignored(document, NOT_DUE)
    return Decision(document=None, outcome=Outcome.APPLIED, reason="the retention window is over")
