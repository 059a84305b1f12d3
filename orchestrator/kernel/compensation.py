"""Compensation: withdraws what waits, waits for what is in flight, then undoes what took effect.

Undos run in reverse order of completion, one after the other; only branches of a parallel with ``undo="parallel"`` are
undone at the same time.
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

    First those that never completed (they may have taken effect; the last to begin first), then the others in reverse
    order of completion. The stops of a routing slip are undone in reverse order of its itinerary, whatever the order of
    their reports.
    """
    if itinerary is not None:
        way = {place: number for number, place in enumerate(itinerary)}
        return sorted(steps, key=lambda place: way.get(place, -1), reverse=True)
    last = len(steps) + 1
    ranked = [(record.order or last, began, name) for began, (name, record) in enumerate(steps.items())]
    return [name for _, _, name in sorted(ranked, reverse=True)]


def unwind(ctx: DecisionContext, places: Iterable[str]) -> bool:
    """Undoes what was done at these places. True: nothing is left to undo or to wait for.

    A failed undo is begun again also when the instance continues without an operator's retry: by a cancel, a waive, or
    an unwind by its parent.
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
    """Sends the undo of a place, for the first time or again after an operator's retry."""
    if isinstance(ctx.node(place), Child | Each):
        undo_child(ctx, place)
    else:
        send(ctx, leg_at(ctx, place, undo=True), fresh=True)


def _withdraw(ctx: DecisionContext, place: str) -> None:
    """Stops what a place waits for. Without an attempt it is dropped; after an attempt it is failed, since the attempt
    may have taken effect.
    """
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
            unwind_child(ctx, place, ctx.cause.message if ctx.cause else "its branch is no longer needed")
            node = ctx.node(place)
            memo = ctx.memo(place)
            if isinstance(node, Each) and not memo["under_way"]:
                ctx.mark(place, StepStatus.FAILED)
        case StepStatus.SENT if asks_only(ctx, place):
            ctx.mark(place, StepStatus.DROPPED)
        case _:
            pass


def asks_only(ctx: DecisionContext, place: str) -> bool:
    """True for a question of a scatter: it has no effect, so a compensation does not wait for its answer."""
    around = ctx.around(place)
    return bool(around) and isinstance(around[0][0], Scatter)


def _is_in_flight(record: StepRecord) -> bool:
    return record.status is StepStatus.SENT


def _apart(ctx: DecisionContext, one: str, other: str) -> bool:
    """True when the undos of two places may run at the same time."""
    met = ctx.definition.tree.meeting(name_of(one), name_of(other))
    if met is None or not isinstance(met[0], Parallel) or met[0].options.undo != "parallel":
        return False
    loops = sum(isinstance(node, Loop) for node, _ in ctx.definition.tree[met[0].name].path)
    return rounds_of(one)[:loops] == rounds_of(other)[:loops]
