"""The output formats of a graph."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from pydantic_core import to_json

from .dot import as_dot
from .mermaid import as_mermaid
from .model import Graph, as_json

__all__ = ["Format", "as_text"]


class Format(StrEnum):
    """An output format."""

    MERMAID = "mermaid"
    DOT = "dot"
    JSON = "json"


def as_text(graph: Graph, format: Format) -> str:
    """The graph in that format; the text ends with a newline."""
    match format:
        case Format.MERMAID:
            return as_mermaid(graph)
        case Format.DOT:
            return as_dot(graph)
        case Format.JSON:
            return to_json(as_json(graph)).decode() + "\n"
        case _:
            assert_never(format)
