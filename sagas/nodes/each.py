"""``each``: splitter and aggregator over a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from ..given import check_call, check_count
from .base import Node, S_contra, check_saga, node_name

if TYPE_CHECKING:
    from ..saga import Saga

__all__ = ["Each", "EachOptions", "each"]

S = TypeVar("S", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class EachOptions(Generic[S_contra]):
    """How the collection is split and the results gathered; see ``each``."""

    of: Callable[[S_contra], Sequence[BaseModel]]
    gather: Callable[[Any, Any], BaseModel] | None
    concurrency: int
    tolerate: int


class Each(Node[S_contra]):
    """One saga per part; made by ``each``."""

    def __init__(self, name: str, part: Saga[Any], options: EachOptions[S_contra]) -> None:
        self.name, self.part, self.options = name, part, options

    @property
    def about(self) -> str:
        return self.part.name


def each(
    part: Saga[P],
    *,
    of: Callable[[S], Sequence[P]],
    gather: Callable[[S, P], S] | None = None,
    concurrency: int = 10,
    tolerate: int = 0,
    name: str | None = None,
) -> Node[S]:
    """Runs a saga for every part of a collection, several at once, and gathers their final states.

    Each part is an instance of its own, so the collection may be large: the parent only counts. ``of`` is called again
    whenever parts are started, so it must return the same parts in the same order. A part should be a reference (a
    file and a row number), not the content. For many parts, return a lazy sequence: only its length and the parts
    being started are read.

    - success: every part has ended and at most ``tolerate`` of them failed. An empty collection is done at once.
    - rejection: inside a part: the part compensates itself and counts as failed. With more than ``tolerate`` failed,
      no further part is started, running parts are cancelled, and the each fails like a step that may have happened.
    - exhaustion: inside a part: as a rejection.
    - timeout: inside a part: as a rejection; an each has no timeout of its own.
    - cancel: no further part is started and running parts are cancelled; when all have ended, the completed ones are
      compensated.
    - undo: every completed part is compensated, ``concurrency`` at once, from the last to the first. If one cannot be
      compensated, it ends in ``attention``.
    - past the pivot a failure ends in ``attention``, and completed parts stay; ``retry`` starts the failed and the
      cancelled parts again, each as a new instance.
    - a function that raises, or returns a wrong result, puts the instance into ``attention``.

    Args:
        part: the saga of one part; deployed together with the parent. It has no pivot, unless the each is past the
            parent's pivot.
        of: a pure function of the state that returns the first state of each part.
        gather: a pure function that adds a completed part's last state to the parent's state; parts come in any order.
        concurrency: how many parts run at once, at most 1,000.
        tolerate: how many parts may fail.
        name: its identity; by default the part's name.

    Raises:
        DefinitionError: a number out of its range, or an invalid name.
    """
    check_saga("the part of an each", part)
    found = node_name("each", name or part.name)
    check_call(f"each {found!r}: of", of)
    if gather is not None:
        check_call(f"each {found!r}: gather", gather)
    check_count(f"each {found!r}: concurrency", concurrency, 1, 1_000)
    check_count(f"each {found!r}: tolerate", tolerate, 0)
    return Each(found, part, EachOptions(of=of, gather=gather, concurrency=concurrency, tolerate=tolerate))
