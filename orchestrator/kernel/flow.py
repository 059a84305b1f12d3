"""Which way an instance goes: forward node by node, or backward undo by undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...sagas import Saga
from ...sagas.nodes import Each
from ...sagas.process_manager import ProcessManager
from ...sagas.routing_slip import RoutingSlip
from ..messages.document import Status, StepStatus
from .children import begin_held_parts
from .managing import advance_manager, note_ended
from .places import name_of
from .restarting import rewound
from .run import Run
from .sending import ask_leg, leg_at, leg_of, send, send_again
from .slip import carried
from .travelling import advance_slip
from .undoing import unwind
from .walk import sequence

__all__ = ["ask_again", "go_on", "lapsed_commands", "resume"]

_TURNS_MAX = 10_000
"""More turns than any flow has branches to lose: a bound against a defect of ours, not of an author."""


def go_on(run: Run) -> None:
    """Does whatever is next in the direction the instance is going; nothing while it is stopped."""
    if isinstance(run.definition, ProcessManager):
        note_ended(run)
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
    if done and taken_back and not run.stopped and not any(record.status.is_live for record in run.steps.values()):
        run.move(Status.COMPLETED)


def lapsed_commands(run: Run) -> list[str]:
    """Places of a paused instance whose command nobody carries out any more: its time has passed in the pause."""
    found = []
    for place, record in run.steps.items():
        undo = record.status is StepStatus.UNDO_SENT
        if not (undo or record.status is StepStatus.SENT) or name_of(place) not in run.definition.steps:
            continue
        passed = record.at_ms + leg_at(run, place, undo=undo).timeout_ms <= run.now_ms
        if not carried(record) and (passed or run.timers.get(f"{place}:deadline", run.now_ms + 1) <= run.now_ms):
            found.append(place)
    return found


def ask_again(run: Run, lapsed: Sequence[str]) -> None:
    """Sends commands once more whose time has passed in a pause, unless their answers came. It counts as no attempt."""
    for place in lapsed:
        record = run.steps[place]
        undo = record.status is StepStatus.UNDO_SENT
        if run.stopped or not (undo or (record.status is StepStatus.SENT and not run.unwinds(place))):
            continue
        leg = leg_at(run, place, undo=undo)
        run.mark(place, leg.backoff)
        spent = (
            replace(run.steps[place], undo_spent=record.undo_spent + 1)
            if undo
            else replace(run.steps[place], spent=record.spent + 1)
        )
        run.steps[place] = spent
        if leg.asks_only:
            ask_leg(run, leg)
        else:
            send_again(run, leg)


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
        undo = record.status is StepStatus.UNDO_BACKOFF
        held = undo or (record.status is StepStatus.BACKOFF and not run.unwinds(place))
        if held and f"{place}:retry" not in run.timers:
            send_again(run, leg_at(run, place, undo=undo))
        elif record.status is StepStatus.LOCKING and (record.memo or {}).get("granted") and not run.unwinds(place):
            send(run, leg_of(run.step(place), place, undo=False), fresh=True)
        elif record.status is StepStatus.UNDO_SENT or (record.status is StepStatus.SENT and not run.unwinds(place)):
            node = run.node(place)
            if isinstance(node, Each):
                begin_held_parts(run, place, node)
