"""Calls the author's functions. If one raises or returns a wrong value, its instance needs attention; nothing else is
harmed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ..messages.document import CauseKind, StepStatus
from ..messages.reasons import ReasonCode
from ..messages.texts import trace_of
from .context import DecisionContext, said
from .results import WrongResult

__all__ = ["NOTHING", "Fault", "Nothing", "ask", "block", "fault_of"]

T = TypeVar("T")


class Nothing:
    """There is no result: the instance needs attention."""


NOTHING = Nothing()


class Fault(NamedTuple):
    """What went wrong, for people and for programs; ``detail`` may be a traceback."""

    message: str
    code: ReasonCode | None = None
    detail: str = ""


def ask(ctx: DecisionContext, place: str, what: str, function: Callable[[], T], *, undo: bool = False) -> T | Nothing:
    """The result of an author's function; ``NOTHING`` if it raised or returned an unusable value (``WrongResult``).

    Args:
        ctx: the decision.
        place: the place that the function belongs to.
        what: the name of the function in messages.
        function: calls it and checks the result.
        undo: it belongs to the undo of the place.
    """
    try:
        return function()
    except Exception as error:
        block(ctx, place, CauseKind.CODE, fault_of(ctx, what, error), undo=undo)
        return NOTHING


def fault_of(ctx: DecisionContext, what: str, error: Exception) -> Fault:
    """The fault of an author's function that raised or returned an unusable value (``WrongResult``)."""
    if isinstance(error, WrongResult):
        return Fault(f"{what} gave {error}; deploy the fix, then retry", ReasonCode.WRONG_RESULT)
    message = f"{what} raised {said(error)}; fix the function, redeploy, then retry"
    return Fault(message, ReasonCode.FUNCTION_RAISED, trace_of(error, ctx.limits.detail_chars))


def block(ctx: DecisionContext, place: str, kind: CauseKind, fault: Fault, *, undo: bool = False) -> None:
    """Blocks a place and puts the instance into attention: the author's code or the data must be fixed first."""
    blocked = StepStatus.UNDO_FAILED if undo else StepStatus.BLOCKED
    record = ctx.steps.get(place)
    if record is None or record.status is not blocked:
        ctx.mark(place, blocked, error=fault.message)
    ctx.stop(kind, fault.message, step=place, code=fault.code, detail=fault.detail)
