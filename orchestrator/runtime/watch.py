"""Checks whether a start can be written and decided now. It asks the log itself, so it is correct in any process.

- Written: a small record without a value is appended to the topic of the namespace's record.
- Decided: each partition of ``inputs`` has an owner, makes progress if it has records, and its next record can be read;
  and an engine in this process has no alarm.
- The age of the oldest undecided record is a metric; there is a warning before ``inputs`` would delete it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, NoReturn

import structlog

from ..errors import CorruptRecord, LogUnavailable, SagalineError
from ..ports.clock import Clock
from ..ports.log import Log, Outgoing, Standing, TopicPartition
from ..ports.topics import INPUTS_RETENTION_MS, Topics
from ..ports.waiting import first_records
from .metrics import Metrics

__all__ = ["OLDEST", "Watch"]

_log = structlog.get_logger("sagaline.watch")

OLDEST = "inputs.oldest_undecided"
_EVERY_SECONDS = 5.0
_STILL_SECONDS = 20.0
_WARNING_MS = INPUTS_RETENTION_MS // 4
_WARN_AGAIN_MS = 3_600_000
_PROBE_KEY = b"probe"


class _Seen(NamedTuple):
    """A partition at the last check. ``oldest_ms``: when its oldest undecided record was written, if there is one;
    ``since``: when that was first seen, by this process's monotonic clock.
    """

    standing: Standing
    end: int
    since: float
    oldest_ms: int | None

    def stands(self, found: Standing, end: int) -> bool:
        """True when nothing has changed, so that it need not be read again."""
        return self.standing.offset == found.offset and (self.oldest_ms is not None or self.end == end)


class Watch:
    """One per process; keep ``run`` running, so that metrics and warnings come without a caller of ``check``.

    Args:
        group: of the engines.
        queues: those whose workers are looked for.
        alarm: what is wrong with an engine of this process; None: nothing.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        clock: Clock,
        metrics: Metrics,
        *,
        group: str,
        queues: Collection[str] = (),
        alarm: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._log, self._topics, self._clock, self._metrics, self._group = log, topics, clock, metrics, group
        self._alarm, self._queues = alarm, sorted(queues)
        self._unread: frozenset[str] = frozenset()
        self._reason = ""
        self._looking = asyncio.Lock()
        self._seen: dict[int, _Seen] = {}
        self._looked_at: float | None = None
        self._objection: str | None = None
        self._warned_ms: int | None = None

    async def run(self) -> NoReturn:
        """Checks every few seconds, forever; logs when starts cannot be decided, and when they can again."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            reason = ""
            try:
                await self.check()
            except SagalineError as error:
                reason = str(error)
            except Exception:
                _log.exception("the watch failed, retrying")
                continue
            await self.look_for_workers()
            if reason and not self._reason:
                _log.warning("no start can be decided", reason=reason)
            elif self._reason and not reason:
                _log.info("starts are decided again")
            self._reason = reason

    def notices(self, queues: Collection[str]) -> list[str]:
        """What keeps starts from being decided, and commands on these queues from being handled, as last looked at."""
        found = [self._reason] if self._reason else []
        return found + [
            f"no worker reads queue {queue!r}: start one (saga worker MODULE:WORKER)"
            for queue in sorted(self._unread.intersection(queues))
        ]

    async def look_for_workers(self) -> None:
        """Asks about each queue in turn; one that cannot be asked about stays as it was."""
        for queue in self._queues:
            try:
                read = await self._log.is_read(self._topics.commands(queue), f"{self._topics.namespace}.worker.{queue}")
            except SagalineError:
                continue
            if read == (queue in self._unread):
                self._unread ^= {queue}
                say = _log.info if read else _log.warning
                say("workers read the queue again" if read else "no worker reads the queue", queue=queue)
            self._metrics.set("queues.unread", int(not read), queue)

    async def check(self) -> None:
        """Returns if a start can be written and decided now; a good result is reused for a few seconds.

        Raises:
            LogUnavailable: it cannot; the message says why.
            TopicMismatch: a topic does not exist.
        """
        async with self._looking:
            now = self._clock.monotonic()
            fine = self._looked_at is not None and self._objection is None
            if fine and self._looked_at is not None and now - self._looked_at < _EVERY_SECONDS:
                return
            self._objection = "the check was not completed"  # also if the caller is cancelled
            self._objection = await self._look()
            self._looked_at = self._clock.monotonic()
            if self._objection is not None:
                raise LogUnavailable(self._objection)

    async def _look(self) -> str | None:
        topics = self._topics
        await self._log.append([Outgoing(topics.made, _PROBE_KEY, None)])
        if (alarm := self._alarm()) is not None:
            return alarm
        try:
            standing = await self._log.standing(topics.inputs, topics.state, self._group)
            await self._refresh(standing)
        except CorruptRecord as error:
            return str(error)
        now_ms = self._clock.now_ms()
        ages = {number: now_ms - seen.oldest_ms for number, seen in self._seen.items() if seen.oldest_ms is not None}
        self._tell_age(max(ages.values(), default=0), now_ms)
        if unowned := sorted(number for number, found in standing.items() if not found.owned):
            return f"no engine owns partition {_list(unowned)} of {topics.inputs}: start one (saga run)"
        now = self._clock.monotonic()
        if still := sorted(number for number in ages if now - self._seen[number].since > _STILL_SECONDS):
            places = ", ".join(f"{number} at offset {standing[number].offset}" for number in still)
            return f"partition {places} of {topics.inputs} is stopped: the log of its engine says why"
        return None

    async def _refresh(self, standing: Mapping[int, Standing]) -> None:
        """Reads again only partitions that have changed since the last check."""
        inputs = self._topics.inputs
        ends = await self._log.end_offsets([inputs])
        moved = {}
        for number, found in standing.items():
            lag = max(0, ends[TopicPartition(inputs, number)] - found.offset)
            self._metrics.set("inputs.lag", lag, str(number))
            before = self._seen.get(number)
            if before is None or not before.stands(found, ends[TopicPartition(inputs, number)]):
                moved[number] = found
        oldest = await self._oldest({number: found.offset for number, found in moved.items()}, ends)
        now = self._clock.monotonic()
        for number, found in moved.items():
            self._seen[number] = _Seen(found, ends[TopicPartition(inputs, number)], now, oldest.get(number))

    async def _oldest(self, offsets: Mapping[int, int], ends: Mapping[TopicPartition, int]) -> dict[int, int]:
        """When the first record from these offsets on was written, for partitions that have one."""
        starts = {TopicPartition(self._topics.inputs, number): offset for number, offset in offsets.items()}
        found = await first_records(self._log, starts, ends)
        return {place.partition: record.timestamp_ms for place, record in found.items()}

    def _tell_age(self, age_ms: int, now_ms: int) -> None:
        self._metrics.set(OLDEST, age_ms / 1000)
        due = self._warned_ms is None or now_ms - self._warned_ms >= _WARN_AGAIN_MS
        if age_ms >= _WARNING_MS and due:
            self._warned_ms = now_ms
            _log.warning(
                "records of inputs wait undecided; on Kafka the topic deletes them at the end of its retention",
                oldest_hours=round(age_ms / 3_600_000, 1),
                retention_hours=INPUTS_RETENTION_MS / 3_600_000,
                remedy="start engines (saga run), or give the topic a longer retention.ms",
            )
        elif age_ms < _WARNING_MS:
            self._warned_ms = None


def _list(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
