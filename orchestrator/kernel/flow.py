"""Which way a flow goes: forward node by node, or backward undo by undo.

Both derive what comes next from the records of the steps; there is no cursor to get out of step.
"""

from __future__ import annotations

from ...sagas.nodes import Pivot, Step
from ..messages.document import Cause, CauseKind, Status, StepRecord, StepStatus
from .run import Run
from .sending import leg_of, send

__all__ = ["compensate", "go_on", "resume", "undo_order"]

_IN_FLIGHT = frozenset({StepStatus.SENT, StepStatus.UNDO_SENT, StepStatus.UNDO_WAITING})
_TO_UNDO = frozenset({StepStatus.DONE, StepStatus.FAILED})


def go_on(run: Run) -> None:
    """Does whatever is next in the direction the instance is going; nothing while it is stopped."""
    if run.stopped:
        return
    if run.backward:
        _unwind(run)
    else:
        _advance(run)


def resume(run: Run) -> None:
    """Goes on after a pause: first with what came due in it."""
    _resend_held(run)
    go_on(run)


def _advance(run: Run) -> None:
    """Goes forward until a command is out or the flow is at its end."""
    for node in run.definition.flow:
        if isinstance(node, Step):
            record = run.steps.get(node.name)
            if record is None:
                send(run, leg_of(node, undo=False), fresh=True)
                return
            if record.status is not StepStatus.DONE:
                return
        elif isinstance(node, Pivot):
            run.pivot_passed = True
    run.move(Status.COMPLETED)


def compensate(run: Run, kind: CauseKind, message: str, *, step: str | None = None, code: str | None = None) -> None:
    """Turns the instance round: from here on it is unwound."""
    run.cause = Cause(
        kind=kind, message=run.shortened(message), at_ms=run.now_ms, step=step, code=code and run.shortened(code)
    )
    run.backward = True
    run.attention = None
    run.move(Status.COMPENSATING)
    go_on(run)


def undo_order(steps: dict[str, StepRecord]) -> list[str]:
    """All steps in the order in which they are undone.

    First those that never completed (they may have happened; the last to begin first), then the others in reverse
    order of completion.
    """
    last = len(steps) + 1
    ranked = [(record.order or last, began, name) for began, (name, record) in enumerate(steps.items())]
    return [name for _, _, name in sorted(ranked, reverse=True)]


def _unwind(run: Run) -> None:
    """Sends the next undo, or ends; waits while a step or an undo is in flight."""
    for name, record in list(run.steps.items()):
        if record.status in _IN_FLIGHT:
            return
        if record.status is StepStatus.WAITING or (record.status is StepStatus.BLOCKED and record.attempt > 0):
            run.clear_timers(name)
            run.mark(name, StepStatus.FAILED)
    for name in undo_order(run.steps):
        record = run.steps[name]
        if record.undo is not None and record.status in _TO_UNDO:
            send(run, leg_of(run.step(name), undo=True), fresh=True)
            return
    run.move(Status.COMPENSATED)


def _resend_held(run: Run) -> None:
    """Sends what came due while the instance was paused: waits whose retry timer has gone."""
    for name, record in list(run.steps.items()):
        held = record.status in (StepStatus.WAITING, StepStatus.UNDO_WAITING) and f"{name}:retry" not in run.timers
        undo = record.status is StepStatus.UNDO_WAITING
        if held and (undo or not run.backward) and not run.stopped:
            send(run, leg_of(run.step(name), undo=undo), fresh=False)
