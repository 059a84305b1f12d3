"""``pivot``: the point of no return."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from .base import Node

__all__ = ["Pivot", "pivot"]


class Pivot(Node[BaseModel]):
    """The point of no return of a flow: past it the flow only goes forward. Placed once, on the top level.

    - success: it is passed as soon as everything before it is done and nothing before it is under way; it sends nothing
      and takes no time.
    - rejection: before it, compensation; after it the step needs attention, and ``retry`` sends it again.
    - exhaustion: as a rejection.
    - timeout: as a rejection.
    - cancel: past it, denied with the reason.
    - undo: steps after it are never undone, so they have no undo; steps before it are not undone any more once it is
      passed.
    """

    name = "pivot"

    def __repr__(self) -> str:
        return "pivot"


pivot: Final[Node[BaseModel]] = Pivot()
"""The only instance of ``Pivot``; see there."""
