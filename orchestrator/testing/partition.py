"""One partition in memory: its records, the visible offset, and its listeners."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from operator import attrgetter

from ..ports.log import Headers, Record, Start, TopicPartition

__all__ = ["Partition"]

_COMPACT_MIN = 200
_TOMBSTONE_MS = 86_400_000
_offset = attrgetter("offset")


class Partition:
    """Offsets only grow; records at or after ``stable`` are not visible yet (read_committed)."""

    def __init__(self, place: TopicPartition, *, compact: bool) -> None:
        self.place, self._compact = place, compact
        self.records: list[Record] = []
        self.end = 0
        self._held: dict[object, int] = {}
        self._readers: dict[object, Callable[[], None]] = {}
        self._compact_at = _COMPACT_MIN

    @property
    def stable(self) -> int:
        """One past the last visible offset."""
        return min(self._held.values()) if self._held else self.end

    def first(self, start: Start) -> int:
        """The visible offset at which a reader begins."""
        if start == "earliest":
            return 0
        later = (r.offset for r in self.records if start != "latest" and r.timestamp_ms >= start)
        return min(next(later, self.stable), self.stable)

    def append(self, key: bytes | None, value: bytes | None, headers: Headers, now_ms: int) -> None:
        topic, partition = self.place
        self.records.append(Record(topic, partition, self.end, key, value, headers, now_ms))
        self.end += 1

    def skip(self) -> None:
        """Skips an offset, like the marker at the end of a transaction."""
        self.end += 1

    def read(self, start: int, max_records: int) -> list[Record]:
        first = bisect_left(self.records, start, key=_offset)
        found = self.records[first : first + max_records]
        if self._held:
            stable = self.stable
            found = [record for record in found if record.offset < stable]
        return found

    # Decided but not yet visible

    def hold(self, who: object) -> None:
        """Records appended after this are not visible until ``let_go``."""
        self._held.setdefault(who, self.end)

    def let_go(self, who: object) -> None:
        self._held.pop(who, None)

    def drop(self, offsets: Iterable[int]) -> None:
        """Removes records that were never seen."""
        gone = frozenset(offsets)
        self.records = [record for record in self.records if record.offset not in gone]

    # Listeners

    def listen(self, who: object, wake: Callable[[], None] | None) -> None:
        """Calls ``wake`` whenever there may be new records; None: stops that."""
        if wake is None:
            self._readers.pop(who, None)
        else:
            self._readers[who] = wake

    def grown(self, now_ms: int) -> None:
        """Wakes readers, and compacts from time to time."""
        if self._compact and len(self.records) >= self._compact_at:
            self._shrink(now_ms)
        for wake in list(self._readers.values()):
            wake()

    def _shrink(self, now_ms: int) -> None:
        """Keeps the last record of every key, tombstones for a day, and the last record."""
        stable = self.stable
        last = {record.key: record.offset for record in self.records if record.offset < stable}
        self.records = [
            record
            for record in self.records
            if record.offset >= stable
            or record.offset == self.records[-1].offset
            or (
                last[record.key] == record.offset
                and (record.value is not None or record.timestamp_ms > now_ms - _TOMBSTONE_MS)
            )
        ]
        self._compact_at = max(_COMPACT_MIN, 2 * len(self.records))
