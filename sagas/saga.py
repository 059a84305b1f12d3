"""``Saga``: a named, versioned flow over one state; checked when it is declared, never changed after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar

from pydantic import BaseModel

from .checks import check_saga
from .contract import Contract
from .errors import DefinitionError
from .nodes import Node, Step

__all__ = ["AnySaga", "Saga"]

S = TypeVar("S", bound=BaseModel)


class Saga(Generic[S]):
    """A definition: what happens in which order, and how it is undone.

    Args:
        name: its identity; instances are called ``{name}/{key}``.
        state: pydantic model of what an instance knows; the start's input is its first value.
        version: counts from 1. Instances stay with the version they were started with.
        flow: the nodes, first to last.
        retention: how long a finished instance is kept, so that the same key is not accepted twice and can be queried.

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
        retention: timedelta = timedelta(days=7),
    ) -> None:
        self.name = name
        self.state = state
        self.version = version
        self.flow: tuple[Node[S], ...] = tuple(flow)
        self.retention = retention
        if retention <= timedelta(0):
            raise DefinitionError(f"saga {name!r}: retention is {retention}; give a positive timedelta")
        check_saga(name, version, state, self.flow)
        self.steps: dict[str, Step[S]] = {node.name: node for node in self.flow if isinstance(node, Step)}
        for step in self.steps.values():
            step._close(name)

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, version={self.version})"

    @property
    def queues(self) -> frozenset[str]:
        """Every queue that its commands travel on, those of undos included."""
        return frozenset(contract.queue for contract in self.contracts)

    @property
    def contracts(self) -> tuple[Contract[BaseModel, BaseModel], ...]:
        """Every contract it uses, once each, in order of first use."""
        found: dict[str, Contract[BaseModel, BaseModel]] = {}
        for step in self.steps.values():
            found.setdefault(step.contract.name, step.contract)
            if undo := step.compensation:
                found.setdefault(undo.contract.name, undo.contract)
        return tuple(found.values())


AnySaga: TypeAlias = Saga[Any]
"""A definition over whatever state: what the engine, clients and the command line take."""
