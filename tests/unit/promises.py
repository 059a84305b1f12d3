"""Which test shows which row of a node's docstring: ``@shows("step", "success", "undo")``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["SHOWN", "shows"]

F = TypeVar("F", bound=Callable[..., object])

SHOWN: dict[tuple[str, str], list[str]] = {}
"""Node and row -> the names of the tests."""


def shows(node: str, *rows: str) -> Callable[[F], F]:
    """Puts a test on record."""

    def register(test: F) -> F:
        for row in rows:
            SHOWN.setdefault((node, row), []).append(test.__name__)
        return test

    return register
