"""``Definition``: what a saga, a process manager and a routing slip share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, JsonValue

from .contract import Contract
from .errors import DefinitionError
from .event import Event
from .functions import check_function
from .given import check_count, check_list
from .nodes import Step
from .retention import Retention, retention_of
from .searchable import Attribute, attributes_of
from .tree import Tree

__all__ = ["AnyDefinition", "Definition", "Invariant", "Migration", "StatusName"]

S = TypeVar("S", bound=BaseModel)

StatusName: TypeAlias = Literal["running", "compensating", "attention", "completed", "compensated", "abandoned"]
Invariant: TypeAlias = Callable[[S, StatusName], bool]


@dataclass(frozen=True, kw_only=True)
class Migration(Generic[S]):
    """How an open instance of an older version becomes one of this version; see ``Definition.migrate``."""

    from_version: int
    upgrade: Callable[[dict[str, JsonValue]], S]
    dropped: frozenset[str] = frozenset()
    phases: Mapping[str, str] = field(default_factory=dict)


class Definition(Generic[S]):
    """A named, versioned definition over one state; checked when it is declared."""

    has_phases = False

    def __init__(self, what: str, name: str, state: type[S], version: int, retention: timedelta | Retention) -> None:
        self.name, self.state, self.version = name, state, version
        self.retention = retention_of(f"{what} {name!r}: retention", retention)
        self.tree = Tree(name, ())
        self.steps: dict[str, Step[S]] = {}
        self.events: tuple[Event[Any], ...] = ()
        self.children: tuple[AnyDefinition, ...] = ()
        self.migrations: dict[int, Migration[S]] = {}
        self.invariants: dict[str, Invariant[S]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, version={self.version})"

    @cached_property
    def searchable(self) -> Mapping[str, Attribute]:
        """The fields of the state that are marked ``Searchable``, by the name that a search uses."""
        return attributes_of(repr(self), self.state)

    @property
    def queues(self) -> frozenset[str]:
        """Every queue to which it sends commands, with their lanes, those of undos included."""
        sent = [step.contract for step in self.steps.values()]
        sent += [step.compensation.contract for step in self.steps.values() if step.compensation]
        return frozenset(lane for contract in sent for lane in contract.lanes)

    @property
    def contracts(self) -> tuple[Contract[BaseModel, BaseModel], ...]:
        """Every contract it uses, once each, in order of first use."""
        found: dict[str, Contract[BaseModel, BaseModel]] = {}
        for step in self.steps.values():
            found.setdefault(step.declared.name, step.declared)
            if undo := step.compensation:
                found.setdefault(undo.contract.name, undo.contract)
        return tuple(found.values())

    def contract(self, name: object) -> Contract[BaseModel, BaseModel] | None:
        """The contract of that name; None: it uses none."""
        return next((each for each in self.contracts if each.name == name), None)

    def migrate(
        self, *, from_version: int, dropped: Collection[str] = (), phases: Mapping[str, str] | None = None
    ) -> Callable[[Callable[[dict[str, JsonValue]], S]], Callable[[dict[str, JsonValue]], S]]:
        """Declares how open instances of an older version continue as this version; decorates a pure function.

        It is applied to an instance at its next message, once the instance's own version is no longer deployed. The
        function takes the stored state and returns the new one. When it raises, the instance keeps its old version
        and state, in ``attention``.

        Args:
            from_version: an older one; migrations are not chained.
            dropped: steps that this version no longer has. An instance in which one of them is running, or has
                something to undo, is not migrated. A step cannot be renamed: its name is part of the effect keys that
                workers have stored.
            phases: for a process manager: phases that were renamed or merged, old name to new name.

        Raises:
            DefinitionError: not an older version, declared twice, or ``phases`` of a definition that has none.
        """
        check_count(f"{self!r}: from_version of a migration", from_version, 1)
        check_list(f"{self!r}: dropped of a migration", dropped, "names of steps")
        if from_version >= self.version:
            raise DefinitionError(f"{self!r}: migrate from version {from_version}; give an older version, 1 or more")
        if from_version in self.migrations:
            raise DefinitionError(f"{self!r}: there are two migrations from version {from_version}; remove one")

        if phases and not self.has_phases:
            raise DefinitionError(f"{self!r}: only a process manager has phases; leave them out")

        def register(upgrade: Callable[[dict[str, JsonValue]], S]) -> Callable[[dict[str, JsonValue]], S]:
            check_function(
                f"{self!r}, its migration from version {from_version}", upgrade, (dict,), self.state, for_="it is a"
            )
            self.migrations[from_version] = Migration(
                from_version=from_version, upgrade=upgrade, dropped=frozenset(dropped), phases=dict(phases or {})
            )
            return upgrade

        return register

    def invariant(self, check: Invariant[S]) -> Invariant[S]:
        """Declares a condition on the state and the status that must always hold; ``saga verify`` searches for a run
        that breaks it. Decorates a pure function that returns True while the condition holds.

        Raises:
            DefinitionError: an invariant of this name exists already.
        """
        check_function(f"{self!r}, an invariant", check, (self.state, str))
        name = getattr(check, "__name__", "invariant")
        if name in self.invariants:
            raise DefinitionError(f"{self!r}: there are two invariants {name!r}; rename one")
        self.invariants[name] = check
        return check


AnyDefinition: TypeAlias = Definition[Any]
"""A definition over any state: what the engine, clients and the command line accept."""
