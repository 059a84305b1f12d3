"""The feed: one shared reader of the history topic that delivers the decision to the sender of each request.

Opened at the latest record before the first request is sent, so no answer can be missed. Of records without a waiter
only the headers are read. A waiter ends at its timeout; the number of waiters is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ..codec.documents import decode_history, request_of
from ..codec.wire import BadRecord
from ..errors import LogUnavailable, TransientError
from ..messages.history import HistoryRecord
from ..ports.log import Log, Record, TopicPartition
from ..ports.topics import Topics
from .following import follow

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
    """The shared reader; runs until cancelled."""

    def __init__(self, log: Log, topics: Topics, *, waiters_max: int = 10_000) -> None:
        self._log, self._topics, self._waiters_max = log, topics, waiters_max
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
        await follow(self._log, self._topics.history, self._deliver, self._open, name="the feed of decisions")

    def stop_waiting(self) -> None:
        """Ends all present and future waits, as if no decision had been seen. For the end of a process."""
        self._stopping = True
        for answer in (each for answers in self._waiters.values() for each in answers):
            answer.resolve(None)

    @asynccontextmanager
    async def expect(self, request: str, *, timeout: float) -> AsyncIterator[Answer]:
        """Listens for the answer to a request that is sent inside the block.

        Raises:
            LogUnavailable: the feed could not be opened within ``timeout`` seconds.
            TransientError: too many requests are waiting.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._open.wait()
        except TimeoutError:
            raise LogUnavailable(
                f"the log could not be read within {timeout:g} s; nothing was sent, try again"
            ) from None
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

    def _deliver(self, records: Sequence[Record]) -> None:
        for record in records if self._waiters else ():
            try:
                found = request_of(record)
            except BadRecord:
                continue
            for answer in self._waiters.get(found[0], ()) if found else ():
                answer.resolve(record)
