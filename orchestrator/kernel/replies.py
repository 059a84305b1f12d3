"""What replies and timers do. Late, duplicate and stray ones change nothing (they find no open attempt)."""

from __future__ import annotations

from typing import assert_never

from pydantic import ValidationError

from ...sagas.models import read_foreign
from ...sagas.nodes import Scatter
from ..messages.document import CauseKind, Document, StepRecord, StepStatus
from ..messages.entities import Published, mailbox_id
from ..messages.inputs import Completed, Failed, Rejected, Reply
from ..messages.outputs import OVERDUE, Change, Publish, command_id, label_of, place_of_label
from ..messages.values import JsonObject
from .asking import block, fault_of
from .branching import on_scatter_deadline
from .children import on_child_timer
from .flow import go_on
from .locking import on_lock_timer
from .managing import TIMER, on_managed_timer
from .places import name_of
from .run import Run, as_json
from .sending import Leg, leg_at, plan_retry, send_again
from .slip import call_back, is_slip, on_passed
from .turning import fail
from .waiting import on_deadline, on_escalation, on_slept

__all__ = ["OVERDUE_EVENT", "on_reply", "on_timer", "open_attempt"]

OVERDUE_EVENT = "sagaline.overdue"
"""The type of the event on the topic of events; its key is the instance."""
_TIMER_NEEDS: dict[str, tuple[StepStatus, ...]] = {
    "retry": (StepStatus.BACKOFF, StepStatus.UNDO_BACKOFF),
    "attempt": (StepStatus.SENT, StepStatus.UNDO_SENT),
    "deadline": (StepStatus.SENT, StepStatus.BACKOFF, StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF),
}


def open_attempt(document: Document, steps: dict[str, StepRecord], reply: Reply) -> tuple[str, bool] | None:
    """The step, and whether its undo, that waits for exactly this reply; None: nobody does.

    Args:
        document: the instance.
        steps: its steps as they are now.
        reply: to any command.
    """
    label, _, tail = reply.command_id.removeprefix(f"{document.id}/").partition("/")
    head = place_of_label(label)
    record = steps.get(head)
    if record is None or not tail:
        return None
    undo = tail.startswith("undo/")
    waits = record.status is (StepStatus.UNDO_SENT if undo else StepStatus.SENT)
    attempt = record.undo_attempt if undo else record.attempt
    known = label_of(head, record.generation, document.incarnation)
    asked = command_id(document.id, known, undo=undo, attempt=attempt)
    return (head, undo) if waits and reply.command_id == asked else None


def on_reply(run: Run, step: str, undo: bool, reply: Reply) -> None:
    """Applies the reply that an open attempt has been waiting for."""
    leg = leg_at(run, step, undo=undo)
    match reply:
        case Completed():
            _completed(run, leg, reply)
        case Rejected():
            _rejected(run, leg, reply)
        case Failed():
            _attempt_failed(run, leg, run.shortened(f"{reply.error}\n{reply.detail}".strip()))
        case _:
            assert_never(reply)


def on_timer(run: Run, timer: str) -> None:
    """A timer is due; it is gone from the document already."""
    place, _, what = timer.rpartition(":")
    if what == TIMER:
        on_managed_timer(run, place)
        go_on(run)
        return
    record = run.steps.get(place)
    if record is None:
        return
    match what, record.status:
        case "expected", _:
            _overdue(run, place)
        case "lock", StepStatus.LOCKING:
            on_lock_timer(run, place)
        case "due", StepStatus.WAITING:
            on_slept(run, place)
        case "escalate", StepStatus.WAITING:
            on_escalation(run, place)
        case "deadline", StepStatus.WAITING if isinstance(run.node(place), Scatter):
            on_scatter_deadline(run, place)
        case "deadline", StepStatus.WAITING:
            on_deadline(run, place)
        case "deadline", StepStatus.SENT if name_of(place) not in run.definition.steps:
            on_child_timer(run, place)
        case _, status if status in _TIMER_NEEDS.get(what, ()):
            _on_step_timer(run, place, what)
            return
    go_on(run)


