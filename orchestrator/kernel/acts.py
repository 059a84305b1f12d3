"""Operators' acts on a whole instance: what each does, and the reason when it is denied.

Acts on one step are in ``step_actions``, ``restarting`` and ``forking``; editing the state is in ``editing``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...sagas.process_manager import ProcessManager
from ..messages.document import CauseKind, Document, Status, StepStatus
from ..messages.inputs import Act, ActName
from ..messages.outputs import Action, Change, Decision, Outcome, Tell
from ..messages.reasons import Reason, ReasonCode, invalid, not_now
from .compensation import asks_only, begin_undo, undo_order
from .context import RETENTION, DecisionContext, told_id
from .deferral import apply_deferred, reopen, restore_timers, take_in
from .editing import edit
from .ending import end_messages, left_dead, left_events, next_run
from .failure import compensate
from .flow import ask_again, go_on, lapsed_commands, resume
from .forking import fork
from .managing import was_told
from .outstanding import is_open
from .restarting import restart
from .slip import is_slip
from .step_actions import STEP_ACTS, StepAct
from .travelling import revise
from .walk import begin

__all__ = ["ON_STEPS", "abandon", "apply_act", "fulfilled", "objection"]

_GO_ON = frozenset({ActName.SKIP, ActName.WAIVE, ActName.REPLACE_UNDO, ActName.RESTART})
"""These acts resolve the cause of an attention: everything else that is stuck is then retried."""
_RESUME_FIRST = Reason(ReasonCode.PAUSED, "it is paused; resume it, then retry")
ON_STEPS: dict[ActName, StepAct] = {**STEP_ACTS, ActName.RESTART: restart, ActName.FORK: fork}
"""Acts that name a step."""


def objection(document: Document, act: ActName) -> Reason | None:
    """Why an act is denied now; None: it is allowed. An act that is already fulfilled is allowed, with no effect."""
    status = document.status
    if fulfilled(document, act):
        return None
    if status.is_final and act is not ActName.FORK:
        return not_now(f"it is {status} and can no longer change")
    match act:
        case ActName.CANCEL if document.pivot_passed:
            return Reason(ReasonCode.PAST_PIVOT, "it is past its pivot and can only go forward")
        case ActName.CANCEL if status is Status.ATTENTION and document.backward:
            return not_now("it is already compensating and an undo needs attention; retry it")
        case ActName.RETRY if document.paused:
            return _RESUME_FIRST
        case ActName.RETRY | ActName.ABANDON | ActName.RESTART if status is not Status.ATTENTION:
            return not_now(f"it is {status} and does not need attention")
        case ActName.RESTART if document.backward:
            return not_now("it is compensating and no longer goes forward")
        case ActName.PAUSE if status is Status.ATTENTION:
            return not_now("it needs attention and is already stopped")
        case _:
            return None


def fulfilled(document: Document, act: ActName) -> bool:
    """True when the act would change nothing."""
    match act:
        case ActName.CANCEL:
            return document.status.is_compensation
        case ActName.PAUSE:
            return document.paused
        case ActName.RESUME:
            return not document.paused
        case ActName.ABANDON:
            return document.status is Status.ABANDONED
        case _:
            return False


def apply_act(ctx: DecisionContext, act: Act) -> Reason | None:
    """Carries out an act that needs the definition's code (``abandon`` needs none). Returns the reason if the step or
    the value that it names makes it denied; None: it is done.
    """
    act_on_step = ON_STEPS.get(act.act)
    if act_on_step is None:
        return _ACTS[act.act](ctx, act)
    if act.step not in ctx.steps:
        text = f"it has no step {act.step!r} on record; there are {', '.join(ctx.steps) or 'none'}"
        return invalid(text)
    denied = act_on_step(ctx, act)
    if denied is None and act.act is not ActName.FORK:
        if ctx.status is Status.ATTENTION and act.act in _GO_ON and not ctx.paused:
            _retry(ctx, act)
        else:
            go_on(ctx)
    return denied


def abandon(document: Document, now_ms: int, retention_ms: int, *, archive: bool) -> Decision:
    """Closes an instance that needs attention, without undoing anything. The reason names each step whose effect is or
    may be outstanding. Events that it has not taken become dead letters, unless its code ignores late ones.
    """
    left = [
        f"{name} ({document.steps[name].status})"
        for name in undo_order(document.steps, document.itinerary)
        if is_open(document.steps[name])
    ]
    closed = replace(
        document,
        status=Status.ABANDONED,
        revision=document.revision + 1,
        updated_ms=document.touched_ms(now_ms),
        paused=False,
        paused_ms=None,
        held={},
        restarting=None,
        timers={RETENTION: now_ms + retention_ms},
        deferred=(),
        managed=None if document.managed is None else replace(document.managed, early=()),
        finished_ms=now_ms,
        archive=archive,
    )
    change = Change(what="instance", before=document.status, after=Status.ABANDONED)
    reason = f"left open: {', '.join(left) or 'nothing'}"
    last = end_messages(document, document.steps, Status.ABANDONED, document.state, document.cause)
    told = tuple(Tell(message=replace(each, id=told_id(document, n))) for n, each in enumerate(last, start=1))
    left_behind = tuple(left_dead(document.id, "abandoned", left_events(document.managed, document.deferred)))
    actions: tuple[Action, ...] = (*told, *left_behind, *next_run(document))
    return Decision(document=closed, outcome=Outcome.APPLIED, actions=actions, changes=(change,), reason=reason)


def _cancel(ctx: DecisionContext, act: Act) -> Reason | None:
    ctx.unpause()
    restore_timers(ctx)
    why = f": {act.reason}" if act.reason else ""
    compensate(ctx, CauseKind.CANCELLED, f"cancelled by {act.by or 'an operator'}{why}")
    take_in(ctx)
    resume(ctx)
    return None


def _pause(ctx: DecisionContext, _: Act) -> Reason | None:
    ctx.pause()
    return None


def _resume(ctx: DecisionContext, _: Act) -> Reason | None:
    """Ends a pause. If the instance needs attention, deferred messages still wait for the retry."""
    lapsed = lapsed_commands(ctx)
    ctx.unpause()
    if ctx.status is not Status.ATTENTION:
        restore_timers(ctx)
        apply_deferred(ctx)
        ask_again(ctx, lapsed)
    resume(ctx)
    return None


def _revise(ctx: DecisionContext, act: Act) -> Reason | None:
    denied = revise(ctx, act)
    if denied is None:
        go_on(ctx)
    return denied


def _retry(ctx: DecisionContext, _: Act) -> Reason | None:
    """Starts a new round for everything that is stuck, after the deferred messages are applied."""
    reopen(ctx)
    if isinstance(ctx.definition, ProcessManager):
        go_on(ctx)  # a handler may take a failed step
    for place in list(ctx.steps):
        record = ctx.steps[place]
        if ctx.stopped:
            break
        if record.status is StepStatus.UNDO_FAILED:
            begin_undo(ctx, place)
        elif _may_begin_again(ctx, place):
            begin(ctx, place)
    if not ctx.stopped:
        apply_deferred(ctx)  # also those that a blocked place could not take before
    resume(ctx)
    return None


def _edit(ctx: DecisionContext, act: Act) -> Reason | None:
    retry = bool((act.value or {}).get("retry"))
    if retry and ctx.paused:
        return _RESUME_FIRST
    denied = edit(ctx, act)
    if denied is None and retry:
        _retry(ctx, act)
    return denied


def _may_begin_again(ctx: DecisionContext, place: str) -> bool:
    """True for a stuck place. Not for a slip's stops: they are begun again one by one, in order."""
    stuck = ctx.steps[place].status.is_stuck and not ctx.unwinds(place) and not was_told(ctx.steps[place])
    return stuck and not is_slip(ctx) and not _is_out(ctx, place)


def _is_out(ctx: DecisionContext, place: str) -> bool:
    """True for a question of a scatter that is over, or that the scatter itself asks again."""
    if not asks_only(ctx, place):
        return False
    _, around, _ = ctx.around(place)[0]
    return ctx.steps[place].status is not StepStatus.BLOCKED or ctx.steps[around].status is not StepStatus.WAITING


_ACTS: dict[ActName, Callable[[DecisionContext, Act], Reason | None]] = {
    ActName.CANCEL: _cancel,
    ActName.PAUSE: _pause,
    ActName.RESUME: _resume,
    ActName.RETRY: _retry,
    ActName.REVISE: _revise,
    ActName.EDIT: _edit,
}
