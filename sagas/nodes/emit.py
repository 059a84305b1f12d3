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
    """An event that leaves; made by ``emit``."""

    def __init__(
        self, name: str, event: Event[Any], build: Callable[[S_contra], BaseModel], key: Callable[[S_contra], str]
    ) -> None:
        self.name, self.event, self.build, self.key = name, event, build, key


def emit(event: Event[E], build: Callable[[S], E], *, key: Callable[[S], str], name: str | None = None) -> Emit[S]:
    """Publishes an event in the same commit as the decision that reached it, so exactly once.

    - success: at once; nobody answers.
    - business no: cannot happen.
    - exhaustion: cannot happen.
    - timeout: cannot happen.
    - cancel: what is out is out.
    - undo: an event cannot be taken back; emit another where that matters.
    - an event that nobody waits for, and for which there is no room to be kept, is published all the same; for those
      who would wait for it later it is a dead letter.
    - a function that raises, or gives a wrong result, puts the instance into ``attention``.

    Args:
        event: its kind.
        build: a pure function of the state that gives its body.
        key: a pure function of the state that gives the key it is published under.
        name: its identity; by default ``emit-`` and the event's name.
    """
    check_is("what an emit publishes", event, Event, "give an Event(name, model)")
    check_call(f"emit of {event.name!r}: build", build)
    check_call(f"emit of {event.name!r}: key", key)
    return Emit(node_name("emit", name or f"emit-{event.name}"), event, build, key)
