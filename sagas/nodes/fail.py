"""``fail``: the flow itself ends with a business rejection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from ..given import check_text
from .base import Node, S_contra, node_name

__all__ = ["Fail", "fail"]

S = TypeVar("S", bound=BaseModel)


class Fail(Node[S_contra]):
    """A business rejection of the flow itself; made by ``fail``."""

    def __init__(self, name: str, code: str, reason: str | Callable[[S_contra], str]) -> None:
        self.name, self.code, self.reason = name, code, reason


def fail(code: str, *, reason: str | Callable[[S], str], name: str | None = None) -> Node[S]:
    """Fails the flow with a business rejection, as if a step had been rejected: when a person or the state decides so.

    - success: cannot happen.
    - rejection: compensation starts at once, with the code and the reason as its cause; in a branch that its
      ``parallel`` can spare, only the branch is dropped.
    - exhaustion: cannot happen.
    - timeout: cannot happen.
    - cancel: cannot happen: it takes no time.
    - undo: there is nothing to undo.
    - a ``reason`` that raises, or does not return a string, puts the instance into ``attention``.

    Args:
        code: a short word for programs, such as ``not_approved``.
        reason: a sentence for people, or a pure function of the state that returns it.
        name: its identity; by default ``fail-`` and the code, with ``-`` for ``_``.

    Raises:
        DefinitionError: no code or reason, or an invalid name; in a flow: it is past the pivot, where nothing is undone
            any more, or before nodes that could then never run.
    """
    check_text("the code of a fail", code)
    if not callable(reason):
        check_text(f"fail {code!r}: reason", reason)
    return Fail(node_name("fail", name or f"fail-{code.replace('_', '-')}"), code, reason)
