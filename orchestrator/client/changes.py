"""``Changes``: what happens to instances, from a cursor on. Every transport is a view of ``read``.

- The latest events are in the window of the feed. What is older comes from the read model, by its place in the log;
  what the read model no longer has is ``CursorTooOld``.
- Nothing is missed and nothing is repeated for a reader that continues from the positions of the last event that it
  has processed, on any node. Events of one instance come in the order of its decisions.
"""

from __future__ import annotations

import asyncio

from ..codec.feed_cursors import Positions, decode_cursor, encode_cursor
from ..codec.instance_events import read_event
from ..codec.wire import BadRecord
from ..errors import CursorTooOld, TransientError
from ..messages.instance_events import InstanceEvent
from ..ports.log import Record, TopicPartition
from ..ports.read_model import DecisionRow
from .parts import ClientParts
from .window import EventFilter, FeedEvent, FeedPage, later

__all__ = ["Changes"]

_ALL = EventFilter()
_OPEN_SECONDS = 10.0
_PAGE_ROWS = 500
_PAGES_MAX = 10
_BEHIND_SECONDS = 2.0
_LOOK_SECONDS = 0.05


class Changes:
    """Safe for concurrent use by tasks of one event loop."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts, self._window = parts, parts.feed.window
        self._identity: bytes | None = None

    @property
    def is_stopping(self) -> bool:
        """The process is about to end: ``read`` no longer waits."""
        return self._window.is_stopping

    async def present(self) -> Positions:
        """The positions of now. What has happened before is in the read model.

        Raises:
            TransientError: the log does not answer, or the read model has not caught up in time.
        """
        await self._open()
        head = self._window.head
        await self._parts.projector.caught_up(timeout=_BEHIND_SECONDS)
        return head

    async def earliest(self) -> Positions:
        """The positions of the oldest event that is kept.

        Raises:
            TransientError: the log or the read model does not answer.
        """
        await self._open()
        history, count = self._parts.topics.history, len(self._window.head)
        starts = {TopicPartition(history, number): 0 for number in range(count)}
        found = await self._parts.read_model.decisions(starts, limit=1)
        return tuple(found.first.get(number, 0) for number in range(count))

    async def positions_of(self, cursor: str) -> Positions:
        """The positions of a cursor.

        Raises:
            InvalidRequest: it is malformed, or of another namespace or log. Field ``after``.
            TransientError: the log does not answer.
        """
        return decode_cursor(cursor, await self._open(), len(self._window.head))

    def cursor_of(self, positions: Positions) -> str:
        """The cursor of positions that this feed gave: opaque text for URLs, valid on every node and after restarts."""
        if self._identity is None:
            raise TransientError("the feed is not open yet; try again")
        return encode_cursor(self._identity, positions)

    async def read(
        self, after: Positions, where: EventFilter = _ALL, *, limit: int = 100, wait: float = 0.0
    ) -> FeedPage:
        """The events after these positions that match; if there is none, waits for the first one.

        Args:
            after: where to continue.
            where: which events.
            limit: the largest number of events; at least 1.
            wait: seconds; 0: as it is now.

        Returns:
            The events, and where to continue. ``more``: read on at once; then there may be no events, as a call looks
            at a bounded number of old ones.

        Raises:
            CursorTooOld: the history no longer has all events after ``after``.
            TransientError: the log or the read model does not answer, or it has not caught up.
        """
        await self._open()
        clock = asyncio.get_running_loop()
        until = clock.time() + wait
        pages = 0
        while True:
            page = self._window.page(after, where, limit)
            if page is None:
                page = await self._older(after, where, limit)
                pages += 1
            after = page.positions
            left = until - clock.time()
            if page.events or (page.more and pages >= _PAGES_MAX):
                return page
            if page.more:
                continue
            if left <= 0 or self._window.is_stopping:
                return page
            await self._window.wait(where, left)

    async def _open(self) -> bytes:
        await self._parts.feed.opened(_OPEN_SECONDS)
        self._window.keeps = True
        if self._identity is None:
            self._identity = await self._parts.identity()
        return self._identity

    async def _older(self, after: Positions, where: EventFilter, limit: int) -> FeedPage:
        """A page of the read model: of the partitions of which the window does not have all."""
        history = self._parts.topics.history
        wanted = {TopicPartition(history, number): offset for number, offset in self._window.behind(after).items()}
        until = asyncio.get_running_loop().time() + _BEHIND_SECONDS
        while True:
            found = await self._parts.read_model.decisions(wanted, limit=_PAGE_ROWS)
            if any(found.first.get(at.partition, 0) > start for at, start in wanted.items()):
                raise CursorTooOld
            if any(found.following[at.partition] > start for at, start in wanted.items()):
                break
            if asyncio.get_running_loop().time() > until:
                raise TransientError("the read model does not have the events after this cursor yet; try again")
            await asyncio.sleep(_LOOK_SECONDS)
        events: list[FeedEvent] = []
        positions = after
        for row in found.rows:
            event = self._event(row)
            positions = _moved(positions, row.partition, row.offset + 1)
            if event is not None and where.matches(event):
                events.append(FeedEvent(event, positions))
                if len(events) == limit:
                    return FeedPage(events, positions, more=True)
        ends = tuple(found.following.get(number, 0) for number in range(len(self._window.head)))
        return FeedPage(events, later(positions, ends), more=True)

    def _event(self, row: DecisionRow) -> InstanceEvent | None:
        place = (self._parts.topics.history, row.partition, row.offset)
        try:
            return read_event(Record(*place, row.instance.encode(errors="replace"), row.value, (), 0))
        except BadRecord:
            return None  # the projector has reported it


def _moved(positions: Positions, number: int, offset: int) -> Positions:
    padded = positions + (0,) * (number + 1 - len(positions))
    return (*padded[:number], offset, *padded[number + 1 :])
