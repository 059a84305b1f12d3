"""Ownership: joins a group and keeps every assigned partition driven. The engine and every subscription are one.

A partition that fails is taken again after a wait; the others continue. The log enforces ownership: the next commit of
a process that has lost a partition without noticing fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from ..errors import CorruptRecord, LogUnavailable, OwnershipLost
from ..ports.log import Log, Membership, Owner, Start, TopicPartition

__all__ = ["Driver", "Ownership", "Source"]

_STOP_SECONDS = 10.0
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_LOOK_SECONDS = 2.0
_LOOKS_MAX = 300
"""A stopped partition is retried after ten minutes, or when its state topic has changed."""


class Driver(Protocol):
    """Drives one owner until it is cancelled or the owner raises. To end it: ``stop``, await ``idle``, cancel."""

    idle: asyncio.Event
    """Set while no commit is in progress that ``stop`` should wait for."""

    def stop(self) -> None: ...

    async def run(self) -> NoReturn: ...


D = TypeVar("D", bound=Driver)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an ownership joins: see ``Log.join``."""

    inputs: str
    state: str
    group: str
    start: Start = "earliest"


@dataclass(slots=True)
class _Seat(Generic[D]):
    """One assigned partition: its task and its current driver."""

    task: asyncio.Task[None] | None = None
    driver: D | None = None


