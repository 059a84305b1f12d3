"""``wait``: external events, matched by any key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from ..errors import DefinitionError
from ..event import Event
from ..given import check_call, check_choice, check_is, check_span
from .base import Node, S_contra, check_into, node_name

__all__ = ["Expected", "Wait", "WaitOptions", "expect", "wait"]

S = TypeVar("S", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Expected(Generic[S_contra]):
    """One event that a ``wait`` waits for; made by ``expect``."""

    event: Event[Any]
    key: Callable[[S_contra], str]
    into: str | None


def expect(event: Event[E], *, key: Callable[[S], str], into: str | None = None) -> Expected[S]:
    """An event to wait for.

    Args:
        event: its kind.
        key: a pure function of the state that returns the key it is published under.
        into: the field of the state that takes its body; None: the body is not kept.
    """
    check_is("what a wait expects", event, Event, "give an Event(name, model)")
    check_call(f"the key of expected {event.name!r}", key)
    check_into(f"expected {event.name!r}", into)
    return Expected(event=event, key=key, into=into)


@dataclass(frozen=True, kw_only=True)
class WaitOptions:
    """How a wait ends; see ``wait``."""

    need: Literal["all", "any"]
    timeout: timedelta
    on_timeout: Literal["fail", "go_on"]


class Wait(Node[S_contra]):
    """A wait for events; made by ``wait``."""

    def __init__(self, name: str, expected: tuple[Expected[S_contra], ...], options: WaitOptions) -> None:
        self.name, self.expected, self.options = name, expected, options

    @property
    def about(self) -> str:
        return ", ".join(sorted(self.expects))

    @property
    def expects(self) -> tuple[str, ...]:
        """The name of each expected event in an instance's document, in the order of declaration."""
        names = [f"{each.event.name} into {each.into}" if each.into else each.event.name for each in self.expected]
        return tuple(
            f"{name} ({names[:number].count(name) + 1})" if names.count(name) > 1 else name
            for number, name in enumerate(names)
        )


def wait(
    *expected: Expected[S],
    timeout: timedelta,
    need: Literal["all", "any"] = "all",
    on_timeout: Literal["fail", "go_on"] = "fail",
    name: str | None = None,
) -> Node[S]:
    """Waits for events. An event that came earlier, within its ``keep``, counts too.

    - success: all (or any) of the events have arrived; their bodies are put into the state.
    - rejection: cannot happen.
    - exhaustion: cannot happen.
    - timeout: it fails like a step that timed out (compensation, past the pivot ``attention``), or with
      ``on_timeout="go_on"`` the flow continues without the events.
    - cancel: it ends at once; it takes no later events.
    - undo: there is nothing to undo.
    - an event is used by one wait of an instance: the one that has waited longest. Two waits for the same event and key
      need two events, whether these come before or after the waits start.
    - a wait that fails or is cancelled uses none of the events it received, and ``need="any"`` uses only the one that
      ended it: the others are kept for the instance's next wait.
    - a ``key`` that raises, a body that does not fit the model, or too many instances that wait for that event and key
      put the instance into ``attention``.

    Args:
        expected: made by ``expect``; one or more.
        timeout: how long to wait.
        need: whether all events are needed, or any one is enough.
        on_timeout: whether a timeout fails the wait or the flow continues.
        name: its identity; by default ``wait-`` and the first event's name.

    Raises:
        DefinitionError: nothing to wait for, or a timeout that is not positive.
    """
    if not expected:
        raise DefinitionError("a wait waits for nothing; give it expect(event, key=…)")
    for each in expected:
        check_is("what a wait waits for", each, Expected, "make it with expect(event, key=…)")
    found = node_name("wait", name or f"wait-{expected[0].event.name}")
    check_span(f"wait {found!r}: timeout", timeout)
    check_choice(f"wait {found!r}: need", need, ("all", "any"))
    check_choice(f"wait {found!r}: on_timeout", on_timeout, ("fail", "go_on"))
    return Wait(found, expected, WaitOptions(need=need, timeout=timeout, on_timeout=on_timeout))
