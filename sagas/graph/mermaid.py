"""A graph as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html)."""

from __future__ import annotations

from collections.abc import Iterator

from .model import Edge, Graph, Group, Kind, Vertex

__all__ = ["as_mermaid"]

_SHAPES: dict[Kind, tuple[str, str]] = {
    "start": ("([", "])"),
    "end": ("([", "])"),
    "step": ("[", "]"),
    "undo": ("[/", "/]"),
    "choice": ("{", "}"),
    "loop": ("{", "}"),
    "fork": ("[[", "]]"),
    "join": ("((", "))"),
    "wait": ("{{", "}}"),
    "event": (">", "]"),
    "sleep": ("(", ")"),
    "ask": ("[\\", "/]"),
    "fail": ("([", "])"),
    "pivot": ("[[", "]]"),
    "phase": ("(", ")"),
    "handler": ("[", "]"),
}
_CLASSES = {
    "undo": "stroke-dasharray:4",
    "pivot": "stroke-width:4px",
    "done": "fill:#c8e6c9,stroke:#2e7d32,color:#000",
    "running": "fill:#fff3c4,stroke:#b28704,color:#000",
    "undone": "fill:#e1d5f0,stroke:#5e35b1,color:#000",
    "failed": "fill:#ffcdd2,stroke:#c62828,color:#000",
    "dropped": "fill:#eeeeee,stroke:#757575,color:#000",
    "to-come": "fill:#ffffff,stroke:#9e9e9e,color:#000",
}


def as_mermaid(graph: Graph) -> str:
    """The text of the diagram; the same graph always gives the same text."""
    used = {name for vertex in graph.vertices for name in _classes(vertex)}
    classes = [f"    classDef {name} {style}" for name, style in _CLASSES.items() if name in used]
    edges = [f"    {_edge(edge)}" for edge in graph.edges]
    return "\n".join(["flowchart TD", *_inside(graph.root, "    "), *edges, *classes]) + "\n"


def _inside(group: Group, indent: str) -> Iterator[str]:
    for vertex in group.vertices:
        before, after = _SHAPES[vertex.kind]
        named = "".join(f":::{name}" for name in _classes(vertex))
        yield f'{indent}{vertex.id}{before}"{_label(vertex)}"{after}{named}'
    for inner in group.groups:
        yield f'{indent}subgraph {inner.id}["{_escaped(inner.title)}"]'
        yield from _inside(inner, f"{indent}    ")
        yield f"{indent}end"


def _classes(vertex: Vertex) -> list[str]:
    if vertex.status:
        return [vertex.status.replace(" ", "-")]
    return [vertex.kind] if vertex.kind in _CLASSES else []


def _label(vertex: Vertex) -> str:
    lines = [vertex.title, *vertex.lines, *([vertex.note] if vertex.note else [])]
    return "<br>".join(_escaped(line) for line in lines if line) or " "


def _edge(edge: Edge) -> str:
    if edge.undo:
        return f"{edge.source} -.-> {edge.target}"
    label = f'|"{_escaped(edge.label)}"|' if edge.label else ""
    return f"{edge.source} -->{label} {edge.target}"


def _escaped(text: str) -> str:
    """Escapes characters that would end a quoted label or be read as HTML, by Mermaid's entity codes."""
    return "".join(f"#{ord(each)};" if each in '"<>#;&\\`' or ord(each) < 32 else each for each in text)