class Ownership(Generic[D]):
    """Runs until cancelled.

    Args:
        log: the log.
        source: what it joins.
        drive: the driver of an owner that was just taken; it may refuse by raising CorruptRecord.
        logger: for its lines.
        admit: which of the assigned partitions to take; all by default.
        changed: called whenever a partition begins or ceases to be driven.
        stopped: called when a partition begins to wait for an operator.
    """

    def __init__(
        self,
        log: Log,
        source: Source,
        drive: Callable[[Owner], Awaitable[D]],
        logger: Any,
        *,
        admit: Callable[[frozenset[int]], frozenset[int]] = lambda assigned: assigned,
        changed: Callable[[], None] = lambda: None,
        stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self._log, self._source, self._drive, self._logger = log, source, drive, logger
        self._admit, self._changed, self._stopped = admit, changed, stopped
        self._seats: dict[int, _Seat[D]] = {}
        self._standing: dict[int, str] = {}
        self._told: dict[int, str] = {}
        self._joined = False

    def objection(self, reads: Callable[[D], bool]) -> str | None:
        """Why not everything is read that is assigned here, if anything is; None: it is.

        Args:
            reads: whether a driver has begun.
        """
        if not self._joined:
            return f"it has not joined the readers of {self._source.inputs}"
        if standing := next(iter(self.standing.items()), None):
            return f"partition {standing[0]} of {self._source.inputs} is stopped: {standing[1]}"
        waits = [number for number, seat in self._seats.items() if seat.driver is None or not reads(seat.driver)]
        if waits:
            return f"partition {', '.join(map(str, sorted(waits)))} of {self._source.inputs} is being taken"
        return None

    @property
    def standing(self) -> Mapping[int, str]:
        """Assigned partitions that are stopped until an operator acts, with the reason."""
        return {partition: why for partition, why in self._standing.items() if partition in self._seats}

    def drivers(self) -> Iterator[tuple[int, D]]:
        """The partitions that are driven here."""
        return ((number, seat.driver) for number, seat in self._seats.items() if seat.driver is not None)

    async def run(self) -> None:
        """Joins and drives. When cancelled, lets the commits in progress end and leaves, within some seconds."""
        attempt = 0
        while True:
            membership = await self._join()
            try:
                await self._follow(membership)
            except LogUnavailable as error:
                attempt += 1
                self._logger.warning("membership lost, joining again", reason=str(error))
            finally:
                self._joined = False
                await self._vacate(frozenset(self._seats))
                await membership.leave()
            await asyncio.sleep(_wait_seconds(attempt))

    async def _join(self) -> Membership:
        inputs, state, group, start = self._source.inputs, self._source.state, self._source.group, self._source.start
        attempt = 0
        while True:
            try:
                return await self._log.join(inputs, state, group, start=start)
            except LogUnavailable as error:
                attempt += 1
                self._logger.warning("cannot join, retrying", reason=str(error))
                await asyncio.sleep(_wait_seconds(attempt))

    async def _follow(self, membership: Membership) -> None:
        while True:
            assigned = await membership.changed()
            self._joined = True
            self._logger.info("partitions assigned", topic=self._source.inputs, partitions=sorted(assigned))
            assigned = self._admit(assigned)
            await self._vacate(frozenset(self._seats) - assigned)
            for partition in sorted(assigned - frozenset(self._seats)):
                seat = self._seats[partition] = _Seat()
                name = f"{self._source.inputs}-{partition}"
                seat.task = asyncio.create_task(self._occupy(membership, partition, seat), name=name)

    async def _vacate(self, partitions: frozenset[int]) -> None:
        """Lets each driver finish its commit, then ends it."""
        seats = [seat for partition, seat in self._seats.items() if partition in partitions]
        await asyncio.gather(*(self._end(seat) for seat in seats))
        for partition in partitions:
            self._seats.pop(partition, None)

    async def _end(self, seat: _Seat[D]) -> None:
        if seat.driver is not None:
            seat.driver.stop()
            try:
                await asyncio.wait_for(seat.driver.idle.wait(), _STOP_SECONDS)
            except TimeoutError:
                self._logger.warning("a batch did not end in time and is abandoned; the next owner settles its commit")
        if seat.task is not None:
            task, seat.task = seat.task, None  # a cancelled task references its frames, and they the seat
            task.cancel()
            await asyncio.wait([task], timeout=_STOP_SECONDS)

    async def _occupy(self, membership: Membership, partition: int, seat: _Seat[D]) -> None:
        """Keeps one partition driven until it is cancelled."""
        attempt = 0
        while True:
            try:
                await self._run(membership, partition, seat)
            except (LogUnavailable, OwnershipLost) as error:
                attempt = attempt + 1 if seat.driver is None else 1
                self._logger.warning("partition lost, taking it again", partition=partition, reason=str(error))
                _free(error)
                wait = _wait_seconds(attempt)
            except CorruptRecord as error:
                _free(error)
                seat.driver = None
                await self._stand(partition, str(error))
                wait, attempt = 0.0, 0
            except Exception as error:
                attempt += 1
                self._logger.exception("partition failed, taking it again", partition=partition)
                _free(error)
                wait = _wait_seconds(attempt)
            finally:
                seat.driver = None
                self._changed()
            await asyncio.sleep(wait)

    async def _stand(self, partition: int, reason: str) -> None:
        """Stops a partition until its state topic changes, for example when an operator has skipped a batch."""
        if self._told.get(partition) != reason:
            self._logger.critical("partition stopped, an operator must act", partition=partition, reason=reason)
            self._stopped()
        self._standing[partition] = self._told[partition] = reason
        place = TopicPartition(self._source.state, partition)
        before: int | None = None
        for _ in range(_LOOKS_MAX):
            end = before
            with contextlib.suppress(LogUnavailable):
                end = (await self._log.end_offsets([place.topic]))[place]
            if before is not None and end != before:
                return
            before = end
            await asyncio.sleep(_LOOK_SECONDS)

    async def _run(self, membership: Membership, partition: int, seat: _Seat[D]) -> NoReturn:
        owner = await membership.take(partition)
        try:
            driver = await self._drive(owner)
            self._logger.info("partition taken", partition=partition, offset=owner.position.offset)
            seat.driver = driver
            self._standing.pop(partition, None)
            self._changed()
            await driver.run()
        finally:
            await owner.release()


def _wait_seconds(attempt: int) -> float:
    return float(min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(attempt, 10)))


def _free(error: BaseException | None) -> None:
    """Frees the objects that the frames of an error reference, which include all documents of a partition.

    An awaited future and its error reference each other; only the collector would free them, and it rarely runs.
    """
    seen: set[int] = set()  # causes may form a cycle
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
