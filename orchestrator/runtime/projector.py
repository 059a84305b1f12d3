"""The projector: follows the topics of states, histories and dead letters, and keeps the read model up to date.

- One transaction per batch: documents, history, dead letters, positions. After a crash it continues from there.
- When idle, or when a client waits to read its own write, records are applied at once. Under load it collects them for
  0.1 s, so that few transactions compete with the log's own writer.
- A record that cannot be read is logged, counted and skipped; nothing else is ever skipped.
- After any failure of the log or the read model it continues from the read model's position. It logs once when the
  failure begins and once when it is over.
- Until it has applied everything that the log held at its start, a missing row proves nothing (``followed``).
- It recognises its log by landmarks: the last record that was read of each partition of the history. If the log has
  another record there, or ends before, the read model belongs to another log: the projector stops, changes nothing, and
  reports it until an operator acts (``ForeignLog``).
- It rebuilds from the earliest record when asked to, and when it was away for so long that compaction may have removed
  a tombstone that it never saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from ..errors import CorruptRecord, ForeignLog, LogUnavailable, ReadModelCleared, SagalineError, TransientError
from ..kernel import Registry, names_instance
from ..messages.document import Document
from ..messages.entities import Entity
from ..ports.clock import Clock
from ..ports.log import Log, Record, Tail, TopicPartition
from ..ports.read_model import ReadModel, Standing, Update
from ..ports.topics import Topics
from .landmarks import check_log
from .metrics import Metrics
from .reading import Reading
from .shared import Shared

__all__ = ["Projector"]

_log = structlog.get_logger("sagaline.projector")

_BATCH_MAX = 500
_POLL_SECONDS = 0.5
_GATHER_SECONDS = 0.1
_LOOK_SECONDS = 0.01
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_LOOK_ROUND_SECONDS = 5.0
"""How often an idle projector checks whether the read model was cleared."""
_TOUCH_MS = 600_000
"""How often an idle projector updates the time of its last update."""
_STALE_MS = 12 * 3_600_000
"""Half of the shortest time for which Kafka keeps a tombstone by default."""


class _Revision(NamedTuple):
    """A waiter for an instance at this revision or a later one."""

    revision: int
    seen: asyncio.Future[None]


class Projector:
    """Runs until cancelled; one per read model and process."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        read_model: ReadModel,
        clock: Clock,
        *,
        registry: Registry | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """``registry``: its definitions say by which fields of the state instances are found; None: by none."""
        self._log, self._topics, self._read_model, self._clock = log, topics, read_model, clock
        self._metrics, self._registry = metrics or Metrics(), registry or Registry(())
        self._applied: dict[TopicPartition, int] = {}
        self._stored: Mapping[TopicPartition, int] = {}
        self._ends = Shared(lambda: self._log.end_offsets(self._topics.shown))
        self._goal: Mapping[TopicPartition, int] | None = None
        self._has_followed = False
        self._foreign: ForeignLog | None = None
        self._stopped: str | None = None
        """Why it stands before a record that it cannot read, until it has read past what the log held then."""
        self._told = ""
        self._moved = asyncio.Condition()
        self._waiters: dict[str, list[_Revision]] = {}
        self._rebuild_wanted = False
        self._rebuilds = 0
        self._waiting = 0
        self._failures = 0
        self._said: str | None = None
        self._last_apply = self._last_look = self._asked_at = self._followed_at = float("-inf")
        self._generation = 0

    @property
    def rebuilds(self) -> int:
        """How often it has rebuilt the read model."""
        return self._rebuilds

    @property
    def followed_at(self) -> float:
        """When it last asked the log for records, all of which are applied; by the monotonic clock."""
        return self._followed_at

    async def run(self) -> None:
        """Never returns: failures are logged and retried; only cancellation ends it."""
        while True:
            try:
                tail = await self._open()
                try:
                    await self._follow(tail)
                finally:
                    await tail.close()
            except ForeignLog as error:
                await self._stand_still(error)
            except ReadModelCleared as error:
                self._has_followed = False
                _log.warning("the read model was cleared", reason=str(error))
            except CorruptRecord as error:
                await self._stand_before(error)
            except SagalineError as error:
                await self._pause(error)
            except Exception as error:
                _log.exception("the projector failed, retrying")
                await self._pause(error)

    async def check(self) -> None:
        """Returns if the read model was never fed, or was fed from this log.

        Raises:
            ForeignLog: it was fed from another one.
            TransientError: it cannot be checked now.
        """
        await check_log(self._log, self._topics, await self._read_model.standing(), self._clock.now_ms())

    async def followed(self, *, timeout: float) -> None:
        """Returns once everything that the log held when the projector began is applied. From then on a missing row
        means that there is no such entity.

        Raises:
            TransientError: not within ``timeout`` seconds, or the read model belongs to another log.
        """
        if not self._has_followed:
            await self._until(lambda: self._has_followed or self._foreign is not None, timeout)
        if self._foreign is not None:
            raise TransientError(str(self._foreign))
        self.check_reading()

    def check_reading(self) -> None:
        """Raises: TransientError: it stands before a record that it cannot read, until an operator has acted."""
        if self._stopped is not None:
            raise TransientError(f"the read model shows nothing new: {self._stopped}")

    async def rebuild(self, *, timeout: float = 60.0) -> None:
        """Clears the read model and returns when everything that the log held at the call is applied again.

        Raises:
            TransientError: not done within ``timeout`` seconds; the rebuild continues.
        """
        wanted = self._rebuilds + 1
        self._rebuild_wanted = True
        await self._until(lambda: self._rebuilds >= wanted, timeout)
        await self.caught_up(timeout=timeout)

    async def passed(
        self, instance: str, revision: int, history: tuple[TopicPartition, int], *, timeout: float
    ) -> bool:
        """Waits until the document and the history record of a decision can be read. False: timed out.

        Args:
            instance: the instance, or the entity, decided about.
            revision: of the document after the decision; 0: there is none.
            history: partition and offset of the history record.
            timeout: seconds.
        """
        partition, offset = history
        waiter = _Revision(revision, asyncio.get_running_loop().create_future())
        self._waiters.setdefault(instance, []).append(waiter)
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                async with self._moved:
                    await self._moved.wait_for(lambda: self._applied.get(partition, 0) > offset)
                read = self._read_model.entity if not names_instance(instance) else self._read_model.get
                entity = await read(instance)
                behind = entity is not None if not revision else entity is None or entity.revision < revision
                if behind:
                    await waiter.seen
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            self._forget(instance, waiter)
        return True

    async def caught_up(self, *, timeout: float) -> None:
        """Waits until everything that the log holds at the call is applied, and the read model was not cleared since.

        Raises:
            TransientError: not within ``timeout`` seconds, the read model belongs to another log, was cleared, or the
                log is gone.
        """
        await self.followed(timeout=timeout)
        ends = await self._ends()
        await self._until(lambda: all(self._applied.get(at, 0) >= end for at, end in ends.items()), timeout)
        await self._standing()

    async def lag(self) -> int:
        """About how many records are not applied yet.

        Raises:
            LogUnavailable: the log is gone.
        """
        ends = await self._ends()
        return sum(max(0, end - self._applied.get(at, 0)) for at, end in ends.items())

    async def _until(self, reached: Callable[[], bool], timeout: float) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(reached)
        except TimeoutError:
            self.check_reading()
            raise TransientError("the read model has not caught up with the log yet; retry later") from None
        finally:
            self._waiting -= 1

    async def _open(self) -> Tail:
        """A tail from the read model's position, or from the earliest record, after clearing if that is necessary."""
        standing = await self._read_model.standing()
        reason = await self._why_clear(standing)
        if self._goal is None or reason is not None or not standing.positions:
            self._has_followed = False
        self._foreign = None
        self._asked_at = self._clock.monotonic()
        self._goal = await self._log.end_offsets(self._topics.shown)
        if reason is None and standing.positions:
            self._generation, self._stored = standing.generation, standing.positions
            tail = await self._log.tail(self._topics.shown, standing.positions)
            await self._moved_to(standing.positions, {})
            return tail
        if reason is not None:
            _log.info("rebuilding the read model", reason=reason)
            await self._read_model.clear()
            standing = await self._read_model.standing()
        self._generation, self._stored = standing.generation, {}
        self._rebuild_wanted = False
        self._rebuilds += 1
        self._applied = {}
        tail = await self._log.tail(self._topics.shown, "earliest")
        await self._moved_to({}, {})
        return tail

    async def _why_clear(self, standing: Standing) -> str | None:
        if self._rebuild_wanted:
            return "requested"
        if standing.clearing:
            return "an earlier clearing was not completed"
        if not standing.positions:
            return None
        now_ms = self._clock.now_ms()
        ends = await check_log(self._log, self._topics, standing, now_ms)
        behind = any(end > standing.positions.get(at, 0) for at, end in ends.items())
        return "it was not updated for a long time" if behind and now_ms - standing.fed_ms > _STALE_MS else None

    async def _stand_still(self, error: ForeignLog) -> None:
        """Stops for a while; it continues by itself once an operator has acted."""
        if self._foreign is None:
            _log.error("the read model is stopped, an operator must act", reason=str(error))
        self._foreign, self._has_followed = error, False
        async with self._moved:
            self._moved.notify_all()
        await asyncio.sleep(_LONGEST_WAIT_SECONDS)

    async def _stand_before(self, error: CorruptRecord) -> None:
        """Tries the record again after a while: a key may be added, a topic restored."""
        self._stopped = str(error)
        if self._told != self._stopped:
            self._told = self._stopped
            _log.critical("the read model is stopped, an operator must act", reason=self._stopped)
            self._metrics.add("partitions.stopped")
        await asyncio.sleep(_LONGEST_WAIT_SECONDS)

    async def _follow(self, tail: Tail) -> None:
        """Applies records until a rebuild is requested."""
        reading = Reading(self._topics, self._metrics, self._registry)
        while not self._rebuild_wanted:
            self._asked_at = self._clock.monotonic()
            records = await self._gather(tail)
            positions = dict(tail.positions())
            if records:
                await self._apply(await reading.read(records, positions))
                self._last_apply = self._clock.monotonic()
            else:
                self._followed_at = self._asked_at
                if positions != self._applied:
                    await self._moved_to(positions, {})
                if self._clock.monotonic() - self._last_look > _LOOK_ROUND_SECONDS:
                    await self._look_round(positions)
            if self._said is not None:
                _log.info("the read model follows the log again")
            self._failures, self._said = 0, None

    async def _look_round(self, positions: Mapping[TopicPartition, int]) -> None:
        self._last_look = self._clock.monotonic()
        standing = await self._standing()
        if self._clock.now_ms() - standing.fed_ms > _TOUCH_MS:
            await self._apply(Update({}, (), positions))

    async def _standing(self) -> Standing:
        """The position of the read model. Raises ReadModelCleared if it is behind what this projector has applied."""
        stored = self._stored  # as of now: more may be applied while the position is read
        standing = await self._read_model.standing()
        lost = any(standing.positions.get(at, 0) < following for at, following in stored.items())
        if lost or standing.generation != self._generation:
            raise ReadModelCleared(self._topics.namespace)
        return standing

    async def _gather(self, tail: Tail) -> Sequence[Record]:
        records = list(await tail.poll(max_records=_BATCH_MAX, timeout=_POLL_SECONDS))
        until = self._last_apply + _GATHER_SECONDS
        while records and len(records) < _BATCH_MAX and not self._waiting and self._clock.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                records += await tail.poll(max_records=_BATCH_MAX - len(records), timeout=0)
            except LogUnavailable:
                # The records so far are applied first; the next poll raises again.
                break
        return records

    async def _apply(self, update: Update) -> None:
        await self._read_model.apply(update._replace(now_ms=self._clock.now_ms(), generation=self._generation))
        self._stored = update.positions
        entities = {id: row.entity for id, row in update.entities.items()}
        documents = {id: row.document for id, row in update.documents.items()}
        await self._moved_to(update.positions, {**documents, **entities})

    async def _moved_to(
        self, positions: Mapping[TopicPartition, int], entities: Mapping[str, Document | Entity | None]
    ) -> None:
        self._applied.update(positions)
        self._followed_at = self._asked_at
        if self._goal is not None and all(self._applied.get(at, 0) >= end for at, end in self._goal.items()):
            self._has_followed, self._stopped = True, None
        for instance in entities.keys() & self._waiters.keys():
            entity = entities[instance]
            for waiter in self._waiters[instance]:
                if not waiter.seen.done() and (entity is None or entity.revision >= waiter.revision):
                    waiter.seen.set_result(None)
        async with self._moved:
            self._moved.notify_all()

    async def _pause(self, error: Exception) -> None:
        """Waits before the next attempt, longer each time; logs each new error once."""
        if isinstance(error, SagalineError) and str(error) != self._said:
            cause = " ".join(str(error.__cause__ or "").split())
            _log.warning("the read model does not follow the log, retrying", reason=str(error), cause=cause)
        self._said = str(error)
        await asyncio.sleep(min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(self._failures, 10)))
        self._failures += 1

    def _forget(self, instance: str, waiter: _Revision) -> None:
        waiter.seen.cancel()
        waiters = self._waiters[instance]
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[instance]
