"""A bounded cache of parsed documents, so that a busy instance is not parsed for each decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..messages.document import Document
from ..messages.entities import Entity

__all__ = ["Documents"]

_COUNT_MAX: Final = 2_000
_BYTES_MAX: Final = 16_000_000
"""Of one partition, as written; parsed they take several times as much. 2,000 of a usual size are below it."""


class Documents:
    """Committed documents by instance id; the least recently changed or decoded are dropped first."""

    def __init__(self, max_count: int = _COUNT_MAX, max_bytes: int = _BYTES_MAX) -> None:
        self._max_count, self._max_bytes = max_count, max_bytes
        self._items: dict[str, tuple[Document | Entity, int]] = {}
        self._bytes = 0

    def get(self, instance: str) -> Document | Entity | None:
        """The document if it is cached; None does not mean that there is none."""
        found = self._items.get(instance)
        return None if found is None else found[0]

    def merge(self, changed: Mapping[str, Document | Entity | None], written: Mapping[bytes, bytes | None]) -> None:
        """Stores the changes of a commit that succeeded, with what it has written; ended instances are not kept."""
        for instance, document in changed.items():
            self._drop(instance)
            if document is not None:
                self.keep(instance, document, len(written[instance.encode()] or b""))

    def keep(self, instance: str, document: Document | Entity, size_bytes: int) -> None:
        """Keeps a committed document of this size as written, unless its instance has ended."""
        if isinstance(document, Document) and document.status.is_final:
            return
        self._drop(instance)
        self._items[instance] = document, size_bytes
        self._bytes += size_bytes
        while len(self._items) > self._max_count or self._bytes > self._max_bytes:
            self._drop(next(iter(self._items)))

    def _drop(self, instance: str) -> None:
        _, size_bytes = self._items.pop(instance, (None, 0))
        self._bytes -= size_bytes
