"""``choose``: the content-based router."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from ..errors import DefinitionError
from ..given import check_call, check_is, check_text
from .base import Branch, Node, S_contra, node_name, nodes_of

__all__ = ["OTHERWISE", "Choose", "When", "choose", "when"]

S = TypeVar("S", bound=BaseModel)

OTHERWISE: Final = "otherwise"


@dataclass(frozen=True, kw_only=True)
class When(Generic[S_contra]):
    """One case of a ``choose``; made by ``when``."""

    label: str
    predicate: Callable[[S_contra], bool]
    nodes: tuple[Node[S_contra], ...]


def when(predicate: Callable[[S], bool], *nodes: Node[S], name: str | None = None) -> When[S]:
    """A case of a ``choose``: its nodes run when its predicate is the first that is true for the state.

    Args:
        predicate: a pure function of the state.
        nodes: one or more.
        name: its label in histories; by default the name of its first node.

    Raises:
        DefinitionError: no node.
    """
    check_call("the predicate of a case of a choose", predicate)
    found = nodes_of("a case of a choose", nodes)
    if name is not None:
        check_text("the name of a case of a choose", name)
    return When(label=name or found[0].name, predicate=predicate, nodes=found)


class Choose(Node[S_contra]):
    """One of several cases; made by ``choose``."""

    def __init__(self, name: str, cases: tuple[When[S_contra], ...], otherwise: tuple[Node[S_contra], ...]) -> None:
        self.name, self.cases, self.otherwise = name, cases, otherwise

    @property
    def branches(self) -> tuple[Branch[Any], ...]:
        cases = tuple(Branch[Any](label=case.label, nodes=case.nodes) for case in self.cases)
        return (*cases, Branch(label=OTHERWISE, nodes=self.otherwise)) if self.otherwise else cases


def choose(*cases: When[S], otherwise: Node[S] | Sequence[Node[S]] | None, name: str | None = None) -> Node[S]:
    """Runs the first case whose predicate is true; the choice is stored and does not change with the state.

    - success: the nodes of the case are done. With no case true and ``otherwise=None`` the flow continues at once.
    - rejection: as for the nodes of the case.
    - exhaustion: as for the nodes of the case.
    - timeout: as for the nodes of the case.
    - cancel: as for the nodes of the case.
    - undo: as for the nodes of the case; the choice itself has nothing to undo.
    - a predicate that raises, or does not return a bool, puts the instance into ``attention``; fix it, redeploy, then
      ``retry`` calls it again.

    Args:
        cases: made by ``when``; one or more.
        otherwise: the nodes that run when no case is true; None: nothing.
        name: its identity; by default ``choose-`` and the label of the first case.

    Raises:
        DefinitionError: no case, or two cases with the same label.
    """
    if not cases:
        raise DefinitionError("a choose has no case; give it when(predicate, node)")
    for case in cases:
        check_is("a case of a choose", case, When, "make it with when(predicate, node)")
    labels = [case.label for case in cases]
    for label in labels:
        if labels.count(label) > 1 or label == OTHERWISE:
            raise DefinitionError(f"a choose has more than one case {label!r}; give each its own: when(…, name='…')")
    rest = () if otherwise is None else nodes_of("otherwise of a choose", otherwise)
    return Choose(node_name("choose", name or f"choose-{labels[0]}"), cases, rest)
