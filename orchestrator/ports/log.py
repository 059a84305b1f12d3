"""The log port: partitioned topics of records, and atomic commits by the one owner of an input partition.

What lives here: the guarantees the engine, the workers and the clients stand on. What must not: anything of a driver.
Every adapter passes the same suite (tests/contract/log_contract.py).

- A *topic* has partitions; a partition is an ordered list of records with growing offsets (gaps are allowed).
- ``append`` is for clients and workers: at least once, ordered per call and partition.
- An ``Owner`` is the only writer of decisions for one partition of ``inputs``: ``commit`` makes state, appends and
  position visible together or not at all, and is refused once somebody else has taken the partition.
- Sizes are those of whole records: key, value and headers, as ``size_bytes`` counts them.
- Readers (``Tail``, ``Subscription``, ``Owner.poll``) see committed records only, in offset order.
- Every call has a deadline of its own: when the other side is gone it raises ``LogUnavailable``, it never hangs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

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
    "Subscription",
    "Tail",
    "TopicPartition",
    "TopicSpec",
    "size_bytes",
]

_HEADER_BYTES = 8
"""What a header costs beside its name and value, at most: Kafka writes both lengths."""

Headers = tuple[tuple[str, bytes], ...]
"""Kafka's form of headers: ordered (name, value) pairs; names may repeat, ours never do."""


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
    size = len(key or b"") + len(value or b"") + _HEADER_BYTES * len(headers)
    for name, text in headers:
        size += (len(name) if name.isascii() else len(name.encode(errors="replace"))) + len(text)
    return size


class Position(NamedTuple):
    """How far a partition is decided: ``offset`` is the next to read, ``now_ms`` the time of the last decision."""

    offset: int
    now_ms: int


class Batch(NamedTuple):
    """What one commit makes visible: documents by entity id (None: tombstone), records to append, the new position."""

    state: Mapping[bytes, bytes | None]
    appends: Sequence[Outgoing]
    position: Position


class TopicSpec(NamedTuple):
    """A topic as it must be. ``retention_ms`` None leaves the log's default."""

    name: str
    partitions: int
    policy: Literal["delete", "compact"]
    retention_ms: int | None = None


class Standing(NamedTuple):
    """How one partition of ``inputs`` stands, seen from outside.

    ``owned``: a live member of the group of engines has it, or the group is sharing it out. ``offset``: the next record
    to decide; never ahead of the truth, and some seconds behind it at most.
    """

    owned: bool
    offset: int


class Owner(Protocol):
    """The one processor of an input partition. One poll and one commit at a time, by one user.

    After ``commit`` or ``poll`` raised anything but ``ValueTooLarge`` the owner is spent: ``release`` it and ``take``
    the partition again; what the new owner restores is the truth, also about a commit whose outcome was unknown.
    """

    @property
    def partition(self) -> int: ...

    @property
    def position(self) -> Position:
        """The committed position: restored at take, moved by each successful commit."""
        ...

    @property
    def backlog_end(self) -> int:
        """The end of the input partition when it was taken: what lies before it had come before this owner did.

        Offsets have gaps, so the position may never reach it: an empty poll of some time says as much.
        """
        ...

    def get(self, key: bytes) -> bytes | None:
        """The committed document of an entity, or None. Local: never waits on the network."""
        ...

    def documents(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """Every live document of the partition once, in no particular order; without ``~position``."""
        ...

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        """What has arrived after the last record returned; waits up to ``timeout`` seconds for the first.

        Returns at most ``max_records``, fewer as soon as nothing more is at hand; empty at the timeout. May be awaited
        while a ``commit`` is under way.

        Raises:
            LogUnavailable: the log is gone for longer than its deadline; release and take again.
        """
        ...

    async def commit(self, batch: Batch) -> None:
        """Makes the whole batch visible at once; on return it is durable.

        Raises:
            OwnershipLost: somebody else owns the partition; nothing of the batch is visible.
            LogUnavailable: the outcome is unknown; release, take again, and look at the restored position.
            ValueTooLarge: one record is over ``Log.max_value_bytes``; nothing was written, the owner stays usable.
            TopicMismatch: a topic of the batch does not exist; nothing was written.
        """
        ...

    async def release(self) -> None:
        """Gives everything back within two seconds, also when the log is gone. Never raises. Idempotent."""
        ...


class Membership(Protocol):
    """One engine's place in the group that shares out the partitions of ``inputs``."""

    async def changed(self) -> frozenset[int]:
        """Waits until the assignment differs from the one returned last (at first: from none); the whole new set.

        Raises:
            LogUnavailable: membership broke and could not be renewed; ``leave`` and join again.
        """
        ...

    async def take(self, partition: int) -> Owner:
        """Fences the predecessor, settles what it left, restores the documents and the position.

        Raises:
            OwnershipLost: the partition is no longer assigned to this member.
            LogUnavailable: the log did not answer in time; try again.
            CorruptRecord: the state topic and the position contradict each other; an operator must look.
        """
        ...

    async def leave(self) -> None:
        """Leaves the group so that others take over at once. Never raises, ends within five seconds. Idempotent."""
        ...


class Subscription(Protocol):
    """One consumer in a group: each record goes to one member; again from the committed position after a crash."""

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        """As ``Owner.poll``, over all partitions assigned to this member; in order per partition.

        Once cancelled, only ``commit`` and ``close`` may follow; what it would have given comes to somebody else.

        Raises:
            LogUnavailable: the log is gone for longer than its deadline; poll again or close.
        """
        ...

    def assigned(self) -> frozenset[TopicPartition]:
        """What this member holds now; a partition that left it is redelivered to another member."""
        ...

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Records the next offset to read per partition; partitions no longer assigned are passed over silently.

        Raises:
            LogUnavailable: not known whether it was recorded; the records may be delivered again.
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
        """The next offset to read of every partition: what ``Log.tail`` takes to go on from here."""
        ...

    async def close(self) -> None:
        """Never raises, ends within five seconds. Idempotent."""
        ...


class Log(Protocol):
    """A connection to one log. Safe for concurrent use by tasks of one event loop."""

    @property
    def max_value_bytes(self) -> int:
        """The largest record that ``append`` and ``commit`` take: key, value and headers, by ``size_bytes``.

        A document in the state topic has no headers, its key is the entity's id.
        """
        ...

    async def create_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        """Creates those that are missing, waits until they can be used; the names it created. Changes no existing one.

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

    async def join(self, inputs: str, state: str, group: str) -> Membership:
        """Joins the group of engines that share out the partitions of ``inputs``; documents stand in ``state``.

        Both topics have the same number of partitions (``check_topics`` has seen to it).
        """
        ...

    async def standing(self, inputs: str, state: str, group: str) -> Mapping[int, Standing]:
        """How every partition of ``inputs`` stands, in whatever process its owner runs. Takes nothing from anybody.

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

    async def subscribe(self, topics: Sequence[str], group: str) -> Subscription:
        """Joins a group of workers; a group without a committed position starts at the earliest record."""
        ...

    async def tail(
        self, topics: Sequence[str], start: Mapping[TopicPartition, int] | Literal["earliest", "latest"]
    ) -> Tail:
        """Opens a reader. On return its start is fixed: what is appended from now on will be seen.

        A mapping may leave partitions out (read from the earliest). A position whose record has been deleted by
        retention goes on at the earliest one.
        """
        ...

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """For each partition the offset after the last committed record: a tail whose position is >= it has all."""
        ...

    async def close(self) -> None:
        """Closes the connection and everything opened from it. Never raises, ends within ten seconds. Idempotent."""
        ...
