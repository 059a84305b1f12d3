"""``loop``: repeat while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from ..given import check_call, check_count
from .base import Branch, Node, S_contra, node_name, nodes_of

__all__ = ["Loop", "loop"]

S = TypeVar("S", bound=BaseModel)


class Loop(Node[S_contra]):
    """Nodes that run again and again; made by ``loop``."""

    def __init__(
        self, name: str, nodes: tuple[Node[S_contra], ...], predicate: Callable[[S_contra], bool], rounds_max: int
    ) -> None:
        self.name, self.nodes, self.predicate, self.rounds_max = name, nodes, predicate, rounds_max

    @property
    def branches(self) -> tuple[Branch[Any], ...]:
        return (Branch(label="round", nodes=self.nodes),)


def loop(*nodes: Node[S], while_: Callable[[S], bool], rounds_max: int = 100, name: str | None = None) -> Node[S]:
    """Runs its nodes as long as the predicate is true of the state; it is asked before each round, also the first.

    Each round's steps are steps of their own: ``poll`` of the third round is ``poll@3``, with its own effect key.

    - success: the predicate is false.
    - business no: as its nodes say.
    - exhaustion: as its nodes say. A round too many (``rounds_max`` done and the predicate still true): the loop fails
      as an exhausted step does (compensation, past the pivot ``attention``; ``retry`` allows as many rounds again).
    - timeout: as its nodes say; a loop has none of its own.
    - cancel: as its nodes say; no further round begins.
    - undo: every round, in reverse order of completion.
    - a predicate that raises, or gives no truth, puts the instance into ``attention``.

    Args:
        nodes: one or more.
        while_: a pure function of the state.
        rounds_max: the bound that every loop has.
        name: its identity; by default ``loop-`` and the name of its first node.

    Raises:
        DefinitionError: no node, or a bound below 1.
    """
    found = nodes_of("a loop", nodes)
    check_call("while_ of a loop", while_)
    check_count("rounds_max of a loop", rounds_max, 1)
    return Loop(node_name("loop", name or f"loop-{found[0].name}"), found, while_, rounds_max)
