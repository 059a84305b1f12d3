"""``route``: the dynamic router; its table can be changed while flows run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from ..contract import check_name
from ..errors import DefinitionError
from ..given import check_call, check_is, check_text
from .base import Branch, Node, S_contra, node_name, nodes_of

__all__ = ["Facts", "Route", "route"]

S = TypeVar("S", bound=BaseModel)

Facts: TypeAlias = Mapping[str, str | int | float | bool | None]
"""The values that the rules of a table are matched against."""


class Route(Node[S_contra]):
    """A branch that is looked up at run time; made by ``route``."""

    def __init__(
        self,
        name: str,
        table: str,
        by: Callable[[S_contra], Facts],
        to: tuple[Branch[S_contra], ...],
        otherwise: str | None,
    ) -> None:
        self.name, self.table, self.by, self.otherwise = name, table, by, otherwise
        self._branches = to

    @property
    def about(self) -> str:
        return self.table

    @property
    def branches(self) -> tuple[Branch[Any], ...]:
        return self._branches


def route(
    table: str,
    *,
    by: Callable[[S], Facts],
    to: Mapping[str, Node[S] | Sequence[Node[S]]],
    otherwise: str | None,
    name: str | None = None,
) -> Node[S]:
    """Looks up in a table which branch runs; the table can be changed at any time, by the API and the command line.

    A table is a list of rules; the first rule that matches the facts decides. An instance stores the version of the
    table that routed it: a later change does not affect it.

    - success: the nodes of the branch are done. When no rule matches, or the table does not exist yet, ``otherwise``
      runs; with None the flow continues at once.
    - rejection: as for the nodes of the branch.
    - exhaustion: as for the nodes of the branch.
    - timeout: as for the nodes of the branch; the lookup itself always gets an answer.
    - cancel: as for the nodes of the branch; before the table has answered it ends at once.
    - undo: as for the nodes of the branch; the lookup itself has nothing to undo.
    - a rule that names a branch which is not declared here puts the instance into ``attention``; ``retry`` looks it up
      again.
    - a ``by`` that raises, or does not return facts, puts the instance into ``attention``.

    Args:
        table: its name; several flows may share it.
        by: a pure function of the state that returns the facts for the rules.
        to: the branches that rules may name.
        otherwise: the branch that runs when no rule matches.
        name: its identity; by default ``route-`` and the table's name.

    Raises:
        DefinitionError: no branch, or an ``otherwise`` that is not one of them.
    """
    check_name("table", table)
    check_call(f"route by table {table!r}: by", by)
    check_is(f"route by table {table!r}: to", to, Mapping, "give to={'name': node}")
    if otherwise is not None:
        check_text(f"route by table {table!r}: otherwise", otherwise)
    if not to:
        raise DefinitionError(f"route by table {table!r} has no branch; give it to={{'name': node}}")
    if otherwise is not None and otherwise not in to:
        raise DefinitionError(
            f"route by table {table!r}: otherwise={otherwise!r} is not one of its branches {', '.join(to)}; name one"
        )
    branches = []
    for label, nodes in to.items():
        check_name("branch", label)
        branches.append(Branch(label=label, nodes=nodes_of(f"branch {label!r} of a route", nodes)))
    return Route(node_name("route", name or f"route-{table}"), table, by, tuple(branches), otherwise)
