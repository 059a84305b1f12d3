"""A bounded cache of parsed documents, so that a busy instance is not parsed for each decision."""

from __future__ import annotations

from collections.abc import Mapping

from ..messages.document import Document
from ..messages.entities import Entity

__all__ = ["Documents"]


class Documents:
    """Committed documents by instance id; the least recently changed or decoded are dropped first."""

    def __init__(self, max_count: int = 2_000) -> None:
        self._max_count = max_count
        self._items: dict[str, Document | Entity] = {}

    def get(self, instance: str) -> Document | Entity | None:
        """The document if it is cached; None does not mean that there is none."""
        return self._items.get(instance)

    def merge(self, changed: Mapping[str, Document | Entity | None]) -> None:
        """Stores the changes of a commit that succeeded; ended instances are not kept."""
        for instance, document in changed.items():
            self._items.pop(instance, None)
            if document is not None:
                self.keep(instance, document)

    def keep(self, instance: str, document: Document | Entity) -> None:
        """Keeps a committed document, unless its instance has ended."""
        if isinstance(document, Document) and document.status.is_final:
            return
        self._items[instance] = document
        while len(self._items) > self._max_count:
            del self._items[next(iter(self._items))]
