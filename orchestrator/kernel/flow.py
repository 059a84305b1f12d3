"""Which way an instance goes: forward node by node, or backward undo by undo."""

from __future__ import annotations

from ...sagas import Saga
from ...sagas.nodes import Each
from ...sagas.process_manager import ProcessManager
from ...sagas.routing_slip import RoutingSlip
from ..messages.document import Status, StepStatus
from .children import begin_held_parts
from .managing import advance_manager
from .restarting import rewound
from .run import LIVE, Run
from .sending import leg_at, leg_of, send, send_again
from .travelling import advance_slip
from .undoing import unwind
from .walk import sequence

__all__ = ["go_on", "resume"]

_TURNS_MAX = 10_000
"""More turns than any flow has branches to lose: a bound against a defect of ours, not of an author."""


def go_on(run: Run) -> None:
    """Does whatever is next in the direction the instance is going; nothing while it is stopped."""
    for _ in range(_TURNS_MAX):
        if run.stopped:
            return
        run.again = False
        if run.backward:
            if unwind(run, run.steps) and not run.stopped:
                run.move(Status.COMPENSATED)
        else:
            _forward(run)
        if not run.again:
            return
    raise AssertionError(f"{run.id} does not come to rest")


def _forward(run: Run) -> None:
    if isinstance(run.definition, ProcessManager):
        advance_manager(run)
        return
    if isinstance(run.definition, RoutingSlip):
        advance_slip(run)
        return
    assert isinstance(run.definition, Saga)
    if run.restarting is not None and not rewound(run):
        return
    done = sequence(run, run.definition.flow)
    if run.again or run.stopped:
        return
    lost = [place for place in run.steps if run.unwinds(place)] if run.definition.tree.forks else []
    before = len(run.changes)
    taken_back = not lost or unwind(run, lost)
    if not done and len(run.changes) > before and not run.stopped:
        run.again = True  # a pivot may have waited for nothing but what was just withdrawn
        return
    if done and taken_back and not run.stopped and not any(record.status in LIVE for record in run.steps.values()):
        run.move(Status.COMPLETED)


def resume(run: Run) -> None:
    """Goes on after a pause: first with what came due in it."""
    _do_held(run)
    go_on(run)


def _do_held(run: Run) -> None:
    """Does what could not be done while the instance stood still: sends after waits whose retry timer has gone and for
    locks that were granted, and begins parts.
    """
    for place, record in list(run.steps.items()):
        if run.stopped:
            return
        undo = record.status is StepStatus.UNDO_WAITING
        held = undo or (record.status is StepStatus.WAITING and not run.unwinds(place))
        if held and f"{place}:retry" not in run.timers:
            send_again(run, leg_at(run, place, undo=undo))
        elif record.status is StepStatus.LOCKING and (record.memo or {}).get("granted") and not run.unwinds(place):
            send(run, leg_of(run.step(place), place, undo=False), fresh=True)
        elif record.status is StepStatus.UNDO_SENT or (record.status is StepStatus.SENT and not run.unwinds(place)):
            node = run.node(place)
            if isinstance(node, Each):
                begin_held_parts(run, place, node)
