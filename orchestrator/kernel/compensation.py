"""Going back: what waits is withdrawn, what is in flight is waited for, what took effect is undone.

Undos run in reverse order of completion; only branches of a parallel that was declared so do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...sagas.nodes import Child, Each, Loop, Parallel, Scatter
from ..messages.document import StepRecord, StepStatus
from .children import undo_child, unwind_child
from .context import DecisionContext
from .locking import release_all
from .places import name_of, rounds_of
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


def unwind(ctx: DecisionContext, places: Iterable[str]) -> bool:
    """Takes back what was done at these places. True: nothing is left to take back or to wait for.

    An undo that has failed is begun again when its instance goes on without an operator's retry: by a cancel, a waive,
    or because its parent is unwound.
    """
    places = set(places)
    for place in [place for place in ctx.steps if place in places]:
        _withdraw(ctx, place)
    if any(_is_in_flight(ctx.steps[place]) for place in places):
        return False
    ahead: list[str] = []
    for place in undo_order(ctx.steps, ctx.itinerary):
        record = ctx.steps[place]
        begins = record.status.is_to_undo or record.status is StepStatus.UNDO_FAILED
        if place not in places or record.undo is None or not (begins or record.status.is_undoing):
            continue
        if begins and all(_apart(ctx, place, other) for other in ahead):
            begin_undo(ctx, place)
            if ctx.stopped:
                return False
        if ctx.steps[place].status is not StepStatus.UNDONE:
            ahead.append(place)
    return not ahead


def begin_undo(ctx: DecisionContext, place: str) -> None:
    """Sends the undo of a place; also again, after an operator's retry."""
    if isinstance(ctx.node(place), Child | Each):
        undo_child(ctx, place)
    else:
        send(ctx, leg_at(ctx, place, undo=True), fresh=True)


def _withdraw(ctx: DecisionContext, place: str) -> None:
    """What has not left yet is dropped; a wait for another attempt ends, the one before may have happened."""
    record = ctx.steps[place]
    match record.status:
        case StepStatus.BACKOFF:
            ctx.clear_timers(place)
            ctx.mark(place, StepStatus.FAILED)
            if is_slip(ctx):
                call_back(ctx, place)
        case StepStatus.BLOCKED if record.attempt > 0:
            ctx.mark(place, StepStatus.FAILED)
        case StepStatus.BLOCKED if record.memo and "lock" in record.memo:
            release_all(ctx, place)
            ctx.mark(place, StepStatus.DROPPED)
        case StepStatus.LOCKING if record.attempt > 0:
            ctx.clear_timers(place)
            ctx.mark(place, StepStatus.FAILED)
        case StepStatus.LOCKING:
            ctx.clear_timers(place)
            release_all(ctx, place)
            ctx.mark(place, StepStatus.DROPPED)
        case StepStatus.WAITING:
            drop_wait(ctx, place)
            ctx.mark(place, StepStatus.DROPPED)
        case StepStatus.SENT if isinstance(ctx.node(place), Child | Each):
            unwind_child(ctx, place, ctx.cause.message if ctx.cause else "its branch is not needed any more")
            node = ctx.node(place)
            memo = ctx.memo(place)
            if isinstance(node, Each) and not memo["under_way"]:
                ctx.mark(place, StepStatus.FAILED)
        case StepStatus.SENT if asks_only(ctx, place):
            ctx.mark(place, StepStatus.DROPPED)
        case _:
            pass


def asks_only(ctx: DecisionContext, place: str) -> bool:
    """True for the question of a scatter: it leaves nothing behind, so nobody waits for its answer."""
    around = ctx.around(place)
    return bool(around) and isinstance(around[0][0], Scatter)


def _is_in_flight(record: StepRecord) -> bool:
    return record.status is StepStatus.SENT


def _apart(ctx: DecisionContext, one: str, other: str) -> bool:
    """True when the undos of two places need not wait for each other."""
    met = ctx.definition.tree.meeting(name_of(one), name_of(other))
    if met is None or not isinstance(met[0], Parallel) or met[0].options.undo != "parallel":
        return False
    loops = sum(isinstance(node, Loop) for node, _ in ctx.definition.tree[met[0].name].path)
    return rounds_of(one)[:loops] == rounds_of(other)[:loops]
