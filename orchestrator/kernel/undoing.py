"""Going back: what waits is withdrawn, what is in flight is waited for, what took effect is undone.

Undos run in reverse order of completion; only branches of a parallel that was declared so do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...sagas.nodes import Child, Each, Loop, Parallel, Scatter
from ..messages.document import StepRecord, StepStatus
from .children import undo_child, unwind_child
from .locking import release_all
from .places import name_of, rounds_of
from .run import Run
from .sending import leg_at, send
from .slip import call_back, is_slip
from .waiting import drop_wait

__all__ = ["asks_only", "begin_undo", "undo_order", "unwind"]


def undo_order(steps: dict[str, StepRecord], itinerary: tuple[str, ...] | None = None) -> list[str]:
    """All places in the order in which they are undone.

    First those that never completed (they may have happened; the last to begin first), then the others in reverse
    order of completion. A routing slip's stops follow its itinerary, in whatever order their reports came.
    """
    if itinerary is not None:
        way = {place: number for number, place in enumerate(itinerary)}
        return sorted(steps, key=lambda place: way.get(place, -1), reverse=True)
    last = len(steps) + 1
    ranked = [(record.order or last, began, name) for began, (name, record) in enumerate(steps.items())]
    return [name for _, _, name in sorted(ranked, reverse=True)]


def unwind(run: Run, places: Iterable[str]) -> bool:
    """Takes back what was done at these places. True: nothing is left to take back or to wait for.

    An undo that has failed is begun again when its instance goes on without an operator's retry: by a cancel, a waive,
    or because its parent is unwound.
    """
    places = set(places)
    for place in [place for place in run.steps if place in places]:
        _withdraw(run, place)
    if any(_is_in_flight(run.steps[place]) for place in places):
        return False
    ahead: list[str] = []
    for place in undo_order(run.steps, run.itinerary):
        record = run.steps[place]
        begins = record.status.is_to_undo or record.status is StepStatus.UNDO_FAILED
        if place not in places or record.undo is None or not (begins or record.status.is_undoing):
            continue
        if begins and all(_apart(run, place, other) for other in ahead):
            begin_undo(run, place)
            if run.stopped:
                return False
        if run.steps[place].status is not StepStatus.UNDONE:
            ahead.append(place)
    return not ahead


def begin_undo(run: Run, place: str) -> None:
    """Sends the undo of a place; also again, after an operator's retry."""
    if isinstance(run.node(place), Child | Each):
        undo_child(run, place)
    else:
        send(run, leg_at(run, place, undo=True), fresh=True)


def _withdraw(run: Run, place: str) -> None:
    """What has not left yet is dropped; a wait for another attempt ends, the one before may have happened."""
    record = run.steps[place]
    match record.status:
        case StepStatus.BACKOFF:
            run.clear_timers(place)
            run.mark(place, StepStatus.FAILED)
            if is_slip(run):
                call_back(run, place)
        case StepStatus.BLOCKED if record.attempt > 0:
            run.mark(place, StepStatus.FAILED)
        case StepStatus.BLOCKED if record.memo and "lock" in record.memo:
            release_all(run, place)
            run.mark(place, StepStatus.DROPPED)
        case StepStatus.LOCKING if record.attempt > 0:
            run.clear_timers(place)
            run.mark(place, StepStatus.FAILED)
        case StepStatus.LOCKING:
            run.clear_timers(place)
            release_all(run, place)
            run.mark(place, StepStatus.DROPPED)
        case StepStatus.WAITING:
            drop_wait(run, place)
            run.mark(place, StepStatus.DROPPED)
        case StepStatus.SENT if isinstance(run.node(place), Child | Each):
            unwind_child(run, place, run.cause.message if run.cause else "its branch is not needed any more")
            node = run.node(place)
            memo = run.memo(place)
            if isinstance(node, Each) and not memo["under_way"]:
                run.mark(place, StepStatus.FAILED)
        case StepStatus.SENT if asks_only(run, place):
            run.mark(place, StepStatus.DROPPED)
        case _:
            pass


def asks_only(run: Run, place: str) -> bool:
    """True for the question of a scatter: it leaves nothing behind, so nobody waits for its answer."""
    around = run.around(place)
    return bool(around) and isinstance(around[0][0], Scatter)


def _is_in_flight(record: StepRecord) -> bool:
    return record.status is StepStatus.SENT


def _apart(run: Run, one: str, other: str) -> bool:
    """True when the undos of two places need not wait for each other."""
    met = run.definition.tree.meeting(name_of(one), name_of(other))
    if met is None or not isinstance(met[0], Parallel) or met[0].options.undo != "parallel":
        return False
    loops = sum(isinstance(node, Loop) for node, _ in run.definition.tree[met[0].name].path)
    return rounds_of(one)[:loops] == rounds_of(other)[:loops]
