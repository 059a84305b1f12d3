"""Writes what the docstrings of the language say into docs/nodes.md: ``make nodes``. A test holds the page to it."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

from sagaline.sagas import nodes
from sagaline.sagas.process_manager import ProcessManager
from sagaline.sagas.routing_slip import stop
from tests.repo.tree import ROOT

PAGE = ROOT / "docs" / "nodes.md"
ROWS = ("success", "rejection", "exhaustion", "timeout", "cancel", "undo")
"""What every docstring says of its node, in this order."""
PARTS = {"when", "expect"}
"""Functions of the language that make no node."""
NODES: dict[str, object] = {
    **{name: getattr(nodes, name) for name in nodes.__all__ if name.islower() and name not in PARTS},
    "pivot": nodes.Pivot,
    "ProcessManager": ProcessManager,
    "stop": stop,
}


class Said(NamedTuple):
    """What a docstring says: the six rows, and what else it says in a list."""

    rows: dict[str, str]
    notes: tuple[str, ...]


def said(docstring: str) -> Said:
    """The list of a docstring, read; continuation lines are joined."""
    rows: dict[str, str] = {}
    notes: list[str] = []
    for found in re.finditer(r"^- ((?:.+\n?)(?:  .+\n?)*)", docstring, re.M):
        text = " ".join(found[1].split()).replace("``", "`")
        label, colon, rest = text.partition(": ")
        if colon and label in ROWS:
            rows[label] = rest
        else:
            notes.append(text)
    return Said(rows, tuple(notes))


def said_of(name: str) -> Said:
    return said(inspect.getdoc(NODES[name]) or "")


def table(name: str) -> str:
    """The table of a node, and what else its docstring says."""
    found = said_of(name)
    lines = ["| | what happens |", "|---|---|", *(f"| {row} | {found.rows[row]} |" for row in ROWS)]
    return "\n".join([*lines, "", *(f"- {note}" for note in found.notes)]).rstrip() + "\n"


def written(page: str) -> str:
    """The page with every table as it must be."""
    for name in NODES:
        page, count = re.subn(
            rf"(<!-- {name}: written by `make nodes` -->\n).*?(<!-- end -->)",
            lambda found, name=name: f"{found[1]}{table(name)}{found[2]}",  # type: ignore[misc]  # bound at once
            page,
            flags=re.S,
        )
        assert count == 1, f"{PAGE.name} has {count} places for the table of {name}; give it one"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
