"""Statements of ``ctx.execute``: question marks become the driver's own parameters. Pure."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import TextClause, text

from ..inbox import Statement

__all__ = ["as_clause"]

_PARTS = re.compile(
    r"""
    '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$(\w*)\$.*?\$\1\$   # nothing counts in these
    | (?P<mark>\?) | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)


def as_clause(statement: Statement) -> tuple[TextClause, dict[str, Any]]:
    """The statement for every driver, and its parameters by name.

    Raises:
        ValueError: more than one statement, or another number of parameters than of question marks.
    """
    sql, parameters = statement
    names: list[str] = []

    def mark(found: re.Match[str]) -> str:
        if found["mark"] is None:
            return found[0].replace(":", r"\:")
        names.append(f"p{len(names)}")
        return f":{names[-1]}"

    ends = [found.end() for found in _PARTS.finditer(sql) if found["end"] is not None]
    if ends and sql[ends[0] :].strip():
        raise ValueError("two statements in one; give each to a ctx.execute of its own")
    written, at = "", 0
    for found in _PARTS.finditer(sql):
        written += sql[at : found.start()].replace(":", r"\:") + mark(found)
        at = found.end()
    written += sql[at:].replace(":", r"\:")
    if len(names) != len(parameters):
        raise ValueError(f"it has {len(names)} question marks and {len(parameters)} parameters; give one for each")
    return text(written), dict(zip(names, parameters, strict=True))
