"""The read model port: what queries are answered from. Fed from the log, and rebuilt from it whenever that is wanted.

It holds nothing of its own: losing it costs a rebuild. It follows the log by some milliseconds; whoever needs to read
his own write waits until ``Projector`` has passed the write's position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ..messages.document import Document, Status
from ..messages.history import HistoryRecord
from .log import TopicPartition

__all__ = ["HistoryRow", "InstanceFilter", "Page", "ReadModel", "Update"]


class HistoryRow(NamedTuple):
    """A history record and its place: ``sequence`` grows within an instance."""

    sequence: int
    record: HistoryRecord


class Update(NamedTuple):
    """What one batch of the log changes. ``documents``: by instance id, None for an instance whose retention is over.

    ``positions`` are stored with it: the next offset to read of every partition.
    """

    documents: Mapping[str, Document | None]
    history: Sequence[HistoryRow]
    positions: Mapping[TopicPartition, int]


class InstanceFilter(NamedTuple):
    """All given conditions hold; ``key`` matches exactly."""

    definition: str | None = None
    status: Status | None = None
    key: str | None = None


class Page(NamedTuple):
    """Newest change first. ``cursor`` is opaque and leads to the next page; None: this is the last."""

    documents: Sequence[Document]
    cursor: str | None


class ReadModel(Protocol):
    """Safe for concurrent use by tasks of one event loop."""

    async def apply(self, update: Update) -> None:
        """Makes the update and its positions visible together. Applying the same update again changes nothing."""
        ...

    async def positions(self) -> Mapping[TopicPartition, int]:
        """Where to go on reading; empty when it was never fed."""
        ...

    async def get(self, instance: str) -> Document | None: ...

    async def list(self, where: InstanceFilter, *, limit: int, cursor: str | None = None) -> Page:
        """Up to ``limit`` instances by last change, newest first.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """
        ...

    async def history(self, instance: str, *, after: int = -1, limit: int) -> Sequence[HistoryRow]:
        """Records with a sequence above ``after``, oldest first."""
        ...

    async def clear(self) -> None:
        """Forgets everything, positions included, so that it is rebuilt from the log."""
        ...

    async def close(self) -> None:
        """Never raises. Idempotent."""
        ...
