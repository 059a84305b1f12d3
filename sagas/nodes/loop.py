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
    """Nodes that are repeated; made by ``loop``."""

    def __init__(
        self, name: str, nodes: tuple[Node[S_contra], ...], predicate: Callable[[S_contra], bool], rounds_max: int
    ) -> None:
        self.name, self.nodes, self.predicate, self.rounds_max = name, nodes, predicate, rounds_max

    @property
    def branches(self) -> tuple[Branch[Any], ...]:
        return (Branch(label="round", nodes=self.nodes),)


def loop(*nodes: Node[S], while_: Callable[[S], bool], rounds_max: int = 100, name: str | None = None) -> Node[S]:
    """Repeats its nodes while the predicate is true; it is evaluated before each round, also before the first.

    The steps of each round are separate steps: ``poll`` of the third round is ``poll@3``, with its own effect key.

    - success: the predicate is false.
    - rejection: as for its nodes.
    - exhaustion: as for its nodes. With ``rounds_max`` rounds done and the predicate still true, the loop fails like a
      step whose attempts are used up (compensation, past the pivot ``attention``; ``retry`` allows as many rounds
      again).
    - timeout: as for its nodes; a loop has no timeout of its own.
    - cancel: as for its nodes; no further round starts.
    - undo: every round, in reverse order of completion.
    - a predicate that raises, or does not return a bool, puts the instance into ``attention``.

    Args:
        nodes: one or more.
        while_: a pure function of the state.
        rounds_max: the largest number of rounds, 1 or more.
        name: its identity; by default ``loop-`` and the name of its first node.

    Raises:
        DefinitionError: no node, or ``rounds_max`` below 1.
    """
    found = nodes_of("a loop", nodes)
    check_call("while_ of a loop", while_)
    check_count("rounds_max of a loop", rounds_max, 1)
    return Loop(node_name("loop", name or f"loop-{found[0].name}"), found, while_, rounds_max)
