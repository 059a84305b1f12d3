"""``Queues``: how much waits on each queue, who reads it, and why something waits.

How far a queue is handled is asked of the log; what happens inside workers they tell themselves every few seconds, on
``{ns}.workers``. A worker that tells nothing, such as one in another language, is seen only as a member of its group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Literal, TypeAlias

from ...sagas.contract import PRIORITIES, Priority, priority_of
from ..codec.presences import Presence, decode_presence
from ..ports.log import Record, TopicPartition
from ..ports.waiting import first_records
from .parts import ClientParts

__all__ = ["QueueState", "Queues", "Why"]

Why: TypeAlias = Literal["idle", "nobody-reads", "circuit", "limit", "backlog"]
_FRESH_MS = 20_000
"""A worker that has told nothing for so long is taken for gone; it tells every 5 s."""
_TOLD_MAX = 5_000
_POLLS_MAX = 20
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue, or one lane of it.

    ``waiting``: at most so many commands are not answered, those in work included; it is a distance of offsets, so that
    transaction markers and commands that were answered ahead of an earlier one count too. ``in_work``: those that
    workers have read. ``oldest_ms``: when the oldest of them was written; None: none waits. ``workers``: the running
    ones that told of it, one entry each. ``why`` and ``reason``: what it waits for, for programs and for people.
    """

    queue: str
    lane: Priority
    waiting: int
    in_work: int
    oldest_ms: int | None
    workers: tuple[str, ...]
    why: Why
    reason: str


class Queues:
    """Every queue of a deployed definition, and every one that a running worker has told of."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts

    async def list(self) -> Sequence[QueueState]:
        """All queues by name, each with its lanes, the most urgent first.

        Raises:
            LogUnavailable: no answer in time.
        """
        present = await self._present()
        told = {work.queue for each in present for work in each.queues}
        names = sorted({*self._parts.registry.queues, *told}, key=_by_lane)
        exists = await asyncio.gather(*map(self._exists, names))
        there = list(compress(names, exists))
        if not there:
            return ()
        log, topics = self._parts.log, self._parts.topics
        ends = await log.end_offsets([topics.commands(name) for name in there])
        starts: dict[TopicPartition, int] = {}
        for each in await asyncio.gather(*(log.consumed(topics.commands(name), self._group(name)) for name in there)):
            starts |= each
        first = await first_records(log, starts, ends)
        return await asyncio.gather(*(self._state(name, present, first, ends) for name in there))

    async def _state(
        self,
        name: str,
        present: Sequence[Presence],
        first: Mapping[TopicPartition, Record],
        ends: Mapping[TopicPartition, int],
    ) -> QueueState:
        topic = self._parts.topics.commands(name)
        mine = {place: record for place, record in first.items() if place.topic == topic}
        waiting = sum(ends[place] - record.offset for place, record in mine.items())
        read = await self._parts.log.is_read(topic, self._group(name))
        why, reason = _why(name, waiting, present, read=read)
        return QueueState(
            queue=_plain(name),
            lane=priority_of(name),
            waiting=waiting,
            in_work=sum(work.unfinished for each in present for work in each.queues if work.queue == name),
            oldest_ms=min((record.timestamp_ms for record in mine.values()), default=None),
            workers=tuple(sorted(each.worker for each in present if any(work.queue == name for work in each.queues))),
            why=why,
            reason=reason,
        )

    def _group(self, name: str) -> str:
        return f"{self._parts.topics.namespace}.worker.{name}"

    async def _exists(self, name: str) -> bool:
        return bool(await self._parts.log.partitions(self._parts.topics.commands(name)))

    async def _present(self) -> Sequence[Presence]:
        """What each running worker told last."""
        log, topic = self._parts.log, self._parts.topics.workers
        if not await log.partitions(topic):
            return []
        place = TopicPartition(topic, 0)
        end = (await log.end_offsets([topic]))[place]
        tail = await log.tail([topic], {place: max(0, end - _TOLD_MAX)})
        last: dict[str, Presence] = {}
        try:
            for _ in range(_POLLS_MAX):
                if tail.positions()[place] >= end:
                    break
                for record in await tail.poll(max_records=_TOLD_MAX, timeout=_POLL_SECONDS):
                    found = decode_presence(record)
                    if found is not None and self._parts.clock.now_ms() - record.timestamp_ms < _FRESH_MS:
                        last[found.run] = found
        finally:
            await tail.close()
        return [each for each in last.values() if not each.ended]


def _plain(name: str) -> str:
    """The queue of a lane."""
    return name.removesuffix(f".{priority_of(name)}")


def _by_lane(name: str) -> tuple[str, int]:
    return _plain(name), PRIORITIES.index(priority_of(name))


def _why(name: str, waiting: int, present: Sequence[Presence], *, read: bool) -> tuple[Why, str]:
    """Why commands of a queue wait, and what to do about it."""
    if not waiting:
        return "idle", ""
    if not read:
        return "nobody-reads", "no worker reads it: start one (saga worker MODULE:WORKER)"
    held = [held for each in present for work in each.queues if work.queue == name for held in work.held if held.count]
    circuits = sorted({each.name for each in held if each.by == "circuit"})
    if circuits:
        return "circuit", (
            f"handlers of {', '.join(circuits)} fail: one command is tried from time to time; look at the worker's log "
            "for what they need"
        )
    limits = sorted({each.name for each in held if each.by == "limit"})
    if limits:
        return "limit", f"limit {', '.join(limits)} is reached: it continues by itself; to change it use `saga limits`"
    return "backlog", "workers are busy with earlier commands: start more of them if it grows"
