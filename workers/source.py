"""One owned partition of a subscription: messages in, and one commit out with their position and all that follows.

    owner ─▶ filter on headers ─▶ by key ─▶ slots ─▶ filter on bodies ─▶ parked? ─▶ expired? ─▶ duplicate? ─▶ handler
          ─▶ finished | published | posted to a parcel | dead letter ─▶ commit

The effect of a crash:

1. before the commit: nothing was visible; the next owner reads from the last position, and handles again what was at
   work. What was finished ahead of an unfinished message is remembered with ``exactly_once``, and repeated otherwise.
2. after it: position, markers, letters and publications stand together.

A message that fails is posted to the parcel of its group and key, and so is every later one of that key: the marker of
the key says up to which offset. The parcel gives them back one at a time through the topic of redeliveries, and then
releases the key (docs/decisions/0015).

**Careful mode.** Who takes a partition that another process left open suspects the messages that may have been at work:
they are counted before each delivery, first together, then one at a time. A message that three processes had, none of
which came back, is parked without being handled (``suspects``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import structlog
from pydantic import TypeAdapter

from ..orchestrator.errors import CorruptRecord, LogUnavailable
from ..orchestrator.messages.parcels import parcel_id
from ..orchestrator.ports.log import Batch, Outgoing, Owner, Position, Record, Tail, TopicPartition
from .arrived import Arrived, Effect, Reading
from .dedup import DEDUP, Identity, Remembered
from .failures import Failures
from .letters import Redelivered, redelivered
from .outcomes import REDELIVERED, Outcomes
from .suspects import OPEN, SEEN, Suspects

__all__ = ["SourcePartition"]

_KEY: Final = b"key/"
_POLL_MAX: Final = 1_000
_POLL_MIN: Final = 50
"""With room for fewer messages it waits: a poll costs as much as some of them."""
_UNFINISHED_MAX: Final = 2_000
"""Messages of a partition after the first unfinished one; then the partition waits for that one."""
_COMMIT_SECONDS: Final = 0.1
"""How long a position alone waits for its commit; letters and publications leave at once."""
_IDLE_SECONDS: Final = 600.0
_CAREFUL_MAX: Final = 2_000
_OFFSET: Final = TypeAdapter(int)
_OFFSETS: Final = TypeAdapter(list[int])
_NAME: Final = TypeAdapter(str)
_NAMES: Final = TypeAdapter(list[str])
T = TypeVar("T")
_logger = structlog.get_logger(__name__)


class SourcePartition:
    """Drives one owner that was just taken; see ``ownership.Driver``."""

    def __init__(self, owner: Owner, reading: Reading) -> None:
        self._owner, self._how = owner, reading
        self._redeliveries = TopicPartition(reading.redeliveries, owner.partition)
        self._outcomes = Outcomes(
            self._redeliveries, owner.position.offset, keeps_ahead=reading.delivery == "exactly_once"
        )
        self._offsets = self._outcomes.offsets
        self._markers: dict[bytes, int] = {}
        self._suspects, self._failures = Suspects(reading.process), Failures("subscription.redeliveries")
        self._remembered = Remembered()
        self._careful_until = self._careful_redelivered_until = -1
        self._pending = asyncio.Event()
        self._at_work = 0
        self._skips = False
        """Something was finished ahead before this owner took the partition."""
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._polls: list[asyncio.Task[Sequence[Record]]] = []
        self.stopping = self._abandoned = self._closed = False
        self._end_at = 0.0
        self.reading = False
        """Its position is restored and committed; it reads from there."""
        self.idle = asyncio.Event()

    @property
    def partition(self) -> int:
        return self._owner.partition

    @property
    def objection(self) -> str | None:
        """Why it reads not all that it should; None: it does, or has not begun."""
        return f"its redeliveries cannot be read: {self._failures.last}" if self._failures.last is not None else None

    @property
    def abandoned(self) -> bool:
        """The process crashes."""
        return self._abandoned

    def stop(self) -> None:
        """Reads nothing more; ``idle`` is set when what is at work has ended and is committed."""
        self.stopping = True
        self._end_at = asyncio.get_running_loop().time() + self._how.grace_seconds
        for poll in self._polls:
            poll.cancel()
        self._pending.set()

    def abandon(self) -> None:
        """The process crashes: nothing more is committed, and the next owner is to know it."""
        self.stopping = self._abandoned = True
        self._offsets.keep(())
        self.idle.set()
        self._quiet.set()
        self._pending.set()

    async def run(self) -> NoReturn:
        """Never returns.

        Raises:
            OwnershipLost, LogUnavailable: as ``Owner``; the owner is spent.
            CorruptRecord: the next record, or a document, can never be read.
        """
        try:
            await self._restore()
            tail = await self._how.log.tail(
                [self._redeliveries.topic],
                {self._redeliveries: self._outcomes.redelivered_offset},
                partitions=[self.partition],
            )
            self.reading = True
            try:
                await self._all(self._commit_all(), self._read_source(), self._read_redelivered(tail))
            finally:
                await tail.close()
        finally:
            self.stopping = True
            self._offsets.keep(())  # every mark of it is lost: handlers still at work finish nothing here
            self.idle.set()
        raise AssertionError("only an error ends it")

    async def _all(self, *parts: Awaitable[None]) -> None:
        """Runs the parts until one raises; its error is raised alone."""
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            # A message whose position was committed first may have been handed over after the last commit.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), max(0.0, self._end_at - asyncio.get_running_loop().time()))
            self.idle.set()
            await asyncio.Event().wait()
        finally:
            ending: list[asyncio.Future[Any]] = [*tasks, *self._polls]
            for each in ending:
                each.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    # What handlers report

    def done(self, arrived: Arrived, appends: Sequence[Outgoing] = (), *, failed: bool = False) -> None:
        """The message is handled, or needs no handling; ``appends`` leave with its position.

        ``failed``: it was not handled, so it is not remembered; ``appends`` tell its parcel, or are its dead letter.
        """
        self._leave(arrived)
        state = self._suspects.forget(arrived) if self._suspects.had else {}
        remembered = {} if failed or arrived.identity is None else self._remember(arrived, arrived.identity)
        if appends or state or remembered:
            self._put(Effect(arrived.mark, state, remembered, appends))
        else:
            waits = self._outcomes.waits
            self._outcomes.finish(arrived.mark)
            if not waits:
                self._pending.set()

    def post(self, arrived: Arrived, letter: Outgoing, *, in_order: bool) -> None:
        """The message of the source goes to a parcel; ``in_order``: so do all that follow it with its key."""
        self._leave(arrived)
        state = self._suspects.forget(arrived)
        if in_order and (key := arrived.record.key) is not None:
            # Never backwards: after a crash an earlier message may be posted again.
            marker = self._markers[key] = max(arrived.place.offset, self._markers.get(key, -1))
            state[_KEY + key] = str(marker).encode()
        self._put(Effect(arrived.mark, state, appends=[letter]))

    def give_up(self, arrived: Arrived) -> None:
        """The message was not handled: the process ends, or has lost the partition."""
        self._leave(arrived)

    def is_parked(self, arrived: Arrived) -> bool:
        """True when earlier messages of its key are at their parcel: it must follow them."""
        return arrived.redelivered is None and arrived.record.key in self._markers

    def is_new(self, arrived: Arrived, identity: Identity, again: Callable[[Arrived], None]) -> bool | None:
        """False: it is a duplicate of one that was handled.

        None: another one of its identity is at work. ``again`` is called when that has left, whatever its outcome.
        """
        is_new = self._remembered.begin(identity, self._at_ms(arrived), partial(again, arrived))
        if is_new:
            arrived.identity = identity
        return is_new

    def _remember(self, arrived: Arrived, identity: Identity) -> Mapping[bytes, bytes | None]:
        return self._remembered.finished(identity, self._at_ms(arrived))

    def _at_ms(self, arrived: Arrived) -> int:
        """When it was written; a clock that ran ahead must not make others forgotten."""
        return min(arrived.record.timestamp_ms, self._how.clock.now_ms())

    def _leave(self, arrived: Arrived) -> None:
        self._at_work -= 1
        if arrived.identity is not None:
            self._remembered.end(arrived.identity)
        if not self._at_work:
            self._quiet.set()
            if self.stopping:
                self._pending.set()
        if arrived.ended is not None:
            arrived.ended.set()

    def _put(self, effect: Effect) -> None:
        self._outcomes.put(effect)
        self._pending.set()
        if self._closed and effect.durable is not None:
            effect.durable.set_result(False)

    # Taking the partition

    async def _restore(self) -> None:
        position, opened_by = self._owner.position.offset, None
        async for name, value in self._owner.documents():
            if name.startswith(_KEY):
                self._markers[name[len(_KEY) :]] = self._read(name, value, _OFFSET)
            elif name.startswith(SEEN):
                self._suspects.restore(name, self._read(name, value, _NAMES))
            elif name.startswith(DEDUP):
                self._remembered.restore(name, self._read(name, value, _OFFSET))
            elif name == REDELIVERED:
                self._outcomes.redelivered_offset = self._read(name, value, _OFFSET)
            elif name in self._outcomes.aheads:
                self._outcomes.aheads[name].restore(self._read(name, value, _OFFSETS))
                self._skips = True
            elif name == OPEN:
                opened_by = self._read(name, value, _NAME)
        # At once: so that the start of a new group does not move, and a crash from here on is seen.
        state = self._suspects.taken(opened_by, position) | self._remembered.taken(self._how.remembers)
        if self._suspects.found:
            if self._how.delivery != "at_most_once":  # what nobody gets twice kills nobody twice
                self._careful_until = min(self._owner.backlog_end, position + _CAREFUL_MAX)
            ends = await self._how.log.end_offsets([self._redeliveries.topic])
            self._careful_redelivered_until = ends[self._redeliveries]
        await self._owner.commit(Batch(state, (), Position(position, self._how.clock.now_ms())))

    def _read(self, name: bytes, value: bytes, what: TypeAdapter[T]) -> T:
        try:
            return what.validate_json(value, strict=True)
        except ValueError as error:
            why = f"the document {name!r} cannot be read; an operator must act"
            raise CorruptRecord(f"{self._owner.partition}", why) from error

    # Reading

    async def _read_source(self) -> None:
        while count := await self._room(redelivered=False):
            records = await self._poll(self._owner.poll(max_records=count, timeout=_IDLE_SECONDS))
            if self.stopping:
                return
            polled = self._offsets.polled
            found = [Arrived(record, polled(record), self) for record in records]
            if self._how.delivery == "at_most_once" and found:
                for arrived in found:
                    arrived.mark.finish()
                if not await self._durable(Effect()):
                    return
            self._hand_over(await self._counted_if_careful(found, self._careful_until))

    async def _room(self, *, redelivered: bool) -> int:
        """How many records may be polled now; waits while they are few. 0: it stops.

        The source and the redeliveries have a room each, so that neither waits for the other.
        """
        while not self.stopping:
            pending = self._offsets.pending_of(self._redeliveries)
            if not redelivered:
                pending = self._offsets.pending - pending
            count = min(self._how.room(redelivered), _POLL_MAX, _UNFINISHED_MAX - pending)
            if count >= _POLL_MIN:
                return count
            await asyncio.sleep(0.005)
        return 0

    async def _read_redelivered(self, tail: Tail) -> None:
        while count := await self._room(redelivered=True):
            try:
                records = await self._poll(tail.poll(max_records=count, timeout=_IDLE_SECONDS))
            except LogUnavailable as error:
                self._failures.failed(error)
                await self._failures.wait()
                continue
            self._failures.succeeded()
            for record in records:
                await self._given_back(record)

    async def _given_back(self, record: Record) -> None:
        mark, found = self._offsets.polled(record), redelivered(record)
        if found is None:
            _logger.warning("subscription.redelivery.unreadable", topic=record.topic, offset=record.offset)
            self._put(Effect(mark))
        elif found.release is not None:
            self._put(Effect(mark, self._released(record.key, found)))
        else:
            # What is judged by its age is as old as its message.
            written_ms = record.timestamp_ms if found.timestamp_ms is None else found.timestamp_ms
            arrived = Arrived(record._replace(timestamp_ms=written_ms), mark, self, found)
            self._hand_over(await self._counted_if_careful([arrived], self._careful_redelivered_until))

    def _released(self, key: bytes | None, found: Redelivered) -> dict[bytes, bytes | None]:
        """The parcel of a key has become empty: it is handled directly again, unless more is on the way there.

        The parcel of a single message releases nothing.
        """
        up_to = found.release if found.release is not None else -1
        of_key = found.parcel == parcel_id(self._how.group, key)
        if key is None or not of_key or self._markers.get(key, up_to + 1) > up_to:
            return {}
        del self._markers[key]
        return {_KEY + key: None}

    def _hand_over(self, messages: Sequence[Arrived]) -> None:
        self._at_work += len(messages)
        if messages:
            self._quiet.clear()
        for arrived in messages:
            if self._skips and self._outcomes.is_finished(arrived.mark):
                self._leave(arrived)  # it was finished before the crash
                arrived.mark.finish()
                self._pending.set()
            else:
                self._how.arrived(arrived)

    async def _poll(self, poll: Awaitable[Sequence[Record]]) -> Sequence[Record]:
        polling = asyncio.ensure_future(poll)
        self._polls.append(polling)
        try:
            await asyncio.wait([polling])
            return () if polling.cancelled() else polling.result()
        finally:
            self._polls.remove(polling)
            polling.cancel()

    # Careful mode

    async def _counted_if_careful(self, found: Sequence[Arrived], until: int) -> Sequence[Arrived]:
        """Counts deliveries before them, while a message may be the one that killed the predecessor.

        Those that were counted before are delivered here, one at a time; returns those that may be delivered at once.
        """
        if not found or found[0].record.offset >= until:
            return found
        together: list[Arrived] = []
        for arrived in found:
            if arrived.record.offset >= until or not (had := self._suspects.count(arrived)):
                together.append(arrived)
                continue
            await self._count(together)
            self._hand_over(together)
            together.clear()
            arrived.seen, arrived.ended = had, asyncio.Event()
            async with self._how.alone:
                if self.stopping:
                    return ()
                if not arrived.is_poison:
                    await self._count([arrived])
                self._hand_over([arrived])
                await arrived.ended.wait()
        await self._count(together)
        return together

    async def _count(self, found: Sequence[Arrived]) -> None:
        if found:
            await self._durable(Effect(state=self._suspects.delivered(found)))

    async def _durable(self, effect: Effect) -> bool:
        """False: it is not committed any more."""
        effect.durable = asyncio.get_running_loop().create_future()
        self._put(effect)
        return await effect.durable

    # Committing

    async def _commit_all(self) -> None:
        """Commits what has come together, until ``stop`` and everything at work has ended."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while not (self.stopping and self._quiet.is_set() and not self._outcomes.waits):
            await self._something(loop.time() - last)
            if self._abandoned:
                break
            batch, effects = self._outcomes.batch(self._how.clock.now_ms())
            if batch is None:
                continue
            await self._owner.commit(batch)
            last = loop.time()
            for effect in effects:
                if effect.durable is not None and not effect.durable.done():
                    effect.durable.set_result(True)
        self._closed = True
        if not self._abandoned:
            await self._owner.commit(Batch({OPEN: None}, (), self._outcomes.closing(self._how.clock.now_ms())))

    async def _something(self, since: float) -> None:
        """Waits until there is something to commit. What is not urgent is collected for a while."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _COMMIT_SECONDS - since
        while not self.stopping and not self._outcomes.urgent:
            waits = self._outcomes.waits
            if waits and loop.time() >= due:
                return
            await self._woken(due - loop.time() if waits else None)
        if self.stopping and not self._outcomes.waits and not self._quiet.is_set():
            if loop.time() < self._end_at:
                await self._woken(self._end_at - loop.time())
            else:
                self._offsets.keep(())  # what is still at work is delivered again elsewhere
                self._quiet.set()

    async def _woken(self, seconds: float | None) -> None:
        self._pending.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pending.wait(), seconds)
