"""The way of a routing slip: planned once, handed out for some stops at a time, revised by an operator."""

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
    """Hands the slip out for the first stop that is not done and that nobody has it for."""
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
    """An operator names other stops ahead. Gives the reason why it is denied, and then has changed nothing."""
    names = (act.value or {}).get("ahead")
    if not isinstance(ctx.definition, RoutingSlip):
        text = f"{ctx.definition.name!r} is no routing slip; only what lies ahead of a slip can be revised"
        return invalid(text)
    if ctx.backward:
        return not_now("it is being unwound: nothing lies ahead of it")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        text = 'it is not said what lies ahead; give {"ahead": [stop, …]}, an empty list for nothing'
        return invalid(text)
    wrong = replan(ctx, [str(name) for name in names])
    return None if wrong is None else invalid(wrong)


def _plan(ctx: DecisionContext) -> bool:
    """Asks the author's plan. False: it raised, and an operator must look."""
    assert isinstance(ctx.definition, RoutingSlip)
    try:
        names = ctx.definition.itinerary(ctx.model())
    except Exception as error:
        fault = fault_of(ctx, f"the plan of {ctx.definition.name!r}", error)
        ctx.stop(CauseKind.CODE, fault.message, code=fault.code, detail=fault.detail)
        return False
    if (denied := replan(ctx, names)) is not None:
        ctx.stop(CauseKind.ROUTE, f"{denied}; let its plan name fewer, deploy that, then retry")
        return False
    return True
