"""The graph behind every diagram: vertices in groups, and edges between vertices.

Ids are ``n1``, ``n2`` … in the order of drawing, so the same definition always gives the same text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeAlias

from pydantic import JsonValue

__all__ = ["Edge", "Graph", "Group", "Kind", "Mark", "Status", "Vertex", "as_json", "marked"]

Kind: TypeAlias = Literal[
    "start",
    "end",
    "step",
    "undo",
    "choice",
    "loop",
    "fork",
    "join",
    "wait",
    "event",
    "sleep",
    "ask",
    "fail",
    "pivot",
    "phase",
    "handler",
]
Status: TypeAlias = Literal["done", "running", "undone", "failed", "dropped", "to come"]


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """``name`` is the node's name, empty when the vertex is not a node; ``lines`` are details; ``status`` and ``note``
    belong to a live instance.
    """

    id: str
    kind: Kind
    name: str
    title: str
    lines: tuple[str, ...] = ()
    status: Status | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """``undo``: the edge leads from a step to its undo."""

    source: str
    target: str
    label: str = ""
    undo: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """Vertices that belong together: a parallel, a loop, a child."""

    id: str
    title: str
    vertices: tuple[Vertex, ...]
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One definition. ``root`` holds the vertices that are in no group."""

    definition: str
    version: int
    root: Group
    edges: tuple[Edge, ...]

    @property
    def vertices(self) -> list[Vertex]:
        """All vertices, those in groups included."""
        return _all(self.root)


def _all(group: Group) -> list[Vertex]:
    return [*group.vertices, *(vertex for inner in group.groups for vertex in _all(inner))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The status of a node in a live instance; ``note`` such as ``7 of 10``; ``undo``: the status of its undo."""

    status: Status
    note: str = ""
    undo: Status | None = None


def marked(graph: Graph, marks: Mapping[str, Mark], *, others: Status) -> Graph:
    """The graph with the statuses of a live instance: marks by node name. Nodes without a mark get ``others``."""

    def mark(vertex: Vertex) -> Vertex:
        if not vertex.name:
            return vertex
        found = marks.get(vertex.name)
        if vertex.kind == "undo":
            return replace(vertex, status=found.undo if found else None)
        return replace(vertex, status=found.status if found else others, note=found.note if found else "")

    def walk(group: Group) -> Group:
        return replace(group, vertices=tuple(map(mark, group.vertices)), groups=tuple(map(walk, group.groups)))

    return replace(graph, root=walk(graph.root))


def as_json(graph: Graph) -> dict[str, JsonValue]:
    """The graph as JSON values."""
    found: dict[str, JsonValue] = asdict(graph)
    return found
