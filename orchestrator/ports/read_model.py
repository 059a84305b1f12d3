"""The read model port: what queries are answered from. Fed from the log, and rebuilt from it whenever that is wanted.

It holds nothing of its own: losing it costs a rebuild. It follows the log by some milliseconds; whoever needs to read
his own write waits until ``Projector`` has passed the write's position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ..messages.document import Document, Status
from ..messages.helpers import Helper
from ..messages.history import HistoryRecord
from .log import TopicPartition

__all__ = [
    "HelperFilter",
    "HelperPage",
    "HelperRow",
    "HistoryRow",
    "InstanceFilter",
    "Page",
    "ReadModel",
    "Update",
]


class HistoryRow(NamedTuple):
    """A history record and its place: ``sequence`` grows within an instance."""

    sequence: int
    record: HistoryRecord


class HelperRow(NamedTuple):
    """A helper entity and its place: ``sequence`` grows within an entity. None: it has nothing to remember any more."""

    sequence: int
    helper: Helper | None


_NO_HELPERS: Mapping[str, HelperRow] = MappingProxyType({})


class Update(NamedTuple):
    """What one batch of the log changes. ``documents``: by instance id, None for an instance whose retention is over.

    ``positions`` are stored with it: the next offset to read of every partition. ``helpers``: by entity id.
    """

    documents: Mapping[str, Document | None]
    history: Sequence[HistoryRow]
    positions: Mapping[TopicPartition, int]
    helpers: Mapping[str, HelperRow] = _NO_HELPERS


class InstanceFilter(NamedTuple):
    """All given conditions hold; ``key`` matches exactly."""

    definition: str | None = None
    status: Status | None = None
    key: str | None = None


class Page(NamedTuple):
    """Newest change first. ``cursor`` is opaque and leads to the next page; None: this is the last."""

    documents: Sequence[Document]
    cursor: str | None


class HelperFilter(NamedTuple):
    """Helpers whose id begins with ``prefix``, such as ``@lock/``; ``waiting``: only those at which somebody waits."""

    prefix: str
    waiting: bool = False


class HelperPage(NamedTuple):
    """In the order of their ids. ``cursor`` as in ``Page``."""

    helpers: Sequence[Helper]
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

    async def helper(self, entity: str) -> Helper | None:
        """A mailbox, a lock or a table by its id; None: it has nothing to remember."""
        ...

    async def helpers(self, where: HelperFilter, *, limit: int, cursor: str | None = None) -> HelperPage:
        """Up to ``limit`` helpers in the order of their ids.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """
        ...

    async def clear(self) -> None:
        """Forgets everything, positions included, so that it is rebuilt from the log."""
        ...

    async def close(self) -> None:
        """Never raises. Idempotent."""
        ...