def _overdue(run: Run, place: str) -> None:
    """What was expected by now has not happened: shown, published as an event, and counted; nothing else."""
    if not run.steps[place].status.is_live:
        return
    run.remember(place, run.memo(place) | {"overdue_ms": run.now_ms})
    run.changes.append(Change(what=OVERDUE, before=None, after=place))
    body: JsonObject = {"instance": run.id, "step": place, "status": run.steps[place].status.value}
    published = Published(
        id=f"{run.id}/{run.label(place)}/overdue/{run.document.revision + 1}",
        instance=mailbox_id(OVERDUE_EVENT, run.id),
        event=OVERDUE_EVENT,
        key=run.id,
        body=body,
        keep_ms=0,
        traceparent=run.document.traceparent,
    )
    run.actions.append(Publish(event=published))


def _on_step_timer(run: Run, place: str, what: str) -> None:
    record = run.steps[place]
    undo = record.status.is_undoing
    leg = leg_at(run, place, undo=undo)
    match what:
        case "retry":
            if not run.stopped:
                send_again(run, leg)
        case "attempt":
            if leg.undo or not run.unwinds(place):  # what a cancel found in flight is given until its deadline
                _attempt_failed(run, leg, "no answer in time")
        case _:
            last = f"; the last error: {record.error}" if record.error else ""
            _round_over(run, leg, CauseKind.TIMEOUT, f"no outcome within {leg.timeout_ms / 1000:g} s{last}")


def _completed(run: Run, leg: Leg, reply: Completed) -> None:
    asked = leg.asks_only
    try:
        value = read_foreign(leg.contract.reply, reply.reply)
        kept = as_json(value, leg.contract.reply) if leg.into is not None or asked or is_slip(run) else None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'reply'}: {e['msg']}" for e in error.errors()[:5])
        _attempt_failed(run, leg, f"the worker's reply is not a {leg.contract.reply.__name__}: {problems}")
        return
    except Exception as error:
        what = f"{leg.contract.reply.__name__}, the reply of step {leg.step!r},"
        block(run, leg.step, CauseKind.CODE, fault_of(run, what, error), undo=leg.undo)
        return
    run.clear_timers(leg.step)
    if leg.undo:
        run.mark(leg.step, StepStatus.UNDONE)
    elif asked:
        run.mark(leg.step, StepStatus.DONE, memo={"reply": kept})
    else:
        run.mark(leg.step, StepStatus.DONE)
        if leg.into is not None:
            run.put(leg.into, kept)
        if kept is not None and is_slip(run):
            on_passed(run, leg.step, reply, kept)
    go_on(run)


def _rejected(run: Run, leg: Leg, reply: Rejected) -> None:
    run.clear_timers(leg.step)
    if leg.undo:
        run.mark(leg.step, StepStatus.UNDO_FAILED, error=reply.reason)
        message = f"the undo was rejected ({reply.code}): {reply.reason}"
        run.stop(CauseKind.UNDO, message, step=leg.step, code=reply.code)
        return
    # An earlier attempt that failed or stayed silent may have taken effect, whatever this one was told.
    unsure = run.steps[leg.step].attempt > 1
    run.mark(leg.step, StepStatus.FAILED if unsure else StepStatus.REJECTED, error=reply.reason)
    if is_slip(run):
        call_back(run, leg.step)
    if not leg.asks_only:
        fail(run, leg.step, CauseKind.REJECTED, reply.reason, code=reply.code)
    go_on(run)


def _attempt_failed(run: Run, leg: Leg, error: str) -> None:
    if not leg.undo and run.unwinds(leg.step):
        _round_over(run, leg, CauseKind.ATTEMPTS, error)
    elif not plan_retry(run, leg, error):
        _round_over(run, leg, CauseKind.ATTEMPTS, f"{leg.retry.max_attempts} attempts failed; the last: {error}")


def _round_over(run: Run, leg: Leg, kind: CauseKind, message: str) -> None:
    """Attempts or time are used up: the step may have happened."""
    run.clear_timers(leg.step)
    if leg.undo:
        run.mark(leg.step, StepStatus.UNDO_FAILED, error=message)
        run.stop(CauseKind.UNDO, f"the undo did not succeed: {message}; mend the reason, then retry", step=leg.step)
        return
    run.mark(leg.step, StepStatus.FAILED, error=message)
    if is_slip(run):
        call_back(run, leg.step)
    if not leg.asks_only:
        fail(run, leg.step, kind, message)
    go_on(run)
