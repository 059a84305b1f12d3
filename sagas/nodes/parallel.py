"""``parallel``: fan-out and fan-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel

from ..errors import DefinitionError
from ..given import check_choice
from .base import Branch, Node, S_contra, node_name, nodes_of

__all__ = ["Need", "Parallel", "ParallelOptions", "Rest", "parallel"]

S = TypeVar("S", bound=BaseModel)

Need: TypeAlias = Literal["all", "any"] | int
Rest: TypeAlias = Literal["undo", "finish"]


@dataclass(frozen=True, kw_only=True)
class ParallelOptions:
    """How a parallel joins; see ``parallel``. ``need`` is a number of branches."""

    need: int
    rest: Rest
    undo: Literal["reverse", "parallel"]


class Parallel(Node[S_contra]):
    """Several branches at once; made by ``parallel``."""

    def __init__(self, name: str, branches: tuple[Branch[S_contra], ...], options: ParallelOptions) -> None:
        self.name, self.options = name, options
        self._branches = branches

    @property
    def branches(self) -> tuple[Branch[Any], ...]:
        return self._branches


def parallel(
    *branches: Node[S] | Sequence[Node[S]],
    need: Need = "all",
    rest: Rest = "undo",
    undo: Literal["reverse", "parallel"] = "reverse",
    name: str | None = None,
) -> Node[S]:
    """Runs branches in parallel and continues when enough of them are done.

    - success: with ``need`` branches done the flow continues. ``rest`` declares what happens to the other branches.
    - rejection: in a branch: the branch is dropped and undone at once. The flow fails only when too few branches are
      left; then it fails as the branch did.
    - exhaustion: in a branch: as a rejection.
    - timeout: in a branch: as a rejection; a parallel has no timeout of its own.
    - cancel: a step in flight in any branch is undone after its reply or its timeout.
    - undo: in reverse order of completion over all branches; with ``undo="parallel"`` the branches do not wait for each
      other.
    - past the pivot nothing is undone: the effects of a dropped branch stay, and a flow that fails ends in
      ``attention``.

    Args:
        branches: each a node or a list of nodes; two or more. A branch is labelled with the name of its first node.
        need: ``"all"``, ``"any"`` or a number of branches (a quorum).
        rest: the branches not needed any more: ``"undo"`` stops and undoes them (past the pivot it only stops them),
            ``"finish"`` lets them finish beside the flow; the instance ends only when they have ended.
        undo: whether undos of different branches wait for each other.
        name: its identity; by default ``parallel-`` and the name of the first node.

    Raises:
        DefinitionError: fewer than two branches, an empty one, a ``need`` out of range.
    """
    found = [nodes_of(f"branch {number} of a parallel", nodes) for number, nodes in enumerate(branches, start=1)]
    if len(found) < 2:
        raise DefinitionError(f"a parallel has {len(found)} branches; give it two or more, or drop it")
    count = {"all": len(found), "any": 1}.get(need, need) if isinstance(need, str) else need
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(found):
        raise DefinitionError(
            f"a parallel of {len(found)} branches needs {need!r}; give 'all', 'any' or 1 to {len(found)}"
        )
    check_choice("rest of a parallel", rest, ("undo", "finish"))
    check_choice("undo of a parallel", undo, ("reverse", "parallel"))
    labelled = tuple(Branch(label=nodes[0].name, nodes=nodes) for nodes in found)
    options = ParallelOptions(need=count, rest=rest, undo=undo)
    return Parallel(node_name("parallel", name or f"parallel-{found[0][0].name}"), labelled, options)
