"""Places: the names of nodes within one instance. In a loop a node has one place per round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...sagas.nodes import Loop

if TYPE_CHECKING:
    from ...sagas.nodes import Node
    from ...sagas.tree import Tree

__all__ = ["around", "name_of", "place_of", "rounds_of"]


def place_of(name: str, rounds: tuple[int, ...]) -> str:
    """``poll`` outside of loops, ``poll@3`` in the third round, ``poll@3.2`` in round 2 of a loop inside it."""
    return f"{name}@{'.'.join(map(str, rounds))}" if rounds else name


def name_of(place: str) -> str:
    """The name of the node."""
    return place.partition("@")[0]


def rounds_of(place: str) -> tuple[int, ...]:
    """The rounds of the loops around a place, outermost first."""
    rounds = place.partition("@")[2]
    return tuple(map(int, rounds.split("."))) if rounds else ()


def around(tree: Tree, place: str) -> list[tuple[Node[Any], str, str]]:
    """The nodes around a place of a flow, outermost first: node, its own place, and the label of the branch."""
    rounds, depth, found = rounds_of(place), 0, []
    for node, label in tree[name_of(place)].path:
        found.append((node, place_of(node.name, rounds[:depth]), label))
        depth += isinstance(node, Loop)
    return found
