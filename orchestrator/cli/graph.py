"""``saga graph``: diagrams of definitions, from their code; a live instance on its definition, from the API."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from ...sagas.definition import Definition
from ...sagas.graph import Format, as_text, graph_of
from .errors import Mistake
from .loading import load
from .options import Remote
from .paths import instance_path
from .remote import request

__all__ = ["draw_definitions", "draw_instance"]


def draw_definitions(references: Sequence[str], name: str | None, format: Format) -> None:
    """Prints the graphs of the referenced definitions, or of one of them.

    Raises:
        Mistake: there is no such definition.
    """
    loaded = load(references, Definition)
    found = [each for each in loaded if name in (None, each.name)]
    if not found:
        names = ", ".join(each.name for each in loaded)
        raise Mistake(f"there is no definition {name!r} in {' '.join(references)}; there are {names}")
    typer.echo("\n".join(as_text(graph_of(each), format) for each in found), nl=False)


def draw_instance(remote: Remote, instance: str, format: Format) -> None:
    """Prints the graph of an instance.

    Raises:
        Failure, Unreachable, Mistake: as ``request``.
    """
    _, answer = request(remote, "GET", f"{instance_path(instance)}/graph", query={"format": format.value})
    typer.echo(answer["text"], nl=False)
