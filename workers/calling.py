"""Calls the handler of a subscription: reads the body, applies the filter, and runs the middlewares round it.

What follows from the outcome is decided by the caller: the consumer of a log, or a bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from ..orchestrator.ports.log import Record
from .errors import Unreadable
from .message import Message
from .subscription import Middleware, Subscription

__all__ = ["Calling"]


class Calling:
    """How the handlers of a worker's subscriptions are called.

    Args:
        middlewares: outermost first.
        timeout_seconds: the longest run of a handler; a thread cannot be cancelled and runs on.
    """

    def __init__(self, middlewares: Sequence[Middleware], timeout_seconds: float) -> None:
        self._middlewares, self._timeout_seconds = middlewares, timeout_seconds

    async def call(
        self, subscription: Subscription, record: Record, headers: Mapping[str, bytes], message: Message
    ) -> bool:
        """Calls the handler; False: its filter does not take this message.

        Raises:
            Unreadable: the record's value is no body of this subscription.
            TimeoutError: it took longer than the worker's ``handler_timeout``.
            BaseException: what the filter, a middleware or the handler raised.
        """
        body = _read(subscription, record, headers)
        if subscription.options.where is not None and not subscription.options.where(body):
            return False
        await self._through(subscription, body, message)
        return True

    async def _through(self, subscription: Subscription, body: Any, message: Message) -> None:
        """The handler and what stands round it."""

        def handler() -> Awaitable[object]:
            return _called(subscription, body, message)

        call: Callable[[], Awaitable[object]] = handler
        for middleware in reversed(self._middlewares):
            call = _around(middleware, message, call)
        limit = asyncio.timeout(self._timeout_seconds)
        try:
            async with limit:
                await call()
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"it was cancelled after {self._timeout_seconds:g} s (handler_timeout)") from error
            raise


def _read(subscription: Subscription, record: Record, headers: Mapping[str, bytes]) -> BaseModel:
    if record.value is None:
        raise Unreadable("it has no value (a tombstone)")
    return subscription.reads.read(record.value, headers)


async def _called(subscription: Subscription, body: Any, message: Message) -> object:
    arguments = (body, message) if subscription.takes_message else (body,)
    if subscription.is_async:
        return await cast("Awaitable[object]", subscription.function(*arguments))
    result = await asyncio.to_thread(subscription.function, *arguments)
    return await result if isinstance(result, Awaitable) else result


def _around(
    middleware: Middleware, message: Message, call: Callable[[], Awaitable[object]]
) -> Callable[[], Awaitable[object]]:
    async def called() -> object:
        return await middleware(message, call)

    return called
