"""Calling the author's functions. Whatever one raises or wrongly gives puts its instance into attention, and harms
nothing else.
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
    """There is no answer: the instance stands in attention."""


NOTHING = Nothing()


class Fault(NamedTuple):
    """What went wrong, for people and for programs; ``detail`` may be a traceback."""

    message: str
    code: ReasonCode | None = None
    detail: str = ""


def ask(ctx: DecisionContext, place: str, what: str, function: Callable[[], T], *, undo: bool = False) -> T | Nothing:
    """What an author's function gives; ``NOTHING`` after it raised, or gave what cannot be used (``WrongResult``).

    Args:
        ctx: the decision.
        place: whose function it is.
        what: how messages call it.
        function: calls it, and checks what it gave.
        undo: it belongs to the undo of the place.
    """
    try:
        return function()
    except Exception as error:
        block(ctx, place, CauseKind.CODE, fault_of(ctx, what, error), undo=undo)
        return NOTHING


def fault_of(ctx: DecisionContext, what: str, error: Exception) -> Fault:
    """What an operator is told of an author's function that raised, or gave what cannot be used (``WrongResult``)."""
    if isinstance(error, WrongResult):
        return Fault(f"{what} gave {error}; deploy the fix, then retry", ReasonCode.WRONG_RESULT)
    message = f"{what} raised {said(error)}; deploy a mended one, then retry"
    return Fault(message, ReasonCode.FUNCTION_RAISED, trace_of(error, ctx.limits.detail_chars))


def block(ctx: DecisionContext, place: str, kind: CauseKind, fault: Fault, *, undo: bool = False) -> None:
    """Puts a place aside and the instance into attention: the author's code or data must be mended first."""
    blocked = StepStatus.UNDO_FAILED if undo else StepStatus.BLOCKED
    record = ctx.steps.get(place)
    if record is None or record.status is not blocked:
        ctx.mark(place, blocked, error=fault.message)
    ctx.stop(kind, fault.message, step=place, code=fault.code, detail=fault.detail)
