"""``Records``: what stands in the topics of the namespace, byte for byte, as a tool for Kafka would show it.

Only topics whose records the processes of the namespace alone write are read: a log may carry other people's topics.
A page looks at a bounded part of one partition and keeps no more records than it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import InvalidRequest, LogUnavailable
from ..ports.log import Log, Record, Tail, TopicPartition
from .parts import ClientParts

__all__ = ["Records", "RecordsFilter", "RecordsPage", "TopicState"]

WINDOW = 5_000
"""How many offsets a page looks back."""
_POLLS_MAX = 120
"""Of a page: more than its limit, as a poll of large records returns one or two."""
_POLL_RECORDS = 500
_POLL_SECONDS = 0.25


class TopicState(NamedTuple):
    """A topic and, for each partition, the offset after its last committed record."""

    topic: str
    ends: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsFilter:
    """``key``: only records with this key; None: all. ``latest``: of each key only the newest record of the page."""

    key: bytes | None = None
    latest: bool = False

    def fits(self, key: bytes | None) -> bool:
        return self.key is None or key == self.key


class RecordsPage(NamedTuple):
    """Records, newest first. ``before`` continues with older ones; None: there are none."""

    records: Sequence[Record]
    before: int | None


class Records:
    """Reads topics of the namespace. Safe for concurrent use by tasks of one event loop."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts

    async def topics(self) -> Sequence[TopicState]:
        """All topics of the namespace that exist, by name.

        Raises:
            LogUnavailable: no answer in time.
        """
        log = self._parts.log
        there = sorted(name for name in await log.topics() if self._parts.topics.owns(name))
        ends = await log.end_offsets(there)
        return [TopicState(name, [ends[place] for place in sorted(ends) if place.topic == name]) for name in there]

    async def page(
        self, place: TopicPartition, where: RecordsFilter, *, before: int | None = None, limit: int
    ) -> RecordsPage:
        """Up to ``limit`` records below offset ``before``, out of the 5,000 offsets before it; None: from the end on.

        Of fewer offsets where their records are too large to be read at once: ``RecordsPage.before`` continues there.

        Raises:
            InvalidRequest: the topic is not one of the namespace, or has no such partition.
            LogUnavailable: no answer in time.
        """
        log = self._parts.log
        if not self._parts.topics.owns(place.topic):
            raise InvalidRequest(f"{place.topic!r} is no topic of this namespace; see GET /v1/topics", field="topic")
        if place.partition >= (count := await log.partitions(place.topic)):
            text = f"{place.topic} has {count} partitions, counted from 0" if count else f"{place.topic} does not exist"
            raise InvalidRequest(f"{text}; see GET /v1/topics", field="partition" if count else "topic")
        end = (await log.end_offsets([place.topic]))[place]
        stop = end if before is None else min(before, end)
        read, floor, span = _Backwards(log, place, where, limit, stop), max(0, stop - WINDOW), limit
        while read.start > max(floor, read.first) and len(read.found) < limit:
            if not await read.extend(max(floor, read.start - span)):
                break
            span = min(4 * span, _POLL_RECORDS)
        older = read.found[0].offset if len(read.found) == limit else read.start
        return RecordsPage(read.found[::-1], older if older > read.first else None)


class _Backwards:
    """Reads from the newest record back, part by part, as a log is read forwards only.

    ``found``: what matches from ``start`` on, oldest first. ``first``: no record is before it, as far as it is known.
    """

    def __init__(self, log: Log, place: TopicPartition, where: RecordsFilter, limit: int, stop: int) -> None:
        self._log, self._place, self._where, self._limit = log, place, where, limit
        self._polls_left = _POLLS_MAX
        self.found: Sequence[Record] = ()
        self._stop = self.start = stop
        self.first = 0

    async def extend(self, start: int) -> bool:
        """Reads the part from ``start`` on too. False: that took too long, and what was found before is as it was.

        Raises:
            LogUnavailable: the first part took too long.
        """
        tail = await self._log.tail([self._place.topic], {self._place: start}, partitions={self._place.partition})
        try:
            if (opened := tail.positions()[self._place]) > start:
                self.first = start = opened
            older = await self._matching(tail)
        finally:
            await tail.close()
        if older is not None:
            self.found, self.start = [*older, *self.found], start
        elif self.start == self._stop:
            text = f"{self._place.topic} was not read in time; try again, with a smaller limit if its records are large"
            raise LogUnavailable(text)
        return older is not None

    async def _matching(self, tail: Tail) -> Sequence[Record] | None:
        """The newest that match and are before ``start``, oldest first; None: they are not read in time."""
        kept: dict[object, Record] = {}
        newer = {record.key for record in self.found} - {None} if self._where.latest else ()
        while (left := self.start - tail.positions()[self._place]) > 0:
            if not self._polls_left:
                return None
            self._polls_left -= 1
            for record in await tail.poll(max_records=min(left, _POLL_RECORDS), timeout=_POLL_SECONDS):
                if record.offset >= self.start or record.key in newer or not self._where.fits(record.key):
                    continue
                name = record.key if self._where.latest and record.key is not None else record.offset
                kept.pop(name, None)
                kept[name] = record
                if len(kept) + len(self.found) > self._limit:
                    del kept[next(iter(kept))]
            await asyncio.sleep(0)  # a poll of the log in one file does not wait
        return list(kept.values())
