"""``Records``: what stands in the topics of the namespace, byte for byte, as a tool for Kafka would show it.

Only topics whose records the processes of the namespace alone write are read: a log may carry other people's topics.
A page looks at a bounded part of one partition and keeps no more records than it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import InvalidRequest, LogUnavailable
from ..ports.log import Record, TopicPartition
from .parts import ClientParts

__all__ = ["Records", "RecordsFilter", "RecordsPage", "TopicState"]

WINDOW = 5_000
"""How many offsets a page looks back."""
_POLLS_MAX = 40
_POLL_SECONDS = 0.5


class TopicState(NamedTuple):
    """A topic and, for each partition, the offset after its last committed record."""

    topic: str
    ends: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsFilter:
    """``key``: only records with this key; None: all. ``latest``: of each key only the newest record of the page."""

    key: bytes | None = None
    latest: bool = False


class RecordsPage(NamedTuple):
    """Records, newest first. ``before`` continues with older ones; None: there are none."""

    records: Sequence[Record]
    before: int | None


class Records:
    """Reads topics of the namespace. Safe for concurrent use by tasks of one event loop."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts

    async def topics(self) -> Sequence[TopicState]:
        """The topics that exist, by name: those of the namespace, and the queues of deployed definitions.

        Raises:
            LogUnavailable: no answer in time.
        """
        log, topics = self._parts.log, self._parts.topics
        queues = (topics.commands(name) for name in self._parts.registry.queues)
        own = {*topics.core, topics.made, topics.replies, topics.workers, topics.rules, topics.webhooks, *queues}
        there = [name for name in sorted(own) if await log.partitions(name)]
        ends = await log.end_offsets(there)
        return [TopicState(name, [ends[place] for place in sorted(ends) if place.topic == name]) for name in there]

    async def page(
        self, place: TopicPartition, where: RecordsFilter, *, before: int | None = None, limit: int
    ) -> RecordsPage:
        """Up to ``limit`` records below offset ``before``, out of the 5,000 offsets before it; None: from the end on.

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
        start = max(0, stop - WINDOW)
        found = await self._read(place, start, stop, where, limit)
        older = found[0].offset if len(found) == limit else start
        return RecordsPage(found[::-1], older if older > 0 else None)

    async def _read(
        self, place: TopicPartition, start: int, stop: int, where: RecordsFilter, limit: int
    ) -> Sequence[Record]:
        """The newest that match, oldest first."""
        kept: dict[object, Record] = {}
        if start >= stop:
            return ()
        tail = await self._parts.log.tail([place.topic], {place: start}, partitions={place.partition})
        try:
            for _ in range(_POLLS_MAX):
                for record in await tail.poll(max_records=500, timeout=_POLL_SECONDS):
                    if record.offset >= stop or (where.key is not None and record.key != where.key):
                        continue
                    name = record.key if where.latest and record.key is not None else record.offset
                    kept.pop(name, None)
                    kept[name] = record
                    if len(kept) > limit:
                        del kept[next(iter(kept))]
                if tail.positions()[place] >= stop:
                    return list(kept.values())
        finally:
            await tail.close()
        raise LogUnavailable(f"{place.topic} was not read in time; try again, or ask for fewer of its records")
