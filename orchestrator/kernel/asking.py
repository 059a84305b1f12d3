"""Calling the author's functions. Whatever one raises or wrongly gives puts its instance into attention, and harms
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..messages.document import CauseKind, StepStatus
from ..messages.texts import trace_of
from .results import WrongResult
from .run import Run, said

__all__ = ["NOTHING", "Nothing", "ask", "block"]

T = TypeVar("T")


class Nothing:
    """There is no answer: the instance stands in attention."""


NOTHING = Nothing()


def ask(run: Run, place: str, what: str, function: Callable[[], T], *, undo: bool = False) -> T | Nothing:
    """What an author's function gives; ``NOTHING`` after it raised, or gave what cannot be used (``WrongResult``).

    Args:
        run: the decision.
        place: whose function it is.
        what: how messages call it.
        function: calls it, and checks what it gave.
        undo: it belongs to the undo of the place.
    """
    try:
        return function()
    except WrongResult as error:
        block(run, place, CauseKind.CODE, f"{what} gave {error}; deploy the fix, then retry", undo=undo)
        return NOTHING
    except Exception as error:
        message = f"{what} raised {said(error)}; deploy a mended one, then retry"
        block(run, place, CauseKind.CODE, message, detail=trace_of(error, run.limits.detail_chars), undo=undo)
        return NOTHING


def block(run: Run, place: str, kind: CauseKind, message: str, *, detail: str = "", undo: bool = False) -> None:
    """Puts a place aside and the instance into attention: the author's code or data must be mended first."""
    blocked = StepStatus.UNDO_FAILED if undo else StepStatus.BLOCKED
    record = run.steps.get(place)
    if record is None or record.status is not blocked:
        run.mark(place, blocked, error=message)
    run.stop(kind, message, step=place, detail=detail)
