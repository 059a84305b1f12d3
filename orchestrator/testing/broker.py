"""The durable side of the log in memory: one object that outlives every process connected to it.

- A transaction is checked, written and decided at once; only a fault delays its visibility. Until then it blocks
  readers of the partitions that it touched, as Kafka's read_committed does.
- Taking an input partition first settles late transactions, then assigns a new epoch, which fences the predecessor.
- Nothing here waits. Later events (a late end, a disk with free space) are timers of the running event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from ..errors import LogUnavailable, OwnershipLost, TopicMismatch
from ..messages.partitioning import partition_of
from ..ports.clock import Clock
from ..ports.log import Headers, Outgoing, Record, TopicPartition, TopicSpec, check_size
from ..ports.topics import GROWN
from .faults import Faults
from .groups import Groups
from .partition import Partition

__all__ = ["Broker", "Row"]


class Row(NamedTuple):
    """A record to be written to its partition."""

    partition: Partition
    key: bytes | None
    value: bytes | None
    headers: Headers


class _Late:
    """A decided transaction that readers do not see yet: where it wrote, and whether it will be aborted."""

    def __init__(self, *, vanishes: bool) -> None:
        self.written: dict[Partition, list[int]] = {}
        self.vanishes = vanishes


class _Topic(NamedTuple):
    spec: TopicSpec
    partitions: list[Partition]


class Broker:
    """Topics, groups and owners, for any number of ``MemoryLog``.

    Args:
        clock: for timestamps.
        faults: the fault plan of the whole world; None: no faults.
        gaps: an offset is skipped at the end of every transaction, as in Kafka.
        max_value_bytes: the largest record that is accepted.
    """

    def __init__(
        self, clock: Clock, faults: Faults | None = None, *, gaps: bool = True, max_value_bytes: int = 900_000
    ) -> None:
        self.clock, self.faults, self.max_value_bytes = clock, faults or Faults(), max_value_bytes
        self._gaps = gaps
        self._topics: dict[str, _Topic] = {}
        self._epochs: dict[TopicPartition, int] = {}
        self._late: dict[TopicPartition, _Late] = {}
        self._full: object | None = None
        self._turn = count()
        self._after_append: dict[object, Callable[[], None]] = {}
        self._poisonable: dict[str, None] = {}
        self.groups = Groups(self.partitions)
        self.faults.at_heal(self, self._heal)

    def snapshot(self) -> dict[str, list[list[Record]]]:
        """Every record that is visible to readers, by topic and partition."""
        return {
            name: [one.read(0, len(one.records)) for one in topic.partitions] for name, topic in self._topics.items()
        }

    # Topics

    def create(self, specs: Sequence[TopicSpec]) -> list[str]:
        wrong = [text for spec in specs if spec.name in self._topics and (text := self._difference(spec))]
        if wrong:
            raise TopicMismatch("; ".join(wrong))
        created: list[str] = []
        for spec in specs:
            if spec.name not in self._topics:
                compact = spec.policy == "compact"
                partitions = [Partition(TopicPartition(spec.name, p), compact=compact) for p in range(spec.partitions)]
                self._topics[spec.name] = _Topic(spec, partitions)
                created.append(spec.name)
        return created

    def check(self, specs: Sequence[TopicSpec]) -> None:
        wrong = [text for spec in specs if (text := self._difference(spec))]
        if wrong:
            raise TopicMismatch("; ".join(wrong))

    def names(self) -> list[str]:
        return list(self._topics)

    def partitions(self, topic: str) -> int:
        found = self._topics.get(topic)
        return len(found.partitions) if found else 0

    def topic(self, name: str) -> list[Partition]:
        """Its partitions. Raises: TopicMismatch."""
        found = self._topics.get(name)
        if found is None:
            raise TopicMismatch(f"{name} does not exist: create it with `saga topics create`")
        return found.partitions

    def _difference(self, spec: TopicSpec) -> str:
        found = self._topics.get(spec.name)
        if found is None:
            return f"{spec.name} does not exist: create it with `saga topics create`"
        wrong, has = [], found.spec
        if has.partitions != spec.partitions:
            wrong.append(f"has {has.partitions} partitions, not {spec.partitions}: {GROWN}")
        if has.policy != spec.policy:
            wrong.append(f"has the policy {has.policy}, not {spec.policy}: use another namespace")
        if spec.retention_ms is not None and has.retention_ms is not None and has.retention_ms < spec.retention_ms:
            wrong.append(f"keeps records for {has.retention_ms} ms, not for {spec.retention_ms}: use another namespace")
        return f"{spec.name} " + " and ".join(wrong) if wrong else ""

    # Writing

    def route(self, records: Iterable[Outgoing]) -> list[Row]:
        """Raises: ValueTooLarge, TopicMismatch."""
        rows: list[Row] = []
        for record in records:
            self.check_size(record, f"a record of key {(record.key or b'')[:80]!r} for {record.topic}")
            partitions, chosen = self.topic(record.topic), record.partition
            if chosen is None:
                known = record.key is not None
                chosen = partition_of(record.key or b"", len(partitions)) if known else next(self._turn)
                chosen %= len(partitions)
            elif not 0 <= chosen < len(partitions):
                raise TopicMismatch(
                    f"{record.topic} has no partition {chosen}: it has {len(partitions)}; name one below that, or none"
                )
            rows.append(Row(partitions[chosen], record.key, record.value, record.headers))
        return rows

    def check_size(self, record: Outgoing, what: str) -> None:
        """Raises: ValueTooLarge."""
        check_size(record, what, self.max_value_bytes)

    def append(self, rows: Iterable[Row]) -> None:
        """Raises: LogUnavailable."""
        self._refuse_if_full()
        self._wake(self._write(rows))
        waiting, self._after_append = self._after_append, {}
        for call in waiting.values():
            call()

    def after_append(self, who: object, call: Callable[[], None] | None) -> None:
        """Calls ``call`` once after the next append; None: removes it."""
        if call is None:
            self._after_append.pop(who, None)
        else:
            self._after_append[who] = call

    def poison(self) -> bool:
        """Appends one unreadable record to a topic that engines or workers read, if there is one."""
        if not self._poisonable:
            return False
        drawn = self.faults.random
        partition = drawn.choice(self.topic(drawn.choice(list(self._poisonable))))
        key, value, headers = drawn.choice(_GARBAGE)
        self._wake(self._write([Row(partition, key, value, headers)]))
        return True

    def poisons(self, topics: Iterable[str]) -> None:
        """Adds topics that engines or workers read."""
        self._poisonable.update(dict.fromkeys(topics))

    def fill_disk(self, seconds: float) -> None:
        """Rejects all writes for this long."""
        self._full = object()
        asyncio.get_running_loop().call_later(seconds, self._make_room, self._full)

    def _make_room(self, full: object) -> None:
        if self._full is full:
            self._full = None

    def _refuse_if_full(self) -> None:
        if self._full is not None:
            raise LogUnavailable("the log's disk is full, nothing was written; free some space, then try again")

    def _write(self, rows: Iterable[Row]) -> dict[Partition, list[int]]:
        now_ms = self.clock.now_ms()
        written: dict[Partition, list[int]] = {}
        for partition, key, value, headers in rows:
            written.setdefault(partition, []).append(partition.end)
            partition.append(key, value, headers, now_ms)
        return written

    def _wake(self, touched: Iterable[Partition]) -> None:
        now_ms = self.clock.now_ms()
        for partition in touched:
            partition.grown(now_ms)

    # Owners

    def take(self, place: TopicPartition) -> int:
        """Settles late transactions, fences the predecessor and returns the new epoch."""
        self._settle(place)
        epoch = self._epochs[place] = self._epochs.get(place, 0) + 1
        return epoch

    def commit(
        self,
        place: TopicPartition,
        epoch: int,
        rows: Iterable[Row],
        *,
        late_seconds: float = 0.0,
        vanishes: bool = False,
    ) -> None:
        """Writes a batch; with ``late_seconds`` it becomes visible (or ``vanishes``) later, or at the next take.

        Raises:
            OwnershipLost: the epoch is not the latest; nothing was written.
            LogUnavailable: the disk is full; nothing was written.
        """
        if self._epochs.get(place) != epoch:
            raise OwnershipLost(
                f"another owner has taken {place.topic}/{place.partition}; nothing of the commit is visible: "
                "release this owner and wait for an assignment"
            )
        self._refuse_if_full()
        self._settle(place)
        rows, late = list(rows), _Late(vanishes=vanishes)
        if not late_seconds:
            late.written = self._write(rows)
            self._end(late)
            return
        for row in rows:
            row.partition.hold(late)
        late.written = self._write(rows)
        self._late[place] = late
        asyncio.get_running_loop().call_later(late_seconds, self._settle, place, late)

    def _settle(self, place: TopicPartition, only: _Late | None = None) -> None:
        late = self._late.get(place)
        if late is not None and only in (None, late):
            del self._late[place]
            self._end(late)

    def _end(self, late: _Late) -> None:
        for partition, offsets in late.written.items():
            if late.vanishes:
                partition.drop(offsets)
            if self._gaps:
                partition.skip()
            partition.let_go(late)
        self._wake(late.written)

    def ends(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return {one.place: one.stable for name in topics for one in self.topic(name)}

    def _heal(self) -> None:
        self._full = None
        self.groups.heal()
        for place in list(self._late):
            self._settle(place)


_GARBAGE: Sequence[tuple[bytes | None, bytes | None, Headers]] = (
    (None, b"no key", (("ce_type", b"sagaline.start"), ("ce_id", b"poison"))),
    (b"\xff\xfe", b"{}", (("ce_type", b"sagaline.start"), ("ce_id", b"poison"))),
    (b"poison/1", b"\x00\xff not JSON", (("ce_type", b"sagaline.start"), ("ce_id", b"poison"))),
    (b"poison/2", b"[1, 2]", (("ce_type", b"sagaline.reply.completed"), ("ce_id", b"poison"))),
    (b"poison/3", b"{}", (("ce_type", b"nobody.knows.this"), ("ce_id", b"poison"))),
    (b"poison/4", b"{}", ()),
    (b"poison/5", None, (("ce_type", b"sagaline.act"), ("ce_id", b"poison"))),
    (b"poison/6", b'{"definition": 7}', (("ce_type", b"sagaline.start"), ("ce_id", b"poison"))),
    (b"poison/7", b'{"a":' * 5_000, (("ce_type", b"sagaline.start"), ("ce_id", b"poison"))),
    (b"poison/8", b"x" * 899_900, (("ce_type", b"sagaline.start"), ("ce_id", b"poison"))),
    (b"poison/9", b"x" * 1_000_000, (("ce_type", b"sagaline.act"), ("ce_id", b"poison"))),
    (b"poison/0", b"{}", (("content-type", b"application/cloudevents+json"), ("ce_id", b"poison"))),
)
"""Unreadable records: as other clients may write them, also of the log's size limit and larger."""
