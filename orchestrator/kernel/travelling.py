"""The way of a routing slip: planned once, handed out for some stops at a time, revised by an operator."""

from __future__ import annotations

from ...sagas.routing_slip import RoutingSlip
from ..messages.document import CauseKind, Status, StepStatus
from ..messages.inputs import Act
from ..messages.reasons import Reason, invalid, not_now
from .asking import fault_of
from .locking import begin_step
from .run import Run
from .slip import replan

__all__ = ["advance_slip", "revise"]


def advance_slip(run: Run) -> None:
    """Hands the slip out for the first stop that is not done and that nobody has it for."""
    if run.itinerary is None and not _plan(run):
        return
    for place in run.itinerary or ():
        record = run.steps.get(place)
        if record is not None and record.status is StepStatus.DONE:
            continue
        if record is None or record.status.is_stuck or record.status is StepStatus.DROPPED:
            begin_step(run, place)
        return
    if not any(record.status.is_live for record in run.steps.values()):
        run.move(Status.COMPLETED)


def revise(run: Run, act: Act) -> Reason | None:
    """An operator names other stops ahead. Gives the reason why it is denied, and then has changed nothing."""
    names = (act.value or {}).get("ahead")
    if not isinstance(run.definition, RoutingSlip):
        text = f"{run.definition.name!r} is no routing slip; only what lies ahead of a slip can be revised"
        return invalid(text)
    if run.backward:
        return not_now("it is being unwound: nothing lies ahead of it")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        text = 'it is not said what lies ahead; give {"ahead": [stop, …]}, an empty list for nothing'
        return invalid(text)
    wrong = replan(run, [str(name) for name in names])
    return None if wrong is None else invalid(wrong)


def _plan(run: Run) -> bool:
    """Asks the author's plan. False: it raised, and an operator must look."""
    assert isinstance(run.definition, RoutingSlip)
    try:
        names = run.definition.itinerary(run.model())
    except Exception as error:
        fault = fault_of(run, f"the plan of {run.definition.name!r}", error)
        run.stop(CauseKind.CODE, fault.message, code=fault.code, detail=fault.detail)
        return False
    if (denied := replan(run, names)) is not None:
        run.stop(CauseKind.ROUTE, f"{denied}; let its plan name fewer, deploy that, then retry")
        return False
    return True
