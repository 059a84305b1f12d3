"""Groups: members, the assignment of partitions, and the two kinds of member.

One table has all members of all groups with the time when each was last seen. Partition p of a topic belongs to the
member of rank ``p % members`` in the order of joining. A change increases the generation, and all members read the
assignment again. The rank only says who should take a partition; the epoch ensures that no other member writes for it
(see operations.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from ...errors import LogUnavailable, OwnershipLost, SagalineError
from ...ports.log import Owner, Record, TopicPartition
from .feed import Cursor, Feed, Topic
from .operations import OWNERS, Advance, Call, Claim, Seat, claim, leave
from .schema import first_id
from .writer import Writer

__all__ = ["Groups", "SqliteMembership", "SqliteSubscription", "has_members"]

_LEAVE_SECONDS = 2.0


def has_members(feed: Feed, group: str, topic: str, now_ms: int) -> bool:
    """True when the group has a live member for the topic; then each partition has an owner.

    Raises:
        LogUnavailable: the file cannot be read.
    """
    rows = feed.rows(
        "SELECT 1 FROM members WHERE grp = ? AND topic = ? AND ? BETWEEN seen_ms - timeout_ms AND seen_ms + timeout_ms "
        "LIMIT 1",
        (group, topic, now_ms),
    )
    return bool(rows)


class Groups:
    """The event loop's view of all groups, and the seats of this process."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._members: dict[tuple[str, str], list[str]] = {}
        self._listeners: dict[object, Callable[[], None]] = {}
        self._leftover: list[Seat] = []
        self.seats: list[Seat] = []
        self.generation = -1
        self.broken: LogUnavailable | None = None
        """Why the seats could not be renewed; None while they are."""

    def refresh(self) -> None:
        """Raises: LogUnavailable."""
        ((generation,),) = self._feed.rows("SELECT value FROM generation")
        if generation == self.generation:
            return
        members: dict[tuple[str, str], list[str]] = {}
        for group, topic, member in self._feed.rows("SELECT grp, topic, member FROM members ORDER BY seq"):
            members.setdefault((str(group), str(topic)), []).append(str(member))
        self._members, self.generation = members, int(str(generation))
        self.wake()

    def set_broken(self, error: LogUnavailable | None) -> None:
        if self.broken is not error:
            self.broken = error
            self.wake()

    def wake(self) -> None:
        for listener in self._listeners.values():
            listener()

    def assignment(self, seat: Seat, partitions: int) -> frozenset[int]:
        members = self._members.get((seat.group, seat.topic), [])
        if seat.member not in members:
            return frozenset()
        return frozenset(range(members.index(seat.member), partitions, len(members)))

    def enter(self, who: object, seats: Sequence[Seat], listener: Callable[[], None]) -> None:
        self.seats += seats
        self._listeners[who] = listener

    def exit(self, who: object, seats: Sequence[Seat]) -> bool:
        """Removes it. True: it was still in."""
        self.seats = [seat for seat in self.seats if seat not in seats]
        return self._listeners.pop(who, None) is not None

    async def leave_all(self, writer: Writer) -> None:
        seats, self.seats = self.seats, []
        self._listeners.clear()
        await self._give_up(seats, writer)

    async def leave(self, who: object, seats: Sequence[Seat], writer: Writer) -> None:
        """Never raises; if it cannot be written, the seats expire."""
        if self.exit(who, seats):
            await self._give_up(seats, writer)

    async def _give_up(self, seats: Sequence[Seat], writer: Writer) -> None:
        if not seats:
            return
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await writer.submit(Call(partial(leave, seats)))
        except (SagalineError, TimeoutError):
            self._leftover += seats

    async def clear_leftover(self, writer: Writer) -> None:
        """Gives up seats that could not be given up before, so that others need not wait until they expire."""
        seats, self._leftover = self._leftover, []
        await self._give_up(seats, writer)


