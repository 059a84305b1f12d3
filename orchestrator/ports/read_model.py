"""The read model port: what queries are answered from. Fed from one log, and rebuilt from it when it has to be.

It holds nothing of its own: losing it costs a rebuild. It follows the log by some milliseconds; who needs to read
his own write waits until ``Projector`` has passed the write's position.

One database may hold the read models of several namespaces. An adapter is opened for one of them and never reads or
changes anything of another.

What a cursor promises: lists are in an order that does not change, so whatever matches from the first page to the
last is on exactly one page, also when it changes in between. What begins to match, or ceases to, may be on a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ..kernel.waits import OpenQuestion, OverdueStep
from ..messages.document import Document, Status
from ..messages.entities import Entity
from ..messages.history import HistoryRecord
from .log import TopicPartition

__all__ = [
    "DocumentRow",
    "EntityFilter",
    "EntityPage",
    "EntityRow",
    "HistoryRow",
    "InstanceFilter",
    "Landmark",
    "Page",
    "ReadModel",
    "Standing",
    "Tally",
    "Update",
    "WaitFilter",
    "WaitKind",
    "WaitPage",
    "WaitRow",
]


class DocumentRow(NamedTuple):
    """A document and the place of its record, which grows within an instance. None: its retention is over."""

    sequence: int
    document: Document | None


class HistoryRow(NamedTuple):
    """A history record and its place: ``sequence`` grows within an instance."""

    sequence: int
    record: HistoryRecord


class EntityRow(NamedTuple):
    """An entity and its place: ``sequence`` grows within an entity. None: it has nothing to remember any more."""

    sequence: int
    entity: Entity | None


class Landmark(NamedTuple):
    """The last record that was read of a partition: by ``digest`` the log is known again."""

    offset: int
    digest: str
    timestamp_ms: int


_NO_ENTITIES: Mapping[str, EntityRow] = MappingProxyType({})
_NO_LANDMARKS: Mapping[TopicPartition, Landmark] = MappingProxyType({})


class Update(NamedTuple):
    """What one batch of the log changes. ``documents`` and ``entities``: by entity id.

    ``positions`` are stored with it: the next offset to read of every partition. ``landmarks``: of the partitions of
    the history. ``now_ms``: when it was read. ``generation``: of the ``Standing`` that it goes on from.
    """

    documents: Mapping[str, DocumentRow]
    history: Sequence[HistoryRow]
    positions: Mapping[TopicPartition, int]
    entities: Mapping[str, EntityRow] = _NO_ENTITIES
    landmarks: Mapping[TopicPartition, Landmark] = _NO_LANDMARKS
    now_ms: int = 0
    generation: int = 0


class Standing(NamedTuple):
    """How far the read model has been fed: where to go on reading (empty: it was never fed), and when it was fed last.

    ``generation`` counts how often it was cleared. ``clearing``: that was begun and has not come to its end.
    """

    positions: Mapping[TopicPartition, int]
    landmarks: Mapping[TopicPartition, Landmark]
    fed_ms: int
    generation: int
    clearing: bool


class InstanceFilter(NamedTuple):
    """All given conditions hold; ``key`` matches exactly."""

    definition: str | None = None
    status: Status | None = None
    key: str | None = None


class Page(NamedTuple):
    """Those started last come first. ``cursor`` is opaque and leads to the next page; None: this is the last."""

    documents: Sequence[Document]
    cursor: str | None


class WaitKind(StrEnum):
    """What waits for somebody to look."""

    OVERDUE = "overdue"
    QUESTION = "question"


class WaitFilter(NamedTuple):
    """All given conditions hold. ``who``: only questions that this one may answer now."""

    kind: WaitKind
    definition: str | None = None
    who: str | None = None


class WaitRow(NamedTuple):
    """What waits, an ``OverdueStep`` or an ``OpenQuestion`` as the filter asks, and the instance that it belongs to."""

    instance: str
    definition: str
    version: int
    wait: OverdueStep | OpenQuestion


class WaitPage(NamedTuple):
    """Overdue longest first, questions that are due soonest first. ``cursor`` as in ``Page``."""

    rows: Sequence[WaitRow]
    cursor: str | None


class EntityFilter(NamedTuple):
    """Entities whose id begins with ``prefix``, such as ``@lock/``; ``waiting``: only those at which somebody waits."""

    prefix: str
    waiting: bool = False


class EntityPage(NamedTuple):
    """In the order of their ids. ``cursor`` as in ``Page``."""

    entities: Sequence[Entity]
    cursor: str | None


class Tally(NamedTuple):
    """How many instances of one definition have not ended; of those how many stand in attention, or are overdue."""

    open: int
    attention: int
    overdue: int


class ReadModel(Protocol):
    """Safe for concurrent use by tasks of one event loop. Every call has a deadline of its own."""

    async def apply(self, update: Update) -> None:
        """Makes the update and its positions visible together. Applying the same update again changes nothing.

        Raises:
            ReadModelCleared: it was cleared since; ask for its ``standing`` and go on from there.
            TransientError: it was not taken; the same update may be repeated.
        """
        ...

    async def standing(self) -> Standing:
        """How far it has been fed."""
        ...

    async def get(self, instance: str) -> Document | None: ...

    async def list(self, where: InstanceFilter, *, limit: int, cursor: str | None = None) -> Page:
        """Up to ``limit`` instances by the time of their start, newest first.

        Raises:
            InvalidRequest: the cursor is not one of this list.
        """
        ...

    async def waits(self, where: WaitFilter, *, limit: int, cursor: str | None = None) -> WaitPage:
        """Up to ``limit`` steps that are overdue, or at which a question waits.

        Raises:
            InvalidRequest: the cursor is not one of this list.
        """
        ...

    async def history(self, instance: str, *, after: int = -1, limit: int) -> Sequence[HistoryRow]:
        """Records with a sequence above ``after``, oldest first."""
        ...

    async def entity(self, entity: str) -> Entity | None:
        """A mailbox, a lock or a table by its id; None: it has nothing to remember."""
        ...

    async def entities(self, where: EntityFilter, *, limit: int, cursor: str | None = None) -> EntityPage:
        """Up to ``limit`` entities in the order of their ids.

        Raises:
            InvalidRequest: the cursor is not one of this list.
        """
        ...

    async def tally(self) -> Mapping[str, Tally]:
        """Instances that have not ended, by definition; one that has none is left out.

        Raises:
            TransientError: no answer in time.
        """
        ...

    async def clear(self) -> None:
        """Forgets everything of its namespace, positions included, so that it is rebuilt from the log."""
        ...

    async def close(self) -> None:
        """Never raises. Idempotent."""
        ...
