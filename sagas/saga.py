"""``Saga``: a named, versioned flow over one state; checked at its declaration, immutable after that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from .checks import check_saga
from .definition import Definition
from .given import check_list
from .nodes import Child, Each, Emit, Node, Pivot, Step, Wait
from .retention import Retention

__all__ = ["AnySaga", "Saga"]

S = TypeVar("S", bound=BaseModel)


class Saga(Definition[S]):
    """A definition: its nodes in order, and how they are undone.

    Args:
        name: its identity; instances are called ``{name}/{key}``.
        state: pydantic model of the instance's state; the start's input is its first value.
        version: counts from 1. Instances stay with the version they were started with.
        flow: the nodes, first to last.
        retention: how long a finished instance is kept: so long it can be queried, and its key cannot be started again.
            A ``Retention`` says it for each status.

    Raises:
        DefinitionError: any mistake that can be seen without running it.
    """

    def __init__(
        self,
        name: str,
        state: type[S],
        *,
        version: int = 1,
        flow: Sequence[Node[S]],
        retention: timedelta | Retention = timedelta(days=7),
    ) -> None:
        super().__init__("saga", name, state, version, retention)
        check_list(f"saga {name!r}: flow", flow, "nodes")
        self.flow: tuple[Node[S], ...] = tuple(flow)
        self.tree = check_saga(name, version, state, self.flow)
        nodes = [spot.node for spot in self.tree]
        self.has_pivot = any(isinstance(node, Pivot) for node in nodes)
        self.steps = {node.name: node for node in nodes if isinstance(node, Step)}
        for step in self.steps.values():
            step._close(name)
        waits = [expected.event for node in nodes if isinstance(node, Wait) for expected in node.expected]
        emits = [node.event for node in nodes if isinstance(node, Emit)]
        self.events = tuple({event.name: event for event in (*waits, *emits)}.values())
        runs = [node.child for node in nodes if isinstance(node, Child)]
        self.children = tuple({id(c): c for c in (*runs, *(n.part for n in nodes if isinstance(n, Each)))}.values())


AnySaga: TypeAlias = Saga[Any]
"""A saga over any state."""
