"""What a failure turns round: a branch that its parallel can do without, or the whole instance.

Nothing here goes on by itself: ``run.again`` says that what comes next must be looked for anew.
"""

from __future__ import annotations

from typing import Any

from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Parallel
from ...sagas.process_manager import ProcessManager
from ..messages.document import Cause, CauseKind, Status, StepStatus
from ..messages.values import JsonObject
from .places import name_of
from .run import Run

__all__ = ["compensate", "fail", "lose", "takes_failure"]


def compensate(run: Run, kind: CauseKind, message: str, *, step: str | None = None, code: str | None = None) -> None:
    """Turns the instance round: from here on it is unwound."""
    run.cause = Cause(
        kind=kind, message=run.shortened(message), at_ms=run.now_ms, step=step, code=code and run.shortened(code)
    )
    run.backward = True
    run.restarting = None
    run.attention = None
    run.move(Status.COMPENSATING)
    run.again = True


def fail(run: Run, place: str, kind: CauseKind, message: str, *, code: str | None = None) -> None:
    """A node did not succeed: its branch is lost, the instance turns round, or past the pivot an operator must look.

    While an operator is looking already, or what it did is being taken back anyway, the record alone tells.
    """
    run.again = True
    if run.status is Status.ATTENTION or run.unwinds(place):
        return
    if takes_failure(run.definition, place, run.managed.phase):
        return
    for node, around, label in run.around(place):
        if isinstance(node, Parallel) and _can_do_without(run, node, around):
            lose(run, around, label, message)
            return
    if run.pivot_passed:
        said = f"rejected past the pivot ({code}): {message}" if code is not None else f"past the pivot: {message}"
        run.stop(kind, f"{said}; mend the reason, then retry", step=place, code=code)
    else:
        compensate(run, kind, message, step=place, code=code)


def takes_failure(definition: AnyDefinition, place: str, phase: str | None) -> bool:
    """True when a process manager has a handler that decides about a failed step."""
    if not isinstance(definition, ProcessManager):
        return False
    return any(handler.takes(phase) for handler in definition.failed.get(name_of(place), ()))


def lose(run: Run, place: str, label: str, why: str) -> None:
    """A branch of a parallel is not gone on with; what it did is taken back."""
    lost: JsonObject = {**run.lost(place), label: run.shortened(why)}
    run.remember(place, run.memo(place) | {"lost": lost})


def _can_do_without(run: Run, node: Parallel[Any], place: str) -> bool:
    if run.steps[place].status is StepStatus.DONE:
        return True
    return len(node.branches) - len(run.lost(place)) - 1 >= node.options.need
