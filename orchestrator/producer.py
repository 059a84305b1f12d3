"""``Producer``: sends from any asyncio program, without an engine, a feed or a read model."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from typing import Self

from .client.feed import Feed
from .client.requests import Requests
from .client.sender import Sender, SenderParts
from .codec.commands import ReplyTo
from .errors import ConfigurationError
from .settings import Settings
from .tracing import Tracing
from .wiring import open_base, prepare_topics

__all__ = ["Producer"]


class Producer(Sender):
    """Publishes events, sends commands and asks workers: ``async with Producer(settings) as producer:``.

    One for each process, opened once; for the tasks of one event loop. Leaving the block ends requests under way.

    Args:
        settings: the log and the namespace; None: from the environment (``SAGALINE_*``).
        in_flight_max: so many requests are under way at most; further ones wait, within their own timeout.
        tracing: one span for each message; None: only trace contexts are passed on.

    Raises:
        ConfigurationError: the log's file or address cannot be used, or it is used outside its block.
        TopicMismatch: on entry: the namespace was not created, or with another number of partitions.
        LogUnavailable: on entry: the log does not answer.
    """

    def __init__(
        self, settings: Settings | None = None, *, in_flight_max: int = 1_000, tracing: Tracing | None = None
    ) -> None:
        if in_flight_max < 1:
            raise ConfigurationError(f"in_flight_max is {in_flight_max}; give at least 1")
        super().__init__(in_flight_max=in_flight_max)
        self._settings, self._tracing = settings or Settings(), tracing
        self._stack = AsyncExitStack()
        self._opened: SenderParts | None = None

    @property
    def _parts(self) -> SenderParts:
        if self._opened is None:
            raise ConfigurationError("this producer is not open; use it inside `async with Producer(settings):`")
        return self._opened

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            base = await stack.enter_async_context(open_base(self._settings, self._tracing))
            await prepare_topics(base, ())
            reply_to = ReplyTo(topic=base.topics.replies, partition=secrets.randbelow(self._settings.partitions))
            requests = Requests(base.log, reply_to, base.clock.new_id())
            stack.push_async_callback(requests.close)
            stack.push_async_callback(self._stop_feeding)
            self._stack = stack.pop_all()
        self._opened = SenderParts(
            vault=base.vault,
            log=base.log,
            topics=base.topics,
            clock=base.clock,
            tracing=base.tracing,
            prepare=lambda queue: prepare_topics(base, (queue,)),
            requests=requests,
            feed=Feed(base.log, base.topics),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opened = None
        await self._stack.aclose()
