"""Failure handling: drop a branch the parallel can spare, or start compensating.

Nothing here moves the instance on; ``ctx.again`` tells ``flow.go_on`` to look again for what comes next.
"""

from __future__ import annotations

from typing import Any

from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Parallel
from ...sagas.process_manager import ProcessManager
from ..messages.document import Cause, CauseKind, Status, StepStatus
from ..messages.values import JsonObject
from .context import DecisionContext
from .places import name_of

__all__ = ["compensate", "fail", "lose", "takes_failure"]


def compensate(
    ctx: DecisionContext, kind: CauseKind, message: str, *, step: str | None = None, code: str | None = None
) -> None:
    """Starts compensating the whole instance."""
    ctx.cause = Cause(
        kind=kind, message=ctx.shortened(message), at_ms=ctx.now_ms, step=step, code=code and ctx.shortened(code)
    )
    ctx.backward = True
    ctx.restarting = None
    ctx.attention = None
    ctx.move(Status.COMPENSATING)
    ctx.again = True


def fail(ctx: DecisionContext, place: str, kind: CauseKind, message: str, *, code: str | None = None) -> None:
    """Handles a node that failed: its branch is lost, compensation starts, or past the pivot an operator must act.

    If the instance already needs attention, or the node is being undone anyway, only its record shows the failure.
    """
    ctx.again = True
    if ctx.status is Status.ATTENTION or ctx.unwinds(place):
        return
    if takes_failure(ctx.definition, place, ctx.managed.phase):
        return
    for node, around, label in ctx.around(place):
        if isinstance(node, Parallel) and _can_do_without(ctx, node, around):
            lose(ctx, around, label, message)
            return
    if ctx.pivot_passed:
        said = f"rejected past the pivot ({code}): {message}" if code is not None else f"past the pivot: {message}"
        ctx.stop(kind, f"{said}; resolve the cause, then retry", step=place, code=code)
    else:
        compensate(ctx, kind, message, step=place, code=code)


def takes_failure(definition: AnyDefinition, place: str, phase: str | None) -> bool:
    """True when a process manager has a handler for the failed step in this phase."""
    if not isinstance(definition, ProcessManager):
        return False
    return any(handler.takes(phase) for handler in definition.failed.get(name_of(place), ()))


def lose(ctx: DecisionContext, place: str, label: str, why: str) -> None:
    """Abandons a branch of a parallel and undoes what it did."""
    lost: JsonObject = {**ctx.lost(place), label: ctx.shortened(why)}
    ctx.remember(place, ctx.memo(place) | {"lost": lost})


def _can_do_without(ctx: DecisionContext, node: Parallel[Any], place: str) -> bool:
    if ctx.steps[place].status is StepStatus.DONE:
        return True
    return len(node.branches) - len(ctx.lost(place)) - 1 >= node.options.need
