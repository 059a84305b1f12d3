"""Calls the handler of a subscription, with the middlewares round it.

What follows from the outcome is decided by the caller: the consumer of a log, or a bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pydantic import BaseModel

from .calls import Calls
from .message import Message
from .own_context import resumed
from .subscription import Subscription

__all__ = ["Calling"]


class Calling:
    """How the handlers of a worker's subscriptions are called.

    Args:
        calls: calls them.
        timeout_seconds: the longest run of a handler; a thread cannot be cancelled and runs on.
    """

    def __init__(self, calls: Calls, timeout_seconds: float) -> None:
        self._calls, self._timeout_seconds = calls, timeout_seconds

    def begin(
        self, subscription: Subscription, body: BaseModel, message: Message | None
    ) -> Coroutine[Any, Any, None] | None:
        """Calls the handler; returns what the task in which it was begun has still to await. None: it has ended.

        ``message`` None: nobody asks for it, as ``Calls.asks`` says.

        Raises, at once or when it is awaited:
            TimeoutError: it took longer than the worker's ``handler_timeout``.
            BaseException: what a middleware or the handler raised.
        """
        running = self._calls.call(subscription.callee, body, message)
        try:
            awaited = running.send(None)
        except StopIteration:
            return None  # It never waited: only what waits can be cancelled, so that a timer would be for nothing.
        return self._limited(running, awaited)

    async def _limited(self, running: Coroutine[Any, Any, object], awaited: object) -> None:
        """The rest of a call that waits for something now."""
        limit = asyncio.timeout(self._timeout_seconds)
        try:
            async with limit:
                await resumed(running, awaited)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"it was cancelled after {self._timeout_seconds:g} s (handler_timeout)") from error
            raise
