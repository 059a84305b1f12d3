"""``run``: a child saga, done and undone as one unit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from ..given import check_call, check_span
from .base import Node, S_contra, check_into, check_saga, node_name

if TYPE_CHECKING:
    from ..saga import Saga

__all__ = ["Child", "run"]

S = TypeVar("S", bound=BaseModel)
K = TypeVar("K", bound=BaseModel)


class Child(Node[S_contra]):
    """A child saga; made by ``run``."""

    def __init__(
        self,
        name: str,
        child: Saga[Any],
        input: Callable[[S_contra], BaseModel],
        into: str | None,
        timeout: timedelta | None,
    ) -> None:
        self.name, self.child, self.input, self.into, self.timeout = name, child, input, into, timeout

    @property
    def kind(self) -> str:
        return "run"

    @property
    def about(self) -> str:
        return self.child.name


def run(
    child: Saga[K],
    input: Callable[[S], K],
    *,
    into: str | None = None,
    timeout: timedelta | None = None,
    name: str | None = None,
) -> Node[S]:
    """Starts an instance of another saga and waits for its end.

    - success: the child is ``completed``; its last state is in ours.
    - business no: inside the child: it compensates itself and then counts as a business no here; there is nothing left
      of it to undo.
    - exhaustion: inside the child: as business no.
    - timeout: inside the child: as business no. Of the run itself: the child is cancelled, and when it has ended this
      fails as a step does that timed out.
    - cancel: the child is cancelled, however deep, and its end is waited for.
    - undo: a completed child is compensated as a unit. One that is past its own pivot cannot be; hence such a child may
      only stand past our pivot.
    - the child in ``attention``: we wait until its operator has closed it. Abandoned: it fails, and its undo needs an
      operator.
    - past the pivot what fails ends in ``attention``; ``retry`` starts another child.
    - a function that raises, or gives a wrong result, puts the instance into ``attention``.

    Args:
        child: its definition; it is deployed with ours.
        input: a pure function of our state that gives the child's first state.
        into: the field of our state that takes the child's last state.
        timeout: how long the child may take; None: as long as it does.
        name: its identity; by default the child's name.

    Raises:
        DefinitionError: a timeout that is not positive, a name that cannot travel.
    """
    check_saga("the child of a run", child)
    check_call("the input of a run", input)
    found = node_name("run", name or child.name)
    check_into(f"run {found!r}", into)
    if timeout is not None:
        check_span(f"run {found!r}: timeout", timeout)
    return Child(found, child, input, into, timeout)
