"""Calls the handler of a subscription: applies the filter, reads the body, and runs the middlewares round it.

What follows from the outcome is decided by the caller: the consumer of a log, or a bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from types import coroutine
from typing import Any

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
        running = self._calls.call(subscription.callee, body, message)
        try:
            awaited = running.send(None)
        except StopIteration:
            return True  # It never waited: only what waits can be cancelled, so that a timer would be for nothing.
        await self._limited(running, awaited)
        return True

    async def _limited(self, running: Coroutine[Any, Any, object], awaited: object) -> None:
        """The rest of a call that waits for something now."""
        limit = asyncio.timeout(self._timeout_seconds)
        try:
            async with limit:
                await _resumed(running, awaited)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"it was cancelled after {self._timeout_seconds:g} s (handler_timeout)") from error
            raise


@coroutine
def _resumed(running: Coroutine[Any, Any, object], awaited: object) -> Generator[Any, Any, None]:
    """Awaits a coroutine that was begun by ``send`` and has given ``awaited``: in the same task, as ``await`` does."""
    try:
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                running.close()
                raise
            except BaseException as error:
                awaited = running.throw(error)
            else:
                awaited = running.send(sent)
    except StopIteration:
        pass


def _read(subscription: Subscription, record: Record, headers: Mapping[str, bytes]) -> BaseModel:
    if record.value is None:
        raise Unreadable("it has no value (a tombstone)")
    return subscription.reads.read(record.value, headers)
