"""Builds a graph: assigns ids, opens and closes groups, adds edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

from ..nodes import Step
from .model import Edge, Graph, Group, Kind, Vertex

__all__ = ["Ends", "Sketch", "span"]

Ends: TypeAlias = list[tuple[str, str]]
"""Open edges: for each the source vertex and the label; the target is not known yet."""


class Sketch:
    """A graph that is being built."""

    def __init__(self) -> None:
        self._count = 0
        self._edges: list[Edge] = []
        self._open: list[tuple[str, str, list[Vertex], list[Group]]] = [("all", "", [], [])]

    def vertex(self, kind: Kind, name: str, title: str, *lines: str) -> str:
        """Adds a vertex to the innermost open group; returns its id."""
        self._count += 1
        id = f"n{self._count}"
        self._open[-1][2].append(Vertex(id=id, kind=kind, name=name, title=title, lines=lines))
        return id

    def add_line(self, id: str, line: str) -> None:
        """Adds a line to a vertex of the innermost open group."""
        vertices = self._open[-1][2]
        found = next(index for index, vertex in enumerate(vertices) if vertex.id == id)
        vertices[found] = replace(vertices[found], lines=(*vertices[found].lines, line))

    def step(self, step: Step[Any], name: str) -> str:
        """Adds a step and its undo; returns the step's id."""
        options = step.options
        attempts = "1 attempt" if options.retry.max_attempts == 1 else f"{options.retry.max_attempts} attempts"
        lines = [f"{step.contract.name} → {step.contract.queue}", f"within {span(options.timeout)}, {attempts}"]
        lines += [f"locks {options.locks}"] if options.locks else []
        lines += ["read only"] if options.read_only else []
        vertex = self.vertex("step", name, step.name, *lines)
        if step.compensation is not None:
            contract = step.compensation.contract
            undo = self.vertex("undo", name, f"undo {step.name}", f"{contract.name} → {contract.queue}")
            self._edges.append(Edge(source=vertex, target=undo, undo=True))
        return vertex

    def join(self, ends: Sequence[tuple[str, str]], target: str) -> None:
        """Draws an edge from each open end to the target; equal edges are drawn once."""
        for source, label in ends:
            edge = Edge(source=source, target=target, label=label)
            if edge not in self._edges:
                self._edges.append(edge)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A new group: vertices added inside the block belong to it."""
        self._count += 1
        self._open.append((f"g{self._count}", title, [], []))
        try:
            yield
        finally:
            id, title, vertices, groups = self._open.pop()
            self._open[-1][3].append(Group(id=id, title=title, vertices=tuple(vertices), groups=tuple(groups)))

    def graph(self, definition: str, version: int) -> Graph:
        """The finished graph."""
        id, title, vertices, groups = self._open[0]
        root = Group(id=id, title=title, vertices=tuple(vertices), groups=tuple(groups))
        return Graph(definition=definition, version=version, root=root, edges=tuple(self._edges))


def span(length: timedelta) -> str:
    """A span in the largest whole unit: ``90 s``, ``5 min``, ``1 h``, ``2 d``."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
