"""The intake of one queue: polls its subscription, passes records on, and commits finished records.

One task uses the subscription: polls and commits alternate. Commits are made at most every ``COMMIT_EVERY_SECONDS``,
at any load, and once at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..orchestrator.errors import LogUnavailable
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Record, Subscription, TopicPartition
from .failures import Failures
from .offsets import Mark, Offsets

__all__ = ["Intake"]

COMMIT_EVERY_SECONDS: Final = 0.1
_IDLE_SECONDS: Final = 600.0
"""The wait of a poll while no record is being handled: there is nothing to commit, and a stop ends it at once."""
_POLL_MAX: Final = 500
_UNCOMMITTED_MAX: Final = 100_000
"""The largest number of records after an unfinished one: beyond it, the queue waits for that record."""


class Intake:
    """Feeds a worker from one subscription.

    Args:
        queue: for the log.
        admit: called with each record and its mark; must not raise.
        room: returns how many more records the worker can accept now.
        partitions: how many the queue has.
    """

    def __init__(
        self,
        queue: str,
        subscription: Subscription,
        admit: Callable[[Record, Mark], None],
        room: Callable[[], int],
        clock: Clock,
        *,
        partitions: int,
    ) -> None:
        self.queue, self._subscription, self._clock, self.partitions = queue, subscription, clock, partitions
        self._admit, self._room = admit, room
        self._offsets = Offsets()
        self._held = subscription.assigned()
        self._commit_at = 0.0
        self._polls, self._commits = Failures("worker.poll", queue=queue), Failures("worker.commit", queue=queue)
        self._idling: asyncio.Task[Sequence[Record]] | None = None
        self._stopping = False

    def stop(self) -> None:
        """Asks ``run`` to end; at once if it only waits for records."""
        self._stopping = True
        if self._idling is not None:
            self._idling.cancel()

    async def run(self) -> None:
        """Polls until ``stop``."""
        while not self._stopping:
            count = min(self._room(), _POLL_MAX, _UNCOMMITTED_MAX - self._offsets.pending)
            if count > 0:
                for record in await self._poll(count):
                    self._admit(record, self._offsets.polled(record))
            else:
                await asyncio.sleep(0.005)
            if self._offsets.moved and self._clock.monotonic() >= self._commit_at:
                await self.commit()

    @property
    def objection(self) -> str | None:
        """Why it reads nothing; None: it reads."""
        return f"queue {self.queue!r} cannot be read: {self._polls.last}" if self._polls.last is not None else None

    @property
    def held(self) -> frozenset[TopicPartition]:
        """The partitions that are read here."""
        return self._held

    def behind(self, ends: Mapping[TopicPartition, int]) -> int:
        """How many records of the queue's partitions that are held here are not answered."""
        return self._offsets.behind(ends)

    async def commit(self) -> None:
        """Commits finished records; if the log is not available, the next commit includes them."""
        self._keep_held()
        positions = self._offsets.take_positions()
        if not positions:
            return
        try:
            await self._subscription.commit(positions)
        except LogUnavailable as error:
            self._offsets.put_back(positions)
            self._commits.failed(error)
        else:
            self._commits.succeeded()
        self._commit_at = self._clock.monotonic() + COMMIT_EVERY_SECONDS

    async def close(self) -> None:
        """Leaves the group. Never raises."""
        await self._subscription.close()

    async def _poll(self, count: int) -> list[Record]:
        """Polls records; waits no longer than a commit may be delayed."""
        try:
            records = list(await self._fetch(count))
        except LogUnavailable as error:
            self._polls.failed(error)
            await self._polls.wait()
            return []
        self._polls.succeeded()
        self._keep_held()
        return records

    async def _fetch(self, count: int) -> Sequence[Record]:
        if self._offsets.pending or self._offsets.moved:
            return await self._subscription.poll(max_records=count, timeout=COMMIT_EVERY_SECONDS)
        poll = self._subscription.poll(max_records=count, timeout=_IDLE_SECONDS)
        self._idling = idling = asyncio.create_task(poll)
        try:
            return await idling
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if not self._stopping or (own is not None and own.cancelling()):
                raise
            return ()  # its records are not committed, so they are delivered to another worker
        finally:
            self._idling = None
            idling.cancel()

    def _keep_held(self) -> None:
        held = self._subscription.assigned()
        if held != self._held:
            self._held = held
            self._offsets.keep(held)
