"""Applies replies and timers. Late, duplicate and stray ones find no open attempt and change nothing."""

from __future__ import annotations

from typing import assert_never

from pydantic import ValidationError

from ...sagas.models import mistakes, read_foreign
from ...sagas.nodes import Scatter
from ..messages.document import CauseKind, Document, StepRecord, StepStatus
from ..messages.entity_messages import Published, mailbox_id
from ..messages.inputs import Completed, Failed, Rejected, Reply
from ..messages.outputs import OVERDUE, Change, Publish, command_id, label_of, place_of_label
from ..messages.values import JsonObject
from .asking import block, fault_of
from .branching import on_scatter_deadline
from .children import on_child_timer
from .context import DecisionContext, as_json
from .failure import fail
from .flow import go_on
from .locking import on_lock_timer
from .managing import TIMER, on_managed_timer
from .places import name_of
from .sending import Leg, leg_at, plan_retry, send_again
from .slip import call_back, is_slip, on_passed
from .waiting import on_deadline, on_escalation, on_slept

__all__ = ["OVERDUE_EVENT", "on_reply", "on_timer", "open_attempt"]

OVERDUE_EVENT = "sagaline.overdue"
"""Type of the event that is published when a step is overdue; its key is the instance id."""
_TIMER_NEEDS: dict[str, tuple[StepStatus, ...]] = {
    "retry": (StepStatus.BACKOFF, StepStatus.UNDO_BACKOFF),
    "attempt": (StepStatus.SENT, StepStatus.UNDO_SENT),
    "deadline": (StepStatus.SENT, StepStatus.BACKOFF, StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF),
}


def open_attempt(document: Document, steps: dict[str, StepRecord], sent: str) -> tuple[str, bool] | None:
    """The step that waits for the answer to exactly this command, and whether its undo does; None: no step does.

    Args:
        document: the instance.
        steps: its steps as they are now.
        sent: the id of any command.
    """
    label, _, tail = sent.removeprefix(f"{document.id}/").partition("/")
    head = place_of_label(label)
    record = steps.get(head)
    if record is None or not tail:
        return None
    undo = tail.startswith("undo/")
    waits = record.status is (StepStatus.UNDO_SENT if undo else StepStatus.SENT)
    attempt = record.undo_attempt if undo else record.attempt
    known = label_of(head, record.generation, document.incarnation)
    asked = command_id(document.id, known, undo=undo, attempt=attempt)
    return (head, undo) if waits and sent == asked else None


def on_reply(ctx: DecisionContext, step: str, undo: bool, reply: Reply) -> None:
    """Applies the reply to an open attempt."""
    leg = leg_at(ctx, step, undo=undo)
    match reply:
        case Completed():
            _completed(ctx, leg, reply)
        case Rejected():
            _rejected(ctx, leg, reply)
        case Failed():
            _attempt_failed(ctx, leg, ctx.shortened(f"{reply.error}\n{reply.detail}".strip()))
        case _:
            assert_never(reply)


def on_timer(ctx: DecisionContext, timer: str) -> None:
    """Applies a timer that is due; it is already removed from the document."""
    place, _, what = timer.rpartition(":")
    if what == TIMER:
        on_managed_timer(ctx, place)
        go_on(ctx)
        return
    record = ctx.steps.get(place)
    if record is None:
        return
    match what, record.status:
        case "expected", _:
            _overdue(ctx, place)
        case "lock", StepStatus.LOCKING:
            on_lock_timer(ctx, place)
        case "due", StepStatus.WAITING:
            on_slept(ctx, place)
        case "escalate", StepStatus.WAITING:
            on_escalation(ctx, place)
        case "deadline", StepStatus.WAITING if isinstance(ctx.node(place), Scatter):
            on_scatter_deadline(ctx, place)
        case "deadline", StepStatus.WAITING:
            on_deadline(ctx, place)
        case "deadline", StepStatus.SENT if name_of(place) not in ctx.definition.steps:
            on_child_timer(ctx, place)
        case _, status if status in _TIMER_NEEDS.get(what, ()):
            _on_step_timer(ctx, place, what)
            return
    go_on(ctx)


