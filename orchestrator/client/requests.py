"""``Requests``: what a producer has asked and not been answered yet, and the reader of its answers.

- A producer reads one partition of the topic of replies, from its end, and opens it before its first request: no
  answer can be missed. Of records that are not for it only the headers are read.
- The id of a command ends with ``{producer}.{number}``: an answer finds its asker by it, and an answer that comes
  after its asker has given up is counted, not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from ..codec.commands import ReplyTo
from ..codec.inputs import HEARTBEAT, decode_input
from ..codec.wire import BadRecord, header_map
from ..errors import LogUnavailable
from ..messages.inputs import Completed, Failed, Rejected, Reply
from ..ports.log import Log, Record
from .following import follow

__all__ = ["Requests"]

_CLOSED = "the producer was closed"
_log = structlog.get_logger("sagaline.client")


class Requests:
    """Answers by the ids of commands. ``producer``: the end of the ids, unique for each process.

    Args:
        log: with the topic of replies.
        reply_to: the partition that is read.
        producer: a unique name without ``/`` and ``.``.
    """

    def __init__(self, log: Log, reply_to: ReplyTo, producer: str) -> None:
        self._log, self.reply_to, self._producer = log, reply_to, producer
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._count = 0
        self._reading: asyncio.Task[None] | None = None
        self._open, self._closed = asyncio.Event(), False
        self.late = 0
        """Answers that nobody waited for any more, or that came a second time."""

    @property
    def waiting(self) -> int:
        """How many requests wait for an answer."""
        return len(self._waiting)

    def command_id(self, effect_key: str) -> str:
        """The id of the next command with this effect key."""
        self._count += 1
        return f"{effect_key}/{self._producer}.{self._count}"

    async def opened(self) -> None:
        """Waits until answers to what is sent from now on are seen; the first call opens the reader."""
        if self._closed:
            raise LogUnavailable(f"{_CLOSED}; nothing was sent")
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="replies")
        await self._open.wait()

    async def close(self) -> None:
        """Stops reading; requests that still wait end with an error."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LogUnavailable(f"{_CLOSED} before the reply came; it may have been carried out"))

    @contextmanager
    def expect(self, command_id: str) -> Iterator[asyncio.Future[Reply]]:
        """The answer to a command that is sent inside the block."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[command_id] = answer
        try:
            yield answer
        finally:
            self._waiting.pop(command_id, None)

    async def _read(self) -> None:
        topic, own = self.reply_to.topic, [self.reply_to.partition]
        name = "the reader of replies"
        await follow(self._log, topic, self._deliver_all, lambda _: self._open.set(), name=name, partitions=own)

    def _deliver_all(self, records: Sequence[Record]) -> None:
        for record in records:
            self._deliver(record)

    def _deliver(self, record: Record) -> None:
        headers = header_map(record.headers)
        command_id = headers.get("ce_commandid", b"").decode(errors="replace")
        asker = command_id.rpartition("/")[2].partition(".")[0]
        if asker != self._producer or headers.get("ce_type") == HEARTBEAT.encode():
            return
        answer = self._waiting.pop(command_id, None)
        if answer is None or answer.done():
            self.late += 1
            return
        try:
            reply = decode_input(record)
        except BadRecord as error:
            _log.warning("a reply cannot be read", reason=str(error))
            return
        if isinstance(reply, Completed | Rejected | Failed):
            answer.set_result(reply)
