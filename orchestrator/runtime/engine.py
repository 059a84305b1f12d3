"""The engine: joins the group and runs a processor per assigned partition.

A partition that fails is taken again after a wait; the others continue. The log enforces ownership: the next commit of
an engine that has lost a partition without noticing fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import structlog

from ..errors import CorruptRecord, LogUnavailable, OwnershipLost
from ..ports.clock import Clock
from ..ports.log import Log, Membership, Owner, TopicPartition
from ..ports.topics import GROWN
from .clocks import WatchedClock
from .deciding import Deciding
from .namespace import decided_before
from .processor import Processor

__all__ = ["Engine"]

_log = structlog.get_logger("sagaline.engine")

_STOP_SECONDS = 10.0
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_LOOK_SECONDS = 2.0
_LOOKS_MAX = 300
"""A stopped partition is retried after ten minutes, or when its state topic has changed."""


@dataclass(slots=True)
class _Seat:
    """One assigned partition: its task and its current processor."""

    task: asyncio.Task[None] | None = None
    processor: Processor | None = None


class Engine:
    """Runs until cancelled; ``processing``: the partitions that it processes."""

    def __init__(self, log: Log, setup: Deciding, clock: Clock, *, group: str) -> None:
        self._log, self._setup, self._group = log, setup, group
        self._clock = WatchedClock(clock, setup.metrics, source=f"/{setup.topics.namespace}")
        self._seats: dict[int, _Seat] = {}
        self._moved = asyncio.Event()
        self._standing: dict[int, str] = {}
        self._told: dict[int, str] = {}

    @property
    def standing(self) -> Mapping[int, str]:
        """Assigned partitions that are stopped until an operator acts, with the reason."""
        return {partition: why for partition, why in self._standing.items() if partition in self._seats}

    @property
    def processing(self) -> frozenset[int]:
        """Partitions that are restored and being processed here."""
        return frozenset(
            partition
            for partition, seat in self._seats.items()
            if seat.processor is not None and seat.processor.restored
        )

    @property
    def alarm(self) -> str | None:
        """Why starts are not decided here, or clocks differ; None: no problem is known."""
        return next(iter(self.standing.values()), None) or self.clock_alarm

    @property
    def clock_alarm(self) -> str | None:
        """How this host's clock differs from others; None: no difference is known."""
        return self._clock.alarm

    async def processes(self, count: int) -> None:
        """Returns once at least ``count`` partitions are processed here; waits forever otherwise."""
        while len(self.processing) < count:
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Joins and processes. When cancelled, finishes the batches in progress and leaves, within some seconds."""
        attempt = 0
        while True:
            membership = await self._join()
            try:
                await self._follow(membership)
            except LogUnavailable as error:
                attempt += 1
                _log.warning("membership lost, joining again", reason=str(error))
            finally:
                await self._vacate(frozenset(self._seats))
                await membership.leave()
            await asyncio.sleep(_wait_seconds(attempt))

    async def _join(self) -> Membership:
        attempt = 0
        while True:
            try:
                return await self._log.join(self._setup.topics.inputs, self._setup.topics.state, self._group)
            except LogUnavailable as error:
                attempt += 1
                _log.warning("cannot join, retrying", reason=str(error))
                await asyncio.sleep(_wait_seconds(attempt))

    async def _follow(self, membership: Membership) -> None:
        while True:
            assigned = await membership.changed()
            _log.info("partitions assigned", partitions=sorted(assigned))
            assigned = self._of_the_namespace(assigned)
            await self._vacate(frozenset(self._seats) - assigned)
            for partition in sorted(assigned - frozenset(self._seats)):
                seat = self._seats[partition] = _Seat()
                seat.task = asyncio.create_task(self._occupy(membership, partition, seat), name=f"inputs-{partition}")

    def _of_the_namespace(self, assigned: frozenset[int]) -> frozenset[int]:
        """The assigned partitions that the namespace was created with: no key belongs to any other."""
        count = self._setup.partitions
        if beyond := sorted(partition for partition in assigned if partition >= count):
            topic = self._setup.topics.inputs
            _log.critical("inputs has grown, its new partitions are not read", topic=topic, beyond=beyond, remedy=GROWN)
        return frozenset(partition for partition in assigned if partition < count)

    async def _vacate(self, partitions: frozenset[int]) -> None:
        """Lets each processor finish its batch, then ends it."""
        seats = [seat for partition, seat in self._seats.items() if partition in partitions]
        await asyncio.gather(*(self._end(seat) for seat in seats))
        for partition in partitions:
            self._seats.pop(partition, None)

    async def _end(self, seat: _Seat) -> None:
        if seat.processor is not None:
            seat.processor.stop()
            try:
                await asyncio.wait_for(seat.processor.idle.wait(), _STOP_SECONDS)
            except TimeoutError:
                _log.warning("a batch did not end in time and is abandoned; the next owner settles its commit")
        if seat.task is not None:
            task, seat.task = seat.task, None  # a cancelled task references its frames, and they the seat
            task.cancel()
            await asyncio.wait([task], timeout=_STOP_SECONDS)

    async def _occupy(self, membership: Membership, partition: int, seat: _Seat) -> None:
        """Keeps one partition processed until it is cancelled."""
        attempt = 0
        while True:
            try:
                await self._process(membership, partition, seat)
            except (LogUnavailable, OwnershipLost) as error:
                attempt = attempt + 1 if seat.processor is None else 1
                _log.warning("partition lost, taking it again", partition=partition, reason=str(error))
                _free(error)
                wait = _wait_seconds(attempt)
            except CorruptRecord as error:
                _free(error)
                seat.processor = None
                await self._stand(partition, str(error))
                wait, attempt = 0.0, 0
            except Exception as error:
                attempt += 1
                _log.exception("partition failed, taking it again", partition=partition)
                _free(error)
                wait = _wait_seconds(attempt)
            finally:
                seat.processor = None
                self._gauge()
            await asyncio.sleep(wait)

    async def _stand(self, partition: int, reason: str) -> None:
        """Stops a partition until its state topic changes, for example when an operator has skipped a batch."""
        if self._told.get(partition) != reason:
            _log.critical("partition stopped, an operator must act", partition=partition, reason=reason)
            self._setup.metrics.add("partitions.stopped")
        self._standing[partition] = self._told[partition] = reason
        place = TopicPartition(self._setup.topics.state, partition)
        before: int | None = None
        for _ in range(_LOOKS_MAX):
            end = before
            with contextlib.suppress(LogUnavailable):
                end = (await self._log.end_offsets([place.topic]))[place]
            if before is not None and end != before:
                return
            before = end
            await asyncio.sleep(_LOOK_SECONDS)

    async def _process(self, membership: Membership, partition: int, seat: _Seat) -> NoReturn:
        owner = await membership.take(partition)
        try:
            await self._refuse_lost_documents(owner)
            _log.info("partition taken", partition=partition, offset=owner.position.offset)
            seat.processor = Processor(owner, self._setup, self._clock, on_restored=self._restored)
            self._standing.pop(partition, None)
            self._gauge()
            await seat.processor.run()
        finally:
            await owner.release()

    def _restored(self) -> None:
        self._moved.set()
        self._gauge()

    def _gauge(self) -> None:
        processing, metrics = len(self.processing), self._setup.metrics
        restoring = sum(seat.processor is not None for seat in self._seats.values()) - processing
        metrics.set("partitions.processing", processing)
        metrics.set("partitions.restoring", restoring)

    async def _refuse_lost_documents(self, owner: Owner) -> None:
        """Stops if the documents are gone: otherwise everything still in ``inputs`` would be decided again."""
        topics, partition = self._setup.topics, owner.partition
        if owner.position.now_ms or not await decided_before(self._log, topics, partition):
            return
        async for _ in owner.documents():
            return
        raise CorruptRecord(
            f"{topics.state}/{partition}",
            "there are no documents and no position, though the partition has a history: the topic was deleted or "
            "emptied; restore it from a copy, or use a fresh namespace",
        )


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
