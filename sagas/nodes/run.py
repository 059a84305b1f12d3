"""``run``: a child saga, run and undone as one unit."""

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

    - success: the child is ``completed``; its last state is put into the parent's state.
    - rejection: inside the child: the child compensates itself, and the run then counts as rejected; nothing of
      it is left to undo.
    - exhaustion: inside the child: as a rejection.
    - timeout: inside the child: as a rejection. Of the run itself: the child is cancelled, and when it has ended the
      run fails like a step that timed out.
    - cancel: the child and its own children are cancelled, and the parent waits for their end.
    - undo: a completed child is compensated as a unit. A child with a pivot cannot be compensated, so it may only run
      past the parent's pivot.
    - the child in ``attention``: the parent waits until an operator has resolved it. When the child is abandoned, the
      run fails, and its undo needs an operator.
    - past the pivot a failure ends in ``attention``; ``retry`` starts another child.
    - a function that raises, or returns a wrong result, puts the instance into ``attention``.

    Args:
        child: the child saga; deployed together with the parent.
        input: a pure function of the parent's state that returns the child's first state.
        into: the field of the parent's state that takes the child's last state.
        timeout: how long the child may take; None: no limit.
        name: its identity; by default the child's name.

    Raises:
        DefinitionError: a timeout that is not positive, or an invalid name.
    """
    check_saga("the child of a run", child)
    check_call("the input of a run", input)
    found = node_name("run", name or child.name)
    check_into(f"run {found!r}", into)
    if timeout is not None:
        check_span(f"run {found!r}: timeout", timeout)
    return Child(found, child, input, into, timeout)
