"""The relay: publishes the rows of an outbox to the log, in order per key, at least once, and removes them.

    claim lanes ─▶ append to the log ─▶ delete the rows and give the lanes back

A crash before the append publishes nothing; between append and delete the rows are published again, with the same ids,
by the relay that claims their lanes after the lease. A row is claimed only when every older transaction has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ...orchestrator.adapters.clock import SystemClock
from ...orchestrator.errors import LogUnavailable, TopicMismatch
from ...orchestrator.ports.clock import Clock
from ...orchestrator.ports.log import Log, Outgoing, size_bytes
from ...orchestrator.runtime.metrics import Metrics
from ..failures import pauses
from .claims import Waiting, claim, measure, release, remove
from .database import AnyEngine, Database
from .listening import listening

__all__ = ["Relay"]

_LANES: Final = 16
_DEADLINE_SECONDS: Final = 10.0
_MEASURE_SECONDS: Final = 10.0
_logger = structlog.get_logger(__name__)


class Relay:
    """Publishes what an application has put into its outbox. Any number of them may run: they share the lanes.

    Args:
        engine: of the database with the outbox, synchronous or asynchronous; stays the caller's.
        log: where to.
        clock: for leases on SQLite, and ids.
        metrics: rows published, rows that wait, and the age of the oldest.
        batch: how many rows are published in one go.
        poll: how long it waits before it looks again; on PostgreSQL new rows wake it before.
        lease: how long after a kill its lanes are left to others; must be longer than one append to the log takes.

    Raises:
        ValueError: an engine of another database.
    """

    def __init__(
        self,
        engine: AnyEngine,
        log: Log,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        batch: int = 500,
        poll: timedelta = timedelta(seconds=1),
        lease: timedelta = timedelta(seconds=30),
    ) -> None:
        self._engine, self._log = engine, log
        self._database = Database(engine, _DEADLINE_SECONDS)
        self._clock, self._metrics = clock or SystemClock(), metrics or Metrics()
        self._batch, self._poll_seconds = batch, poll.total_seconds()
        self._lease_ms = round(lease.total_seconds() * 1000)
        self._owner = self._clock.new_id()
        self._wake = asyncio.Event()
        self._stopping = False
        self._failures = 0
        self._measured = -_MEASURE_SECONDS
        self.published = 0
        """Rows published and removed, since the start."""

    def stop(self) -> None:
        """Asks ``run`` to end after the current batch."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Publishes until ``stop``. While the log or the database is away it waits, with growing pauses, and says so
        once. Cancelling it leaves its lanes to others when the lease is over.
        """
        async with listening(self._engine, self._wake.set):
            while not self._stopping:
                self._wake.clear()
                try:
                    busy = await self.once()
                    await self._measure()
                except (LogUnavailable, TopicMismatch, SQLAlchemyError, TimeoutError) as error:
                    await self._failed(error)
                    continue
                if self._failures:
                    _logger.info("outbox.recovered", failures=self._failures)
                    self._failures = 0
                if not busy:
                    await self._wait(self._poll_seconds)

    async def once(self) -> int:
        """Publishes one batch; returns how many rows were dealt with.

        Raises:
            LogUnavailable, TopicMismatch: not everything was published; the rest stays.
            SQLAlchemyError, TimeoutError: the database failed; what was published may be published again.
        """
        now_ms = self._clock.now_ms()
        rows = await self._database.run(
            lambda connection: claim(
                connection, self._owner, now_ms, lease_ms=self._lease_ms, lanes=_LANES, rows=self._batch
            )
        )
        if not rows:
            return 0
        most = self._log.max_value_bytes
        refused = {row.id: _too_large(row, most) for row in rows if _size(row.outgoing) > most}
        for row in rows:
            if row.id in refused:
                _logger.error("outbox.refused", message=row.message_id, topic=row.outgoing.topic, error=refused[row.id])
        waiting = [row for row in rows if row.id not in refused]
        published: list[int] = []
        try:
            await self._append(waiting, published)
        finally:
            await self._database.run(lambda connection: remove(connection, self._owner, published, refused))
        self.published += len(published)
        self._metrics.add("outbox.published", len(published))
        return len(rows)

    async def _append(self, rows: Sequence[Waiting], published: list[int]) -> None:
        """Adds to ``published`` what is durable."""
        try:
            await self._log.append([row.outgoing for row in rows])
            published += [row.id for row in rows]
            return
        except TopicMismatch as error:
            missing = error
        for topic in dict.fromkeys(row.outgoing.topic for row in rows):  # the others must not wait for it
            some = [row for row in rows if row.outgoing.topic == topic]
            try:
                await self._log.append([row.outgoing for row in some])
                published += [row.id for row in some]
            except TopicMismatch as error:
                missing = error
        raise missing

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            _logger.warning("outbox.waiting", error=f"{type(error).__name__}: {str(error)[:500]}")
        self._wake.clear()
        await self._wait(pauses(self._failures))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _measure(self) -> None:
        now = self._clock.monotonic()
        if now - self._measured < _MEASURE_SECONDS:
            return
        self._measured = now
        backlog = await self._database.run(measure, writes=False)
        age_ms = 0 if backlog.oldest_ms is None else self._clock.now_ms() - backlog.oldest_ms
        self._metrics.set("outbox.backlog", backlog.rows)
        self._metrics.set("outbox.oldest", max(0.0, age_ms / 1000))
        self._metrics.set("outbox.refused", backlog.refused)

    async def leave(self) -> None:
        """Gives its lanes back at once, after a cancelled ``run``.

        Raises:
            SQLAlchemyError, TimeoutError: the database failed; others get the lanes when the lease is over.
        """
        await self._database.run(lambda connection: release(connection, self._owner))


def _size(outgoing: Outgoing) -> int:
    return size_bytes(outgoing.key, outgoing.value, outgoing.headers)


def _too_large(row: Waiting, most: int) -> str:
    return f"the record has {_size(row.outgoing):,} bytes, the log takes {most:,}; send a reference to the content"
