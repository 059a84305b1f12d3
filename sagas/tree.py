"""Where each node of a flow stands: found by name, with the branches it lies in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import DefinitionError
from .nodes import Node, Parallel, Pivot

__all__ = ["Spot", "Tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A node's place: ``path`` holds, outermost first, each node around it and the label of the branch it is in."""

    node: Node[Any]
    path: tuple[tuple[Node[Any], str], ...]
    past_pivot: bool


class Tree:
    """Every node of a flow by name, in the order in which they are written.

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
        """True when a branch can be lost while the flow goes on."""

    def __iter__(self) -> Iterator[Spot]:
        return iter(self._spots.values())

    def __contains__(self, name: str) -> bool:
        return name in self._spots

    def __getitem__(self, name: str) -> Spot:
        return self._spots[name]

    def meeting(self, one: str, other: str) -> tuple[Node[Any], str, str] | None:
        """The innermost node around both in whose different branches they lie, and the two labels."""
        for (node, label), (_, other_label) in zip(self._spots[one].path, self._spots[other].path, strict=False):
            if label != other_label:
                return node, label, other_label
        return None

    def from_on(self, start: str, name: str) -> bool:
        """True when a node is ``start`` or is written behind it."""
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
