"""The itinerary of a routing slip: planned once, sent out several stops at a time, revised by an operator."""

from __future__ import annotations

from ...sagas.routing_slip import RoutingSlip
from ..messages.document import CauseKind, Status, StepStatus
from ..messages.inputs import Act
from ..messages.reasons import Reason, invalid, not_now
from .asking import fault_of
from .context import DecisionContext
from .locking import begin_step
from .slip import replan

__all__ = ["advance_slip", "revise"]


def advance_slip(ctx: DecisionContext) -> None:
    """Sends the slip to the first stop that is not done, unless it is there already; completes the slip at the end."""
    if ctx.itinerary is None and not _plan(ctx):
        return
    for place in ctx.itinerary or ():
        record = ctx.steps.get(place)
        if record is not None and record.status is StepStatus.DONE:
            continue
        if record is None or record.status.is_stuck or record.status is StepStatus.DROPPED:
            begin_step(ctx, place)
        return
    if not any(record.status.is_live for record in ctx.steps.values()):
        ctx.move(Status.COMPLETED)


def revise(ctx: DecisionContext, act: Act) -> Reason | None:
    """Replaces the stops ahead by an operator's. Returns the reason if it is denied, and then nothing has changed."""
    names = (act.value or {}).get("ahead")
    if not isinstance(ctx.definition, RoutingSlip):
        text = f"{ctx.definition.name!r} is not a routing slip; only a routing slip can be revised"
        return invalid(text)
    if ctx.backward:
        return not_now("it is compensating and has no stops ahead")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        text = 'the stops ahead are missing; give {"ahead": [stop, …]}, an empty list for none'
        return invalid(text)
    wrong = replan(ctx, [str(name) for name in names])
    return None if wrong is None else invalid(wrong)


def _plan(ctx: DecisionContext) -> bool:
    """Calls the author's plan. False: it raised or named wrong stops, and an operator must act."""
    assert isinstance(ctx.definition, RoutingSlip)
    try:
        names = ctx.definition.itinerary(ctx.model())
    except Exception as error:
        fault = fault_of(ctx, f"the plan of {ctx.definition.name!r}", error)
        ctx.stop(CauseKind.CODE, fault.message, code=fault.code, detail=fault.detail)
        return False
    if (denied := replan(ctx, names)) is not None:
        ctx.stop(CauseKind.ROUTE, f"{denied}; fix the plan, redeploy, then retry")
        return False
    return True
