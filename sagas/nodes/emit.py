"""``emit``: publish an event, fire and forget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from ..event import Event
from ..given import check_call, check_is
from .base import Node, S_contra, node_name

__all__ = ["Emit", "emit"]

S = TypeVar("S", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)


class Emit(Node[S_contra]):
    """Publishes an event; made by ``emit``."""

    def __init__(
        self, name: str, event: Event[Any], build: Callable[[S_contra], BaseModel], key: Callable[[S_contra], str]
    ) -> None:
        self.name, self.event, self.build, self.key = name, event, build, key


def emit(event: Event[E], build: Callable[[S], E], *, key: Callable[[S], str], name: str | None = None) -> Emit[S]:
    """Publishes an event in the same transaction as the decision that reached the node, so exactly once.

    - success: at once; there is no answer.
    - rejection: cannot happen.
    - exhaustion: cannot happen.
    - timeout: cannot happen.
    - cancel: an event that was published stays published.
    - undo: a published event cannot be undone; emit another event where that matters.
    - when nothing waits for the event and there is no room to keep it, it is still published; for instances that wait
      for it later it becomes a dead letter.
    - a function that raises, or returns a wrong result, puts the instance into ``attention``.

    Args:
        event: its kind.
        build: a pure function of the state that returns its body.
        key: a pure function of the state that returns the key it is published under.
        name: its identity; by default ``emit-`` and the event's name.
    """
    check_is("what an emit publishes", event, Event, "give an Event(name, model)")
    check_call(f"emit of {event.name!r}: build", build)
    check_call(f"emit of {event.name!r}: key", key)
    return Emit(node_name("emit", name or f"emit-{event.name}"), event, build, key)
