"""Moves an instance on: forward node by node, or backward undo by undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...sagas import Saga
from ...sagas.nodes import Each
from ...sagas.process_manager import ProcessManager
from ...sagas.routing_slip import RoutingSlip
from ..messages.document import Status, StepStatus
from .children import begin_held_parts
from .compensation import unwind
from .context import DecisionContext
from .managing import advance_manager, note_ended
from .places import name_of
from .restarting import rewound
from .sending import ask_leg, leg_at, leg_of, send, send_again
from .slip import carried
from .travelling import advance_slip
from .walk import sequence

__all__ = ["ask_again", "go_on", "lapsed_commands", "resume"]

_TURNS_MAX = 10_000
"""Bound on the loop in ``go_on``; no flow has as many branches to lose, so only a kernel bug reaches it."""


def go_on(ctx: DecisionContext) -> None:
    """Starts whatever comes next in the current direction; nothing while the instance is stopped."""
    if isinstance(ctx.definition, ProcessManager):
        note_ended(ctx)
    for _ in range(_TURNS_MAX):
        if ctx.stopped:
            return
        ctx.again = False
        if ctx.backward:
            if unwind(ctx, ctx.steps) and not ctx.stopped:
                ctx.move(Status.COMPENSATED)
        else:
            _forward(ctx)
        if not ctx.again:
            return
    raise AssertionError(f"{ctx.id} does not come to rest")


def _forward(ctx: DecisionContext) -> None:
    if isinstance(ctx.definition, ProcessManager):
        advance_manager(ctx)
        return
    if isinstance(ctx.definition, RoutingSlip):
        advance_slip(ctx)
        return
    assert isinstance(ctx.definition, Saga)
    if ctx.restarting is not None and not rewound(ctx):
        return
    done = sequence(ctx, ctx.definition.flow)
    if ctx.again or ctx.stopped:
        return
    lost = [place for place in ctx.steps if ctx.unwinds(place)] if ctx.definition.tree.forks else []
    before = len(ctx.changes)
    taken_back = not lost or unwind(ctx, lost)
    if not done and len(ctx.changes) > before and not ctx.stopped:
        ctx.again = True  # a pivot may have waited only for what was just withdrawn
        return
    if done and taken_back and not ctx.stopped and not any(record.status.is_live for record in ctx.steps.values()):
        ctx.move(Status.COMPLETED)


def lapsed_commands(ctx: DecisionContext) -> list[str]:
    """Places of a paused instance whose command has expired during the pause, so that no worker will run it."""
    found = []
    for place, record in ctx.steps.items():
        undo = record.status is StepStatus.UNDO_SENT
        if not (undo or record.status is StepStatus.SENT) or name_of(place) not in ctx.definition.steps:
            continue
        passed = record.at_ms + leg_at(ctx, place, undo=undo).timeout_ms <= ctx.now_ms
        if not carried(record) and (passed or ctx.timers.get(f"{place}:deadline", ctx.now_ms + 1) <= ctx.now_ms):
            found.append(place)
    return found


def ask_again(ctx: DecisionContext, lapsed: Sequence[str]) -> None:
    """Sends expired commands again after a pause, unless their replies came. It does not count as an attempt."""
    for place in lapsed:
        record = ctx.steps[place]
        undo = record.status is StepStatus.UNDO_SENT
        if ctx.stopped or not (undo or (record.status is StepStatus.SENT and not ctx.unwinds(place))):
            continue
        leg = leg_at(ctx, place, undo=undo)
        ctx.mark(place, leg.backoff)
        spent = (
            replace(ctx.steps[place], undo_spent=record.undo_spent + 1)
            if undo
            else replace(ctx.steps[place], spent=record.spent + 1)
        )
        ctx.steps[place] = spent
        if leg.asks_only:
            ask_leg(ctx, leg)
        else:
            send_again(ctx, leg)


def resume(ctx: DecisionContext) -> None:
    """Continues after a stop: first with what became due in the meantime."""
    _do_held(ctx)
    go_on(ctx)


def _do_held(ctx: DecisionContext) -> None:
    """Does what the stop held up: sends attempts whose backoff is over and steps whose lock was granted, and begins
    parts.
    """
    for place, record in list(ctx.steps.items()):
        if ctx.stopped:
            return
        undo = record.status is StepStatus.UNDO_BACKOFF
        held = undo or (record.status is StepStatus.BACKOFF and not ctx.unwinds(place))
        if held and f"{place}:retry" not in ctx.timers:
            send_again(ctx, leg_at(ctx, place, undo=undo))
        elif record.status is StepStatus.LOCKING and (record.memo or {}).get("granted") and not ctx.unwinds(place):
            send(ctx, leg_of(ctx.step(place), place, undo=False), fresh=True)
        elif record.status is StepStatus.UNDO_SENT or (record.status is StepStatus.SENT and not ctx.unwinds(place)):
            node = ctx.node(place)
            if isinstance(node, Each):
                begin_held_parts(ctx, place, node)
