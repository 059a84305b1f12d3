"""The feed: the one reader of the history topic in a process. It delivers the decision to the sender of each request,
and every event to the ``window`` of the latest ones.

Opened at the latest record, or some before it, before the first request is sent, so no answer can be missed. Of records
without a waiter only the headers are read. A waiter ends at its timeout; the number of waiters is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from ..codec.documents import decode_history, request_of
from ..codec.wire import BadRecord
from ..errors import LogUnavailable, TransientError
from ..messages.history import HistoryRecord
from ..ports.log import Log, Record, TopicPartition
from ..ports.topics import Topics
from .following import follow
from .window import Window

__all__ = ["Answer", "Feed"]


class Answer:
    """The decision about one request: ``record`` is set after ``arrived``, with its ``place`` and ``offset``."""

    def __init__(self, request: str) -> None:
        self.request = request
        self._record: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()

    def resolve(self, record: Record | None) -> None:
        """Sets the answer; None: the wait has ended without one."""
        if not self._record.done():
            self._record.set_result(record)

    async def wait(self, seconds: float) -> tuple[HistoryRecord, TopicPartition, int] | None:
        """The history record that answers the request and its place; None: it did not arrive in time.

        Raises:
            BadRecord: it arrived and cannot be read.
        """
        try:
            async with asyncio.timeout(seconds):
                record = await asyncio.shield(self._record)
        except TimeoutError:
            return None
        if record is None:
            return None
        return decode_history(record), TopicPartition(record.topic, record.partition), record.offset


class Feed:
    """The shared reader; runs until cancelled.

    Args:
        log: the log.
        topics: of the namespace.
        waiters_max: how many requests may wait.
        recent: how many of the latest records of each partition are read at the start into ``window``, so that readers
            that come again after a restart find there what they have missed; 0: ``window`` waits for its first reader.
    """

    def __init__(self, log: Log, topics: Topics, *, waiters_max: int = 10_000, recent: int = 0) -> None:
        self._log, self._topics, self._waiters_max, self._recent = log, topics, waiters_max, recent
        self.window = Window()
        self.window.keeps = recent > 0
        self._past: Mapping[TopicPartition, int] = {}
        self._waiters: dict[str, list[Answer]] = {}
        self._waiting = 0
        self._open = asyncio.Event()
        self._stopping = False

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    @property
    def waiting_count(self) -> int:
        return self._waiting

    async def run(self) -> None:
        """Never returns: see ``follow``."""
        start = self._latest if self._recent else None
        name = "the feed of decisions"
        await follow(self._log, self._topics.history, self._deliver, self._opened, name=name, start=start)

    async def opened(self, seconds: float) -> None:
        """Returns when it is open.

        Raises:
            LogUnavailable: it was not within this time.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._open.wait()
        except TimeoutError:
            raise LogUnavailable(
                f"the log could not be read within {seconds:g} s; nothing was sent, try again"
            ) from None

    def stop_waiting(self) -> None:
        """Ends all present and future waits, as if nothing had been seen. For the end of a process."""
        self._stopping = True
        self.window.stop()
        for answer in (each for answers in self._waiters.values() for each in answers):
            answer.resolve(None)

    @asynccontextmanager
    async def expect(self, request: str, *, timeout: float) -> AsyncIterator[Answer]:
        """Listens for the answer to a request that is sent inside the block.

        Raises:
            LogUnavailable: the feed could not be opened within ``timeout`` seconds.
            TransientError: too many requests are waiting.
        """
        await self.opened(timeout)
        if self._waiting >= self._waiters_max:
            raise TransientError(f"{self._waiters_max:,} requests are waiting for their decision; try again later")
        answer = Answer(request)
        self._waiters.setdefault(request, []).append(answer)  # two callers may use the same id
        self._waiting += 1
        if self._stopping:
            answer.resolve(None)
        try:
            yield answer
        finally:
            self._waiting -= 1
            self._waiters[request].remove(answer)
            if not self._waiters[request]:
                del self._waiters[request]

    async def _latest(self) -> Mapping[TopicPartition, int]:
        self._past = await self._log.end_offsets([self._topics.history])
        return {at: max(0, end - self._recent) for at, end in self._past.items()}

    def _opened(self, positions: Mapping[TopicPartition, int]) -> None:
        self.window.open(positions, self._past)
        self._open.set()

    def _deliver(self, records: Sequence[Record]) -> None:
        self.window.add(records)
        for record in records if self._waiters else ():
            try:
                found = request_of(record)
            except BadRecord:
                continue
            for answer in self._waiters.get(found[0], ()) if found else ():
                answer.resolve(record)
