"""The feed: one shared reader of the history topic that delivers the decision to the sender of each request.

Opened at the latest record before the first request is sent, so no answer can be missed. Of records without a waiter
only the headers are read. A waiter ends at its timeout; the number of waiters is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from ..codec.documents import decode_history, request_of
from ..codec.wire import BadRecord
from ..errors import LogUnavailable, SagalineError, TransientError
from ..messages.history import HistoryRecord
from ..ports.log import Log, Record, Tail, TopicPartition
from ..ports.topics import Topics

__all__ = ["Answer", "Feed"]

_log = structlog.get_logger("sagaline.client")

_POLL_RECORDS = 1_000
_POLL_SECONDS = 1.0
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0


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
        self._failures = 0
        self._stopping = False

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    @property
    def waiting_count(self) -> int:
        return self._waiting

    async def run(self) -> None:
        """Never returns: errors are logged and reading continues at the last position, so that no answer is missed."""
        positions: Mapping[TopicPartition, int] | None = None
        while True:
            try:
                tail = await self._log.tail([self._topics.history], "latest" if positions is None else positions)
                positions = dict(tail.positions())
                self._open.set()
                try:
                    await self._follow(tail)
                finally:
                    positions = dict(tail.positions())
                    await tail.close()
            except SagalineError as error:
                _log.warning("the feed of decisions was interrupted, retrying", reason=str(error))
            except Exception:
                _log.exception("the feed of decisions failed, retrying")
            await asyncio.sleep(min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(self._failures, 10)))
            self._failures += 1

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

    async def _follow(self, tail: Tail) -> None:
        while True:
            records = await tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS)
            self._failures = 0
            if self._waiters:
                for record in records:
                    self._deliver(record)

    def _deliver(self, record: Record) -> None:
        try:
            found = request_of(record)
        except BadRecord:
            return
        for answer in self._waiters.get(found[0], ()) if found else ():
            answer.resolve(record)
