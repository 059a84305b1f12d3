"""Calls the handler of a subscription: applies the filter, reads the body, and runs the middlewares round it.

What follows from the outcome is decided by the caller: the consumer of a log, or a bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from pydantic import BaseModel

from ..orchestrator.ports.log import Record
from .calls import Calls
from .errors import Unreadable
from .message import Message
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

    async def call(
        self,
        subscription: Subscription,
        record: Record,
        headers: Mapping[str, bytes],
        message: Message,
        is_new: Callable[[BaseModel], Awaitable[bool]] | None = None,
    ) -> bool:
        """Calls the handler; False: its filter does not take this message, or ``is_new`` returned False.

        Raises:
            Unreadable: the record's value is no body of this subscription.
            TimeoutError: it took longer than the worker's ``handler_timeout``.
            BaseException: what the filter, a middleware or the handler raised.
        """
        if not subscription.takes(headers):
            return False
        body = _read(subscription, record, headers)
        if not subscription.likes(body) or (is_new is not None and not await is_new(body)):
            return False
        await self._through(subscription, body, message)
        return True

    async def _through(self, subscription: Subscription, body: BaseModel, message: Message) -> None:
        """The handler and what stands round it."""
        limit = asyncio.timeout(self._timeout_seconds)
        try:
            async with limit:
                await self._calls.call(subscription.callee, body, message)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"it was cancelled after {self._timeout_seconds:g} s (handler_timeout)") from error
            raise


def _read(subscription: Subscription, record: Record, headers: Mapping[str, bytes]) -> BaseModel:
    if record.value is None:
        raise Unreadable("it has no value (a tombstone)")
    return subscription.reads.read(record.value, headers)
