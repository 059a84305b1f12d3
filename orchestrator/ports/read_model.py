"""The read model port: the store that answers queries. It is fed from one log, and can be rebuilt from it.

It has no data of its own: losing it costs a rebuild. It lags behind the log by some milliseconds; to read its own
write a client waits until ``Projector`` has passed the write's position.

One database may hold the read models of several namespaces. An adapter is opened for one of them and never reads or
changes data of another.

What a cursor promises: it holds the values of the last entry by which the list is sorted. An entry that matches from
the first page to the last, and whose values by which it is sorted do not change, is on exactly one page; one that
begins or stops to match may be on a page. The default order of every list is by values that never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ...sagas.searchable import AttributeValue
from ..kernel.waits import OpenQuestion, OverdueStep
from ..messages.dead import DeadRecord
from ..messages.document import Document, Status
from ..messages.entities import DeadMark, DeadStatus, Entity
from ..messages.history import HistoryRecord
from .log import TopicPartition

__all__ = [
    "COUNT_MAX",
    "NEWEST_FIRST",
    "ORDERED_CHARS_MAX",
    "WAITED",
    "Comparison",
    "Condition",
    "Count",
    "DecisionRow",
    "Decisions",
    "DocumentRow",
    "EntityFilter",
    "EntityPage",
    "EntityRow",
    "HistoryRow",
    "InstanceFilter",
    "Landmark",
    "LetterFilter",
    "LetterGroup",
    "LetterGroups",
    "LetterPage",
    "LetterRow",
    "OperationFilter",
    "OperationPage",
    "Page",
    "ReadModel",
    "SPANS_MAX",
    "Sort",
    "SortBy",
    "Span",
    "Standing",
    "Tally",
    "Update",
    "WaitFilter",
    "WaitKind",
    "WaitPage",
    "WaitRow",
]


class DocumentRow(NamedTuple):
    """A document and the place of its record; ``sequence`` grows within an instance. None: its retention is over.

    ``attributes``: names and values by which the instance can be found, as its definition declares them. ``at``: the
    partition of the record.
    """

    sequence: int
    document: Document | None
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    at: TopicPartition | None = None


class HistoryRow(NamedTuple):
    """A history record and its place: ``sequence`` grows within an instance, and within a partition."""

    sequence: int
    record: HistoryRecord
    partition: int = 0


class DecisionRow(NamedTuple):
    """A history record by its place in the log; ``value``: its JSON."""

    partition: int
    offset: int
    instance: str
    value: bytes


class Decisions(NamedTuple):
    """Rows of some partitions of the history: each partition in the order of its offsets, all of them by their time.

    ``following``: per partition, the offset at which the next page begins; that of the question where the read model
    has not come further. ``first``: the first offset of a partition that is kept: what was before it is gone. Of a
    partition without rows it is how far the read model has come.
    """

    rows: Sequence[DecisionRow]
    following: Mapping[int, int]
    first: Mapping[int, int]


class EntityRow(NamedTuple):
    """An entity and its place, as of a document: ``sequence`` grows within an entity. None: it has no data any more."""

    sequence: int
    entity: Entity | None
    at: TopicPartition | None = None


class Landmark(NamedTuple):
    """The last record that was read of a partition; its ``digest`` identifies the log."""

    offset: int
    digest: str
    timestamp_ms: int


_NO_ENTITIES: Mapping[str, EntityRow] = MappingProxyType({})
_NO_LANDMARKS: Mapping[TopicPartition, Landmark] = MappingProxyType({})


class Update(NamedTuple):
    """The changes of one batch of the log. ``documents`` and ``entities``: by entity id.

    ``positions`` are stored with it: the next offset to read of every partition. ``landmarks``: of the partitions of
    the history. ``letters``: new dead letters. ``now_ms``: when it was read. ``generation``: of the ``Standing`` that
    it continues.
    """

    documents: Mapping[str, DocumentRow]
    history: Sequence[HistoryRow]
    positions: Mapping[TopicPartition, int]
    entities: Mapping[str, EntityRow] = _NO_ENTITIES
    landmarks: Mapping[TopicPartition, Landmark] = _NO_LANDMARKS
    letters: Sequence[DeadRecord] = ()
    now_ms: int = 0
    generation: int = 0


class Standing(NamedTuple):
    """How far the read model has been fed: the next offsets to read (empty: never fed), and the time of that.

    ``generation`` counts how often it was cleared. ``clearing``: a clearing has begun and is not completed.
    """

    positions: Mapping[TopicPartition, int]
    landmarks: Mapping[TopicPartition, Landmark]
    fed_ms: int
    generation: int
    clearing: bool


class Comparison(StrEnum):
    """How a searchable field is compared. ``^=``: a text that begins so."""

    EQUAL = "="
    AT_LEAST = ">="
    AT_MOST = "<="
    MORE = ">"
    LESS = "<"
    PREFIX = "^="


ORDERED_CHARS_MAX = 200
"""Of a text, by so many characters it is in order; any comparison but ``=`` is with at most so many."""


class Condition(NamedTuple):
    """On a searchable field. One with several values matches if one of them does."""

    name: str
    comparison: Comparison
    value: AttributeValue


class Span(NamedTuple):
    """A range of time, milliseconds since epoch: from ``since_ms`` on, before ``until_ms``."""

    since_ms: int | None = None
    until_ms: int | None = None


_ALWAYS = Span()
SPANS_MAX = 48


class InstanceFilter(NamedTuple):
    """All given conditions hold. ``statuses``: one of these; empty: any. ``key`` matches exactly.

    ``code``: code or kind of the cause, or of the attention. ``is_overdue``: a step exceeds its ``expected_within``.
    """

    definition: str | None = None
    statuses: tuple[Status, ...] = ()
    key: str | None = None
    version: int | None = None
    key_prefix: str | None = None
    attributes: tuple[Condition, ...] = ()
    started: Span = _ALWAYS
    updated: Span = _ALWAYS
    code: str | None = None
    is_overdue: bool | None = None
    is_paused: bool | None = None


class SortBy(StrEnum):
    """What instances can be sorted by: then by their start, then by their id. Versions are those of a definition."""

    CREATED = "created_at"
    UPDATED = "updated_at"
    DEFINITION = "definition"
    VERSION = "version"
    KEY = "key"
    STATUS = "status"


class Sort(NamedTuple):
    """An order of instances, by default the newest start first."""

    by: SortBy = SortBy.CREATED
    ascending: bool = False


NEWEST_FIRST = Sort()

COUNT_MAX = 10_000
"""Up to this many are counted."""


class Count(NamedTuple):
    """How many match; not ``is_exact``: more than ``number``."""

    number: int
    is_exact: bool


class Page(NamedTuple):
    """``cursor`` is opaque and leads to the next page; None: this is the last page."""

    documents: Sequence[Document]
    cursor: str | None


class WaitKind(StrEnum):
    """What waits for a person."""

    OVERDUE = "overdue"
    QUESTION = "question"


class WaitFilter(NamedTuple):
    """All given conditions hold. ``who``: only questions that this person or role may answer now."""

    kind: WaitKind
    definition: str | None = None
    who: str | None = None


class WaitRow(NamedTuple):
    """An ``OverdueStep`` or an ``OpenQuestion``, as the filter asks, and its instance."""

    instance: str
    definition: str
    version: int
    wait: OverdueStep | OpenQuestion


class WaitPage(NamedTuple):
    """The longest overdue step first; the question due soonest first. ``cursor`` as in ``Page``."""

    rows: Sequence[WaitRow]
    cursor: str | None


WAITED = "waited"
"""Status of a lock or mailbox at which instances wait."""


class EntityFilter(NamedTuple):
    """Entities whose id begins with ``prefix``, such as ``@lock/``. ``status``: of locks and mailboxes ``WAITED``, or a
    ``ParcelStatus``; None: any. Deleted schedules are left out.
    """

    prefix: str
    status: str | None = None


class EntityPage(NamedTuple):
    """In the order of their ids. ``cursor`` as in ``Page``."""

    entities: Sequence[Entity]
    cursor: str | None


class OperationFilter(NamedTuple):
    """Requests of people. All given conditions hold. ``target``: the id of the instance, or of another entity."""

    who: str | None = None
    target: str | None = None
    act: str | None = None
    at: Span = _ALWAYS


class OperationPage(NamedTuple):
    """The decisions about requests of people, newest first. ``cursor`` as in ``Page``."""

    rows: Sequence[HistoryRow]
    cursor: str | None


class LetterFilter(NamedTuple):
    """Dead letters. All given conditions hold.

    ``topic``, ``key``: of the original; the text of the key, or base64 of bytes that are not UTF-8. ``reason``: is part
    of its reason, in any case. ``since_ms``, ``until_ms``: dead since that time or later, and before that time.
    ``state``: what was done with it.
    """

    topic: str | None = None
    key: str | None = None
    fingerprint: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    state: DeadStatus | None = None


class LetterRow(NamedTuple):
    """A dead letter and its mark; None: nothing was done with it."""

    record: DeadRecord
    mark: DeadMark | None

    @property
    def state(self) -> DeadStatus:
        return self.mark.status if self.mark is not None else DeadStatus.OPEN


class LetterPage(NamedTuple):
    """``cursor`` as in ``Page``."""

    letters: Sequence[LetterRow]
    cursor: str | None


class LetterGroup(NamedTuple):
    """The letters of one fingerprint that match a filter. ``reason``: of one of them."""

    fingerprint: str
    letters: int
    open_letters: int
    first_ms: int
    last_ms: int
    reason: str


class LetterGroups(NamedTuple):
    """The group whose first letter is newest first. ``cursor`` as in ``Page``."""

    groups: Sequence[LetterGroup]
    cursor: str | None


class Tally(NamedTuple):
    """How many instances of one definition have not ended; of those how many stand in attention, or are overdue."""

    open: int
    attention: int
    overdue: int


class ReadModel(Protocol):
    """Safe for concurrent use by tasks of one event loop. Every call has its own deadline."""

    async def apply(self, update: Update) -> None:
        """Makes the update and its positions visible together. Applying the same update again changes nothing, and
        neither do documents and entities from before the stored position of their partition.

        Raises:
            ReadModelCleared: it was cleared since; call ``standing`` and continue from there.
            TransientError: it was not applied; the same update may be repeated.
        """
        ...

    async def standing(self) -> Standing:
        """How far it has been fed."""
        ...

    async def get(self, instance: str) -> Document | None: ...

    async def list(
        self, where: InstanceFilter, *, limit: int, cursor: str | None = None, sort: Sort = NEWEST_FIRST
    ) -> Page:
        """Up to ``limit`` instances, in this order.

        Raises:
            InvalidRequest: the cursor is not one of this list and order.
        """
        ...

    async def count(self, where: InstanceFilter) -> Count:
        """How many instances match, up to ``COUNT_MAX``."""
        ...

    async def started(self, spans: Sequence[Span], definition: str | None = None) -> Sequence[Mapping[Status, int]]:
        """How many instances started in each of up to ``SPANS_MAX`` spans, with two ends, by their status now."""
        ...

    async def waits(self, where: WaitFilter, *, limit: int, cursor: str | None = None) -> WaitPage:
        """Up to ``limit`` overdue steps or open questions.

        Raises:
            InvalidRequest: the cursor is not one of this list.
        """
        ...

    async def history(
        self, instance: str, *, after: int = -1, limit: int, newest_first: bool = False
    ) -> Sequence[HistoryRow]:
        """Records with a sequence above ``after``, oldest first.

        ``newest_first``: those with a sequence below ``after``, in the other order; -1: from the newest on.
        """
        ...

    async def decisions(self, after: Mapping[TopicPartition, int], *, limit: int) -> Decisions:
        """Up to about ``limit`` rows of these partitions of the history, in fair shares, from these offsets on."""
        ...

    async def operations(self, where: OperationFilter, *, limit: int, cursor: str | None = None) -> OperationPage:
        """Up to ``limit`` decisions about requests of people, newest first; kept as long as the history.

        Raises:
            InvalidRequest: the cursor is not one of this list.
        """
        ...

    async def entity(self, entity: str) -> Entity | None:
        """An entity other than an instance by its id; None: it does not exist."""
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

    async def letter(self, partition: int, offset: int) -> LetterRow | None:
        """The dead letter at this place; None: there is none."""
        ...

    async def letters(
        self, where: LetterFilter, *, limit: int, cursor: str | None = None, oldest_first: bool = False
    ) -> LetterPage:
        """Up to ``limit`` dead letters, newest first; or in the order of their topic, partition by partition.

        Raises:
            InvalidRequest: the cursor is not one of this list.
        """
        ...

    async def letter_count(self, where: LetterFilter) -> int:
        """How many dead letters match."""
        ...

    async def letter_groups(self, where: LetterFilter, *, limit: int, cursor: str | None = None) -> LetterGroups:
        """Up to ``limit`` groups of the dead letters that match.

        Raises:
            InvalidRequest: the cursor is not one of this list.
        """
        ...

    async def clear(self) -> None:
        """Deletes everything of its namespace, including positions, so that it is rebuilt from the log."""
        ...

    async def close(self) -> None:
        """Never raises. Idempotent."""
        ...
