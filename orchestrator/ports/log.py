"""The log port: partitioned topics of records, and atomic commits by the one owner of an input partition.

What lives here: the guarantees for the engine, the workers and the clients. What must not: anything of a driver.
Every adapter passes the same suite (tests/contract/log_contract.py).

- A *topic* has partitions; a partition is an ordered list of records with growing offsets (gaps are allowed).
- ``append`` is for clients and workers: at least once, ordered per call and partition.
- An ``Owner`` is the only writer of one partition of a *state topic*, and reads the same partition of ``inputs``:
  ``commit`` makes state, appends and position visible together or not at all, and fails once another owner has taken
  that partition. Several groups may read one ``inputs`` topic, each with a state topic of its own.
- Sizes are those of whole records: key, value and headers, as ``size_bytes`` counts them.
- Readers (``Tail``, ``Subscription``, ``Owner.poll``) see committed records only, in offset order.
- Every call has its own deadline: if the other side is gone it raises ``LogUnavailable``; it never hangs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from ..errors import ValueTooLarge

__all__ = [
    "Batch",
    "Headers",
    "Log",
    "Membership",
    "Outgoing",
    "Owner",
    "Position",
    "Record",
    "Standing",
    "Start",
    "Subscription",
    "Tail",
    "TopicPartition",
    "TopicSpec",
    "check_size",
    "size_bytes",
]

HEADER_BYTES = 8
"""Most bytes that a header needs besides its name and value: Kafka writes both lengths."""

Headers = tuple[tuple[str, bytes], ...]
"""Kafka's form of headers: ordered (name, value) pairs; names may repeat, ours never do."""


Start: TypeAlias = Literal["earliest", "latest"] | int
"""Where a partition without a position begins: at its first record, its end, or the first record of that time or later
(milliseconds since epoch, by the log's timestamps).
"""


class TopicPartition(NamedTuple):
    """One partition of one topic; partitions count from 0."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record as the log holds it. ``value`` None is a tombstone; ``timestamp_ms`` is the log's, since epoch."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class Outgoing(NamedTuple):
    """A record to be appended. ``partition`` None: chosen by murmur2 of the key, Java's default."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


def size_bytes(key: bytes | None, value: bytes | None, headers: Headers = ()) -> int:
    """What a record counts against ``Log.max_value_bytes``."""
    size = len(key or b"") + len(value or b"") + HEADER_BYTES * len(headers)
    for name, text in headers:
        size += (len(name) if name.isascii() else len(name.encode(errors="replace"))) + len(text)
    return size


def check_size(record: Outgoing, what: str, bytes_max: int) -> None:
    """Returns if a record fits the log.

    Raises:
        ValueTooLarge: it does not; ``what`` names it.
    """
    if (size := size_bytes(record.key, record.value, record.headers)) > bytes_max:
        raise ValueTooLarge(what, size, bytes_max)


class Position(NamedTuple):
    """How far a partition is decided. ``offset``: the next one to read; ``now_ms``: the time of the last decision."""

    offset: int
    now_ms: int


class Batch(NamedTuple):
    """The contents of one commit: documents by entity id (None: tombstone), records to append, the new position."""

    state: Mapping[bytes, bytes | None]
    appends: Sequence[Outgoing]
    position: Position


class TopicSpec(NamedTuple):
    """The required properties of a topic. ``retention_ms`` None: the log's default."""

    name: str
    partitions: int
    policy: Literal["delete", "compact"]
    retention_ms: int | None = None


class Standing(NamedTuple):
    """The progress of one partition of ``inputs``, seen from outside.

    ``owned``: a live member of the group of engines has it, or the group is rebalancing. ``offset``: the next record to
    decide; it may lag by some seconds, but is never ahead.
    """

    owned: bool
    offset: int


