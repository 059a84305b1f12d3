"""The window: the latest events of the history in memory, shared by all readers of this process.

- It holds what the feed has read since ``floor`` (per partition), bounded by count and bytes; the oldest go first.
- Until the first reader comes it only follows the positions, so that a client that has no reader pays nothing.
- A reader has no state here: it is where its positions say. Events of a partition are in the order of the log; those of
  different partitions stand in the order in which this process has read them.
- A batch wakes only the waiters whose filter it matches, and creates no tasks. A waiter for instances, keys,
  definitions or types stands under each of them, so that other events do not look at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import structlog

from ..codec.feed_cursors import Positions
from ..codec.instance_events import read_event
from ..codec.wire import BadRecord
from ..messages.document import Status
from ..messages.instance_events import EventType, InstanceEvent
from ..ports.log import Record, TopicPartition

__all__ = ["EventFilter", "FeedEvent", "FeedPage", "Window", "later"]

_log = structlog.get_logger("sagaline.client")

_OVERHEAD_BYTES = 600
_POSITION_BYTES = 40
_ANY: Collection[str] = ()


class EventFilter(NamedTuple):
    """All given conditions hold; of several values of one condition any matches. Empty: every event."""

    definitions: Collection[str] = _ANY
    instances: Collection[str] = _ANY
    keys: Collection[str] = _ANY
    types: Collection[EventType] = ()
    statuses: Collection[Status] = ()

    def matches(self, event: InstanceEvent) -> bool:
        return (
            (not self.instances or event.instance in self.instances)
            and (not self.definitions or event.definition in self.definitions)
            and (not self.keys or event.key in self.keys)
            and (not self.types or event.type in self.types)
            and (not self.statuses or event.status in self.statuses)
        )


class FeedEvent(NamedTuple):
    """An event, and the positions after it: the reader that continues from there has processed it."""

    event: InstanceEvent
    positions: Positions


class FeedPage(NamedTuple):
    """Events in order. ``positions``: where to continue, past events that the filter has left out. ``more``: others may
    follow at once.
    """

    events: Sequence[FeedEvent]
    positions: Positions
    more: bool


def later(one: Positions, other: Positions) -> Positions:
    """The later of two positions, partition by partition."""
    if len(one) < len(other):
        one, other = other, one
    return (*map(max, one, other), *one[len(other) :])


def _passed(positions: Positions, by: Positions) -> bool:
    """True when everything before ``positions`` is before ``by``."""
    return all(map(int.__le__, positions, by)) and not any(positions[len(by) :])


class Window:
    """Not safe for use from other threads.

    Args:
        events_max: how many events are kept.
        bytes_max: about how much memory they may take.
    """

    def __init__(self, *, events_max: int = 20_000, bytes_max: int = 32 << 20) -> None:
        self._events_max, self._bytes_max = events_max, bytes_max
        self._events: list[FeedEvent] = []
        self._gone = 0
        """How many of ``_events``, from the first on, are no longer in the window; they are removed in blocks."""
        self._bytes = 0
        self._head: Positions = ()
        self._floor: list[int] = []
        self._past: Mapping[int, int] = {}
        self._waiters: dict[tuple[str, str], dict[asyncio.Future[None], EventFilter]] = {}
        """By what an event must have, see ``_places``."""
        self.waiting_count = 0
        self._stopping = False
        self.keeps = False
        """Whether events are kept. The first reader sets it."""

    @property
    def head(self) -> Positions:
        """Where the feed stands."""
        return self._head

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def __len__(self) -> int:
        return len(self._events) - self._gone

    def open(self, positions: Mapping[TopicPartition, int], past: Mapping[TopicPartition, int]) -> None:
        """The feed was opened. ``past``: up to where it will read records that were there before, for ``floor``."""
        if not self._head:
            count = max((at.partition for at in positions), default=-1) + 1
            offsets = {at.partition: offset for at, offset in positions.items()}
            self._head = tuple(offsets.get(number, 0) for number in range(count))
            self._floor = list(self._head)
            self._past = {at.partition: end for at, end in past.items()}

    def add(self, records: Sequence[Record]) -> None:
        """Takes the records of one poll, and wakes the waiters whose filter matches one of them."""
        added = [found for record in records if (found := self._take(record)) is not None]
        if not added:
            return
        self._events += added
        self._bytes += sum(map(_size, added))
        self._drop_oldest()
        for event, _ in added:
            for place in _marks(event):
                for woken, where in self._waiters.get(place, {}).items():
                    if not woken.done() and where.matches(event):
                        woken.set_result(None)

    def page(self, after: Positions, where: EventFilter, limit: int) -> FeedPage | None:
        """Events after these positions; None: the window does not hold all of them."""
        if not _passed(tuple(self._floor), after):
            return None
        found: list[FeedEvent] = []
        for each in self._from(after):
            if each.event.offset < _at(after, each.event.partition) or not where.matches(each.event):
                continue
            if len(found) == limit:
                return FeedPage(found, found[-1].positions, more=True)
            positions = each.positions if _passed(after, each.positions) else later(after, each.positions)
            found.append(FeedEvent(each.event, positions))
        return FeedPage(found, later(after, self._head), more=False)

    def behind(self, after: Positions) -> dict[int, int]:
        """The partitions whose events after these positions the window does not hold, with the positions."""
        return {number: _at(after, number) for number, first in enumerate(self._floor) if first > _at(after, number)}

    async def wait(self, where: EventFilter, seconds: float) -> None:
        """Returns when an event arrives that matches, at the end of the time, or when the process stops."""
        if self._stopping:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        places = _places(where)
        for place in places:
            self._waiters.setdefault(place, {})[woken] = where
        self.waiting_count += 1
        try:
            async with asyncio.timeout(seconds):
                await woken
        except TimeoutError:
            pass
        finally:
            self.waiting_count -= 1
            for place in places:
                del self._waiters[place][woken]
                if not self._waiters[place]:
                    del self._waiters[place]

    def stop(self) -> None:
        """Ends all present and future waits."""
        self._stopping = True
        for waiters in self._waiters.values():
            for woken in waiters:
                if not woken.done():
                    woken.set_result(None)

    def _take(self, record: Record) -> FeedEvent | None:
        number, offset = record.partition, record.offset
        if number >= len(self._head):
            new = number + 1 - len(self._head)
            self._head, self._floor = self._head + (0,) * new, self._floor + [0] * new
        if offset < self._head[number]:
            return None  # the reader has gone back
        if self._floor[number] == self._head[number] and offset < self._past.get(number, 0):
            self._floor[number] = offset  # the records before the first one are no longer in the log
        self._head = (*self._head[:number], offset + 1, *self._head[number + 1 :])
        if not self.keeps:
            self._floor[number] = offset + 1
            return None
        try:
            event = read_event(record)
        except BadRecord as error:
            place = f"{record.topic}/{number}/{offset}"
            _log.error("a record of the history that cannot be read is no event", place=place, reason=str(error))
            return None
        return FeedEvent(event, self._head) if event is not None else None

    def _from(self, after: Positions) -> Iterator[FeedEvent]:
        """Events from the first on that may be after these positions: found by halving, as positions only grow."""
        low, high = self._gone, len(self._events)
        while low < high:
            middle = (low + high) // 2
            if _passed(self._events[middle].positions, after):
                low = middle + 1
            else:
                high = middle
        return (self._events[number] for number in range(low, len(self._events)))

    def _drop_oldest(self) -> None:
        while len(self) > self._events_max or (self._bytes > self._bytes_max and len(self) > 1):
            oldest = self._events[self._gone]
            self._floor[oldest.event.partition] = oldest.event.offset + 1
            self._bytes -= _size(oldest)
            self._gone += 1
        if self._gone > len(self._events) // 2:
            del self._events[: self._gone]
            self._gone = 0


def _places(where: EventFilter) -> list[tuple[str, str]]:
    """What an event must have to match, by the condition that fewest events fulfil: one of these."""
    conditions: tuple[tuple[str, Collection[str]], ...] = (
        ("instance", where.instances),
        ("key", where.keys),
        ("definition", where.definitions),
        ("type", where.types),
    )
    kind, values = next((each for each in conditions if each[1]), ("", ("",)))
    return [(kind, value) for value in {*values}]


def _marks(event: InstanceEvent) -> tuple[tuple[str, str], ...]:
    """Everything that an event has, in the words of ``_places``."""
    known = ("instance", event.instance), ("key", event.key), ("definition", event.definition), ("type", event.type)
    return (*known, ("", ""))


def _at(positions: Positions, number: int) -> int:
    return positions[number] if number < len(positions) else 0


def _size(each: FeedEvent) -> int:
    event = each.event
    texts = len(event.instance) + len(event.reason) + len(event.by) + len(event.code)
    return _OVERHEAD_BYTES + _POSITION_BYTES * len(each.positions) + 4 * texts
