"""The place of each node in a flow, by name, with the branches around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import DefinitionError
from .nodes import Node, Parallel, Pivot

__all__ = ["Spot", "Tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A node's place: ``path`` lists, outermost first, each enclosing node and the label of the branch."""

    node: Node[Any]
    path: tuple[tuple[Node[Any], str], ...]
    past_pivot: bool


class Tree:
    """All nodes of a flow by name, in the order in which they are written.

    Raises:
        DefinitionError: two nodes share a name, or there is more than one pivot.
    """

    def __init__(self, where: str, flow: Sequence[Node[Any]]) -> None:
        self._spots: dict[str, Spot] = {}
        self._where = where
        self._past = False
        self._add(flow, ())
        self._order = {name: number for number, name in enumerate(self._spots)}
        del self._past
        self.forks = any(isinstance(spot.node, Parallel) for spot in self)
        """True when a branch can be dropped while the flow continues."""

    def __iter__(self) -> Iterator[Spot]:
        return iter(self._spots.values())

    def __contains__(self, name: str) -> bool:
        return name in self._spots

    def __getitem__(self, name: str) -> Spot:
        return self._spots[name]

    def meeting(self, one: str, other: str) -> tuple[Node[Any], str, str] | None:
        """The innermost node that contains both in different branches, and the two labels."""
        for (node, label), (_, other_label) in zip(self._spots[one].path, self._spots[other].path, strict=False):
            if label != other_label:
                return node, label, other_label
        return None

    def from_on(self, start: str, name: str) -> bool:
        """True when a node is ``start`` or is written after it."""
        return self._order[name] >= self._order[start]

    def _add(self, nodes: Sequence[Node[Any]], path: tuple[tuple[Node[Any], str], ...]) -> None:
        for node in nodes:
            if isinstance(node, Pivot):
                self._past = True
            if node.name in self._spots:
                raise self._double(node)
            self._spots[node.name] = Spot(node=node, path=path, past_pivot=self._past)
            for branch in node.branches:
                self._add(branch.nodes, (*path, (node, branch.label)))

    def _double(self, node: Node[Any]) -> DefinitionError:
        if isinstance(node, Pivot):
            return DefinitionError(f"{self._where}: there are two pivots; a flow has at most one")
        return DefinitionError(
            f"{self._where}: two nodes are called {node.name!r}; names are the identity of a running instance, "
            f"give each its own: name='…'"
        )