class SqliteMembership:
    """See ``Membership``."""

    def __init__(
        self,
        seat: Seat,
        topics: tuple[Topic, Topic],
        groups: Groups,
        writer: Writer,
        own: Callable[[int, int], Awaitable[Owner]],
    ) -> None:
        self._seat, self._groups, self._writer, self._own = seat, groups, writer, own
        self._inputs, self._state = topics
        self._news = asyncio.Event()
        self._last: frozenset[int] = frozenset()
        self._left = False
        groups.enter(self, [seat], self._news.set)

    async def changed(self) -> frozenset[int]:
        while True:
            self._news.clear()
            if self._groups.broken is not None:
                raise LogUnavailable(str(self._groups.broken))
            if self._left:
                raise LogUnavailable("this member has left its group; join again")
            found = self._groups.assignment(self._seat, self._inputs.partitions)
            if found != self._last:
                self._last = found
                return found
            await self._news.wait()

    async def take(self, partition: int) -> Owner:
        part = self._state.first_part + partition
        claimed = await self._writer.submit(Call(partial(claim, OWNERS, self._seat, {part: partition}, {})))
        if self._left or part not in claimed:
            raise OwnershipLost(
                f"{self._inputs.name}/{partition} is not assigned to this member; wait for the next assignment"
            )
        return await self._own(partition, claimed[part].epoch)

    async def leave(self) -> None:
        self._left = True
        self._news.set()
        await self._groups.leave(self, [self._seat], self._writer)


class SqliteSubscription:
    """See ``Subscription``."""

    def __init__(self, group: str, seats: Mapping[Topic, Seat], feed: Feed, groups: Groups, writer: Writer) -> None:
        self._group, self._seats, self._groups, self._writer = group, seats, groups, writer
        self._cursor = Cursor(feed)
        self._held: dict[int, int] = {}
        self._generation = -1
        self._closed = False
        groups.enter(self, list(seats.values()), self._cursor.wake)

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        until = asyncio.get_running_loop().time() + timeout
        while True:
            if self._closed:
                raise LogUnavailable("this subscription is closed; subscribe again")
            if self._generation != self._groups.generation:
                await self._reassign()
            records = self._cursor.read(max_records)
            if records or not await self._cursor.wait(until):
                return records

    def assigned(self) -> frozenset[TopicPartition]:
        return frozenset(tp for part, tp in self._wanted().items() if part in self._held)

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        parts = {tp: part for part, tp in self._cursor.parts.items()}
        known = {parts[tp]: (self._held[parts[tp]], offset) for tp, offset in positions.items() if tp in parts}
        if known:
            await self._writer.submit(Advance(self._group, known))

    async def close(self) -> None:
        self._closed = True
        self._held = {}
        self._cursor.close()
        await self._groups.leave(self, list(self._seats.values()), self._writer)

    def _wanted(self) -> dict[int, TopicPartition]:
        return {
            topic.first_part + partition: TopicPartition(topic.name, partition)
            for topic, seat in self._seats.items()
            for partition in self._groups.assignment(seat, topic.partitions)
        }

    async def _reassign(self) -> None:
        """Claims the partitions of this member's rank; those that others have held meanwhile continue at their
        committed position.
        """
        generation, wanted = self._groups.generation, self._wanted()
        claimed: dict[int, Claim] = {}
        for topic, seat in self._seats.items():
            parts = {part: tp.partition for part, tp in wanted.items() if tp.topic == topic.name}
            if parts:
                claimed |= await self._writer.submit(Call(partial(claim, self._group, seat, parts, dict(self._held))))
        if self._closed:
            return
        starts = {p: first_id(p) + found.next_offset for p, found in claimed.items() if found.next_offset is not None}
        # First the cursor: if that fails nothing is held yet, and the next claim returns the positions again.
        self._cursor.assign({part: wanted[part] for part in claimed}, starts)
        self._held = {part: found.epoch for part, found in claimed.items()}
        self._generation = generation