def _overdue(ctx: DecisionContext, place: str) -> None:
    """A step has exceeded ``expected_within``: it is shown as overdue, published as an event and counted."""
    if not ctx.steps[place].status.is_live:
        return
    ctx.remember(place, ctx.memo(place) | {"overdue_ms": ctx.now_ms})
    ctx.changes.append(Change(what=OVERDUE, before=None, after=place))
    body: JsonObject = {"instance": ctx.id, "step": place, "status": ctx.steps[place].status.value}
    published = Published(
        id=f"{ctx.id}/{ctx.label(place)}/overdue/{ctx.document.revision + 1}",
        instance=mailbox_id(OVERDUE_EVENT, ctx.id),
        event=OVERDUE_EVENT,
        key=ctx.id,
        body=body,
        keep_ms=0,
    )
    ctx.actions.append(Publish(event=published))


def _on_step_timer(ctx: DecisionContext, place: str, what: str) -> None:
    record = ctx.steps[place]
    undo = record.status.is_undoing
    leg = leg_at(ctx, place, undo=undo)
    match what:
        case "retry":
            if not ctx.stopped:
                send_again(ctx, leg)
        case "attempt":
            if leg.undo or not ctx.unwinds(place):  # on a cancel, an attempt in flight has until its deadline
                _attempt_failed(ctx, leg, "no answer in time")
        case _:
            last = f"; the last error: {record.error}" if record.error else ""
            _round_over(ctx, leg, CauseKind.TIMEOUT, f"no outcome within {leg.timeout_ms / 1000:g} s{last}")


def _completed(ctx: DecisionContext, leg: Leg, reply: Completed) -> None:
    asked = leg.asks_only
    try:
        value = read_foreign(leg.contract.reply, reply.reply)
        kept = as_json(value, leg.contract.reply) if leg.into is not None or asked or is_slip(ctx) else None
    except ValidationError as error:
        problems = mistakes(error, "reply")
        _attempt_failed(ctx, leg, f"the worker's reply does not fit {leg.contract.reply.__name__}: {problems}")
        return
    except Exception as error:
        what = f"{leg.contract.reply.__name__}, the reply of step {leg.step!r},"
        block(ctx, leg.step, CauseKind.CODE, fault_of(ctx, what, error), undo=leg.undo)
        return
    ctx.clear_timers(leg.step)
    if leg.undo:
        ctx.mark(leg.step, StepStatus.UNDONE)
    elif asked:
        ctx.mark(leg.step, StepStatus.DONE, memo={"reply": kept})
    else:
        ctx.mark(leg.step, StepStatus.DONE)
        if leg.into is not None:
            ctx.put(leg.into, kept)
        if kept is not None and is_slip(ctx):
            on_passed(ctx, leg.step, reply, kept)
    go_on(ctx)


def _rejected(ctx: DecisionContext, leg: Leg, reply: Rejected) -> None:
    ctx.clear_timers(leg.step)
    if leg.undo:
        ctx.mark(leg.step, StepStatus.UNDO_FAILED, error=reply.reason)
        message = f"the undo was rejected ({reply.code}): {reply.reason}"
        ctx.stop(CauseKind.UNDO, message, step=leg.step, code=reply.code)
        return
    # An earlier attempt that failed or got no reply may have taken effect, even though this one was rejected.
    unsure = ctx.steps[leg.step].attempt > 1
    ctx.mark(leg.step, StepStatus.FAILED if unsure else StepStatus.REJECTED, error=reply.reason)
    if is_slip(ctx):
        call_back(ctx, leg.step)
    if not leg.asks_only:
        fail(ctx, leg.step, CauseKind.REJECTED, reply.reason, code=reply.code)
    go_on(ctx)


def _attempt_failed(ctx: DecisionContext, leg: Leg, error: str) -> None:
    if not leg.undo and ctx.unwinds(leg.step):
        _round_over(ctx, leg, CauseKind.ATTEMPTS, error)
    elif not plan_retry(ctx, leg, error):
        _round_over(ctx, leg, CauseKind.ATTEMPTS, f"{leg.retry.max_attempts} attempts failed; the last: {error}")


def _round_over(ctx: DecisionContext, leg: Leg, kind: CauseKind, message: str) -> None:
    """Attempts or time have run out: the step may have taken effect."""
    ctx.clear_timers(leg.step)
    if leg.undo:
        ctx.mark(leg.step, StepStatus.UNDO_FAILED, error=message)
        ctx.stop(CauseKind.UNDO, f"the undo did not succeed: {message}; resolve the cause, then retry", step=leg.step)
        return
    ctx.mark(leg.step, StepStatus.FAILED, error=message)
    if is_slip(ctx):
        call_back(ctx, leg.step)
    if not leg.asks_only:
        fail(ctx, leg.step, kind, message)
    go_on(ctx)