class Owner(Protocol):
    """The one processor of an input partition. One poll and one commit at a time, by one user.

    After ``commit`` or ``poll`` raised anything but ``ValueTooLarge`` the owner cannot be used: ``release`` it and
    ``take`` the partition again. The new owner restores the true state, also after a commit with an unknown outcome.
    """

    @property
    def partition(self) -> int: ...

    @property
    def position(self) -> Position:
        """The committed position: restored at take, moved by each successful commit."""
        ...

    @property
    def backlog_end(self) -> int:
        """The end of the input partition when it was taken: the records before it are the backlog.

        Offsets have gaps, so the position may never reach it; an empty poll then shows that the backlog is read.
        """
        ...

    def get(self, key: bytes) -> bytes | None:
        """The committed document of an entity, or None. Local: never waits on the network."""
        ...

    def documents(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """Every live document of the partition once, in no particular order; without ``~position``."""
        ...

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        """The records after the last one returned; waits up to ``timeout`` seconds for the first.

        Returns at most ``max_records``, or the fewer that are available; empty at the timeout. May be awaited while a
        ``commit`` is in progress.

        Raises:
            LogUnavailable: the log is gone for longer than its deadline; release and take again.
        """
        ...

    async def commit(self, batch: Batch) -> None:
        """Makes the whole batch visible at once; on return it is durable.

        Raises:
            OwnershipLost: another owner has the partition; nothing of the batch is visible.
            LogUnavailable: the outcome is unknown; release, take again, and use the restored position.
            ValueTooLarge: one record is over ``Log.max_value_bytes``; nothing was written, the owner stays usable.
            TopicMismatch: a topic of the batch does not exist; nothing was written.
        """
        ...

    async def release(self) -> None:
        """Releases everything within two seconds, even if the log is gone. Never raises. Idempotent."""
        ...


class Membership(Protocol):
    """One engine's membership in the group that shares the partitions of ``inputs``."""

    async def changed(self) -> frozenset[int]:
        """Waits until the assignment differs from the last one returned (at first: none); returns the whole new set.

        Raises:
            LogUnavailable: membership broke and could not be renewed; ``leave`` and join again.
        """
        ...

    async def take(self, partition: int) -> Owner:
        """Fences the predecessor, settles its open transaction, restores the documents and the position.

        Raises:
            OwnershipLost: the partition is no longer assigned to this member.
            LogUnavailable: the log did not answer in time; try again.
            CorruptRecord: the state topic and the position contradict each other; an operator must act.
        """
        ...

    async def leave(self) -> None:
        """Leaves the group so that others take over at once. Never raises, ends within five seconds. Idempotent."""
        ...


class Subscription(Protocol):
    """One consumer in a group: each record goes to one member; after a crash again, from the committed position."""

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        """As ``Owner.poll``, over all partitions assigned to this member; in order per partition.

        After a cancellation only ``commit`` and ``close`` may follow; the records are redelivered to another member.

        Raises:
            LogUnavailable: the log is gone for longer than its deadline; poll again or close.
        """
        ...

    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions of this member; records of a lost partition are redelivered to another member."""
        ...

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Records the next offset to read per partition; partitions no longer assigned are ignored.

        Raises:
            LogUnavailable: the outcome is unknown; the records may be delivered again.
        """
        ...

    async def close(self) -> None:
        """Leaves the group at once. Never raises, ends within five seconds. Idempotent."""
        ...


class Tail(Protocol):
    """A groupless reader over every partition of some topics. Not safe for concurrent use."""

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        """As ``Owner.poll``.

        Raises:
            LogUnavailable: the log is gone for longer than its deadline; poll again or close.
        """
        ...

    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset to read of every partition; ``Log.tail`` continues from there.

        As soon as it is open, it is at or after the earliest record that retention has left.
        """
        ...

    async def close(self) -> None:
        """Never raises, ends within five seconds. Idempotent."""
        ...


class Log(Protocol):
    """A connection to one log. Safe for concurrent use by tasks of one event loop."""

    @property
    def max_value_bytes(self) -> int:
        """The largest record that ``append`` and ``commit`` take: key, value and headers, by ``size_bytes``.

        A document in the state topic has no headers; its key is the entity's id.
        """
        ...

    async def create_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        """Creates the missing topics and waits until they are usable; returns their names. Changes no existing topic.

        Raises:
            TopicMismatch: an existing topic differs; the message names each difference and the remedy.
            LogUnavailable: no answer in time.
        """
        ...

    async def check_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Returns only if every topic exists as specified.

        Raises:
            TopicMismatch: the message names each missing or differing topic and the remedy.
            LogUnavailable: no answer in time.
        """
        ...

    async def topics(self) -> Collection[str]:
        """The names of all topics, in no particular order; other people's too.

        Raises:
            LogUnavailable: no answer in time.
        """
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 when it does not exist."""
        ...

    async def append(self, records: Sequence[Outgoing]) -> None:
        """On return every record is durable, in the given order per partition. Concurrent calls share round trips.

        Raises:
            LogUnavailable: some may have been written; appending them all again is safe for idempotent readers.
            ValueTooLarge: one record is over the limit; nothing was written.
            TopicMismatch: a topic does not exist.
        """
        ...

    async def join(self, inputs: str, state: str, group: str, *, start: Start = "earliest") -> Membership:
        """Joins the group that shares the partitions of ``inputs``; documents and positions are in ``state``.

        Both topics must have the same number of partitions (see ``check_topics``).

        Args:
            inputs: the topic to read.
            state: the topic that the group's owners write, and no other group.
            group: the group's name.
            start: where a partition begins that no owner has committed a position for. It is looked up at each take,
                so an owner that must not move it commits at once.
        """
        ...

    async def standing(self, inputs: str, state: str, group: str) -> Mapping[int, Standing]:
        """The progress of every partition of ``inputs``, whichever process owns it. Does not affect ownership.

        Raises:
            LogUnavailable: no answer in time.
            TopicMismatch: a topic does not exist.
        """
        ...

    async def is_read(self, topic: str, group: str) -> bool:
        """Whether live members of a group of workers have every partition of a topic, or are sharing them out.

        Raises:
            LogUnavailable: no answer in time.
            TopicMismatch: the topic does not exist.
        """
        ...

    async def consumed(self, topic: str, group: str) -> Mapping[TopicPartition, int]:
        """The next offset that a group of workers has to handle, by partition; 0 where it has committed none.

        Raises:
            LogUnavailable: no answer in time.
            TopicMismatch: the topic does not exist.
        """
        ...

    async def subscribe(self, topics: Sequence[str], group: str) -> Subscription:
        """Joins a group of workers; a group without a committed position starts at the earliest record."""
        ...

    async def tail(
        self,
        topics: Sequence[str],
        start: Mapping[TopicPartition, int] | Literal["earliest", "latest"],
        *,
        partitions: Collection[int] | None = None,
    ) -> Tail:
        """Opens a reader. On return its start is fixed: it will see everything appended from now on.

        Only the given ``partitions`` of each topic are read; None: all.

        Partitions that a mapping does not contain are read from the earliest record, as are those whose position was
        deleted by retention.
        """
        ...

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """For each partition the offset after the last committed record: a tail at or past it has read everything."""
        ...

    async def close(self) -> None:
        """Closes the connection and everything opened by it. Never raises, ends within ten seconds. Idempotent."""
        ...
