"""A graph in the DOT language of Graphviz (https://graphviz.org/doc/info/lang.html)."""

from __future__ import annotations

from collections.abc import Iterator

from .model import Edge, Graph, Group, Kind, Status, Vertex

__all__ = ["as_dot"]

_SHAPES: dict[Kind, str] = {
    "start": "oval",
    "end": "oval",
    "step": "box",
    "undo": "parallelogram",
    "choice": "diamond",
    "loop": "diamond",
    "fork": "component",
    "join": "circle",
    "wait": "hexagon",
    "event": "cds",
    "sleep": "ellipse",
    "ask": "trapezium",
    "fail": "octagon",
    "pivot": "doubleoctagon",
    "phase": "ellipse",
    "handler": "note",
}
_FILLS: dict[Status, str] = {
    "done": "#c8e6c9",
    "running": "#fff3c4",
    "undone": "#e1d5f0",
    "failed": "#ffcdd2",
    "dropped": "#eeeeee",
    "to come": "#ffffff",
}


def as_dot(graph: Graph) -> str:
    """The text of the diagram; the same graph always gives the same text."""
    title = _quoted(f"{graph.definition} version {graph.version}")
    edges = [f"    {_edge(edge)}" for edge in graph.edges]
    return "\n".join([f"digraph {title} {{", *_inside(graph.root, "    "), *edges, "}"]) + "\n"


def _inside(group: Group, indent: str) -> Iterator[str]:
    for vertex in group.vertices:
        yield f"{indent}{vertex.id} [{_attributes(vertex)}];"
    for inner in group.groups:
        yield f"{indent}subgraph cluster_{inner.id} {{"
        yield f"{indent}    label={_quoted(inner.title)};"
        yield from _inside(inner, f"{indent}    ")
        yield f"{indent}}}"


def _attributes(vertex: Vertex) -> str:
    lines = [vertex.title, *vertex.lines, *([vertex.note] if vertex.note else [])]
    fill = f', style=filled, fillcolor="{_FILLS[vertex.status]}"' if vertex.status is not None else ""
    dashed = ", style=dashed" if vertex.kind == "undo" and not fill else ""
    return f"shape={_SHAPES[vertex.kind]}, label={_quoted(chr(10).join(filter(None, lines)))}{fill}{dashed}"


def _edge(edge: Edge) -> str:
    if edge.undo:
        return f"{edge.source} -> {edge.target} [style=dotted, constraint=false];"
    return f"{edge.source} -> {edge.target}{f' [label={_quoted(edge.label)}]' if edge.label else ''};"


def _quoted(text: str) -> str:
    found = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{found}"'
