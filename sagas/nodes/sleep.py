"""``sleep``: a durable delay."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel

from ..given import check_span
from .base import Node, S_contra, node_name

__all__ = ["Sleep", "sleep"]

S = TypeVar("S", bound=BaseModel)


class Sleep(Node[S_contra]):
    """A delay; made by ``sleep``."""

    def __init__(self, name: str, duration: timedelta | Callable[[S_contra], timedelta]) -> None:
        self.name, self.duration = name, duration


def sleep(name: str, duration: timedelta | Callable[[S], timedelta]) -> Node[S]:
    """Waits for a span of time. The timer is in the instance's document: it uses no resources and survives any crash.

    - success: the time has passed; never early.
    - rejection: cannot happen.
    - exhaustion: cannot happen.
    - timeout: cannot happen.
    - cancel: it ends at once.
    - undo: there is nothing to undo.
    - a function that raises, or returns a negative span, puts the instance into ``attention``.

    Args:
        name: its identity in running instances.
        duration: a span, or a pure function of the state that returns one.

    Raises:
        DefinitionError: a span that is not positive, or an invalid name.
    """
    if not callable(duration):
        check_span(f"sleep {name!r}: duration", duration)
    return Sleep(node_name("sleep", name), duration)
