"""Which definitions are deployed here, by name and version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...sagas import DefinitionError, Saga
from ...sagas.saga import AnySaga

__all__ = ["Registry"]


class Registry:
    """An unchanging set of definitions; several versions of one name stand side by side. Children come with their
    parents.

    Raises:
        DefinitionError: two definitions share name and version, or two contracts share a name and differ.
    """

    def __init__(self, definitions: Iterable[AnySaga]) -> None:
        self._by_version: dict[tuple[str, int], AnySaga] = {}
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
        self._newest = {name: self._by_version[name, version] for name, version in sorted(self._by_version)}

    def find(self, name: str, version: int | None = None) -> AnySaga | None:
        """The definition of that version, the newest for None; None: not deployed here."""
        return self._newest.get(name) if version is None else self._by_version.get((name, version))

    def __iter__(self) -> Iterator[AnySaga]:
        return iter(self._by_version.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._newest)

    @property
    def queues(self) -> frozenset[str]:
        """Every queue that any deployed definition sends to."""
        return frozenset(queue for saga in self for queue in saga.queues)


def _with_children(definitions: Iterable[AnySaga]) -> list[AnySaga]:
    """All of them once, those that others run included."""
    found: list[AnySaga] = list(definitions)
    for saga in found:
        for child in saga.children:
            if isinstance(child, Saga) and all(child is not each for each in found):
                found.append(child)
    return found
