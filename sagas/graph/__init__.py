"""A definition as a diagram: one graph, rendered as Mermaid, DOT or JSON."""

from .build import graph_of
from .dot import as_dot
from .format import Format, as_text
from .mermaid import as_mermaid
from .model import Edge, Graph, Group, Mark, Vertex, as_json, marked

__all__ = [
    "Edge",
    "Format",
    "Graph",
    "Group",
    "Mark",
    "Vertex",
    "as_dot",
    "as_json",
    "as_mermaid",
    "as_text",
    "graph_of",
    "marked",
]
