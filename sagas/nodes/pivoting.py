"""``pivot``: the point of no return."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from .base import Node

__all__ = ["Pivot", "pivot"]


class Pivot(Node[BaseModel]):
    """The point of no return of a flow: past it the flow only goes forward. Placed once, on the top level.

    - success: it is passed as soon as all before it is done and nothing of it is under way; it sends nothing and takes
      no time.
    - business no: before it, compensation; behind it the step stands in ``attention``, and ``retry`` sends it again.
    - exhaustion: as business no.
    - timeout: as business no.
    - cancel: denied past it, with the reason.
    - undo: nothing behind it is ever undone, so steps after it have no undo; what stands before it is not undone any
      more once it is passed.
    """

    name = "pivot"

    def __repr__(self) -> str:
        return "pivot"


pivot: Final[Node[BaseModel]] = Pivot()
"""The one value of ``Pivot``, whose docstring says what it does."""
