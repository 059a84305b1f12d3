"""``pivot``: the point of no return."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from .base import Node

__all__ = ["Pivot", "pivot"]


class Pivot(Node[BaseModel]):
    """The point of no return of a flow: past it the flow only goes forward."""

    name = "pivot"

    def __repr__(self) -> str:
        return "pivot"


pivot: Final[Node[BaseModel]] = Pivot()
"""Place it in a flow once, on its top level.

- success: it is passed as soon as all before it is done; it sends nothing and takes no time.
- what fails before it is compensated; what fails after it is retried and then stands in ``attention``.
- cancel: refused past it, with the reason.
- undo: nothing behind it is ever undone, so steps after it have no undo.
"""
