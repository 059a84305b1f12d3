"""Which definitions are deployed here, by name and version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...sagas import DefinitionError
from ...sagas.definition import AnyDefinition, Definition
from ...sagas.models import read_foreign
from ...sagas.nodes import Route
from ...sagas.process_manager import ProcessManager
from ...sagas.searchable import AttributeKind, AttributeValue, values_of
from ..messages.document import Document, Status
from ..messages.entity_messages import EventDelivered, Published, Unwind
from ..messages.inputs import Message
from ..messages.texts import said
from ..messages.values import instance_id
from .results import WrongResult, a_key

__all__ = ["Registry"]


class Registry:
    """An immutable set of definitions, with several versions of a name side by side. Children are added with their
    parents.

    Raises:
        DefinitionError: two definitions have the same name and version, two different contracts the same name, or two
            searchable fields of one name values of different kinds.
    """

    def __init__(self, definitions: Iterable[AnyDefinition]) -> None:
        self._by_version: dict[tuple[str, int], AnyDefinition] = {}
        contracts: dict[str, object] = {}
        for saga in _with_children(definitions):
            if (saga.name, saga.version) in self._by_version:
                raise DefinitionError(f"{saga!r} is deployed twice; give one of the two another version")
            self._by_version[saga.name, saga.version] = saga
            for contract in saga.contracts:
                if contracts.setdefault(contract.name, contract) != contract:
                    raise DefinitionError(
                        f"two different contracts are called {contract.name!r}; share one, or rename the other"
                    )
        self._tables = _tables(self._by_version.values())
        self._searchable = _searchable(self._by_version.values())
        self._newest = {name: self._by_version[name, version] for name, version in sorted(self._by_version)}

    def find(self, name: str, version: int | None = None) -> AnyDefinition | None:
        """The definition of that version, or the newest; None: not deployed here."""
        return self._newest.get(name) if version is None else self._by_version.get((name, version))

    def starting(self, name: str, version: int | None) -> AnyDefinition | None:
        """The definition that starts an instance of a version: that version, else the newest if it migrates from it."""
        newest = self.find(name)
        found = self.find(name, version)
        return newest if found is None and newest is not None and version in newest.migrations else found

    def deciding(self, document: Document, message: Message | None = None) -> AnyDefinition | None:
        """The definition that decides about an instance: its own version, else the newest if it migrates from it.

        An ended instance keeps its own version, unless its parent asks to undo it. Version 0 means the newest. An event
        for an ended process may begin the next life of its key, with the newest version.
        """
        newest, ended = self.find(document.definition), document.status.is_final
        if ended and isinstance(message, EventDelivered) and isinstance(newest, ProcessManager) and newest.takes_late:
            return newest
        stays = ended and not (document.status is Status.COMPLETED and isinstance(message, Unwind))
        return (self.find if stays else self.starting)(document.definition, document.version or None)

    def __iter__(self) -> Iterator[AnyDefinition]:
        return iter(self._by_version.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._newest)

    @property
    def queues(self) -> frozenset[str]:
        """Every queue that any deployed definition sends to."""
        return frozenset(queue for saga in self for queue in saga.queues)

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Every table that a deployed definition routes by, with the branches that its rules may name."""
        return self._tables

    @property
    def searchable(self) -> Mapping[str, AttributeKind]:
        """The names by which instances of any deployed definition can be found, and what they are compared as."""
        return self._searchable

    def attributes(self, document: Document) -> tuple[tuple[str, AttributeValue], ...]:
        """The values by which an instance can be found: as its version declares them, else the newest."""
        definition = self.find(document.definition, document.version) or self.find(document.definition)
        if definition is None or not definition.searchable:
            return ()
        return tuple(dict.fromkeys(values_of(definition.searchable, document.state)))

    def subscribers(self, event: Published) -> tuple[tuple[str, ...], str]:
        """The instances of process managers that a published event goes to, and the faults of managers that cannot take
        it: the body does not fit the event's model, or the author's key function raised or returned no key.
        """
        found, wrong = [], []
        for definition in self._newest.values():
            if isinstance(definition, ProcessManager) and event.event in definition.subscriptions:
                subscription = definition.subscriptions[event.event]
                model: Any = subscription.event.model
                try:
                    key = a_key(subscription.key(read_foreign(model, event.body)))
                except WrongResult as error:
                    wrong.append(f"the key of {event.event!r} in {definition!r} gave {error}")
                except Exception as error:
                    wrong.append(f"{definition!r}: {said(error)}")
                else:
                    found.append(instance_id(definition.name, key))
        return tuple(found), "; ".join(wrong)


def _tables(definitions: Iterable[AnyDefinition]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for definition in definitions:
        for node in (spot.node for spot in definition.tree):
            if isinstance(node, Route):
                found.setdefault(node.table, {}).update((branch.label, None) for branch in node.branches)
    return {name: tuple(found[name]) for name in sorted(found)}


def _searchable(definitions: Iterable[AnyDefinition]) -> dict[str, AttributeKind]:
    found: dict[str, tuple[AttributeKind, AnyDefinition]] = {}
    for definition in definitions:
        for name, attribute in definition.searchable.items():
            kind, first = found.setdefault(name, (attribute.kind, definition))
            if kind is not attribute.kind:
                raise DefinitionError(
                    f"the searchable field {name!r} is a {kind} in {first!r} and a {attribute.kind} in {definition!r}; "
                    "give one of them another name: Searchable('another_name')"
                )
    return {name: kind for name, (kind, _) in sorted(found.items())}


def _with_children(definitions: Iterable[AnyDefinition]) -> list[AnyDefinition]:
    """All definitions, each once, including children."""
    found: list[AnyDefinition] = list(definitions)
    for saga in found:
        if not isinstance(saga, Definition):
            raise DefinitionError(f"{saga!r} is not a definition; give a Saga, a ProcessManager or a RoutingSlip")
        for child in saga.children:
            if all(child is not each for each in found):
                found.append(child)
    return found
