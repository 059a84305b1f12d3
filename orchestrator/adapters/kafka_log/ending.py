"""Deadlines for calls that have none, and stops that always end.

aiokafka's ``stop()`` can wait forever for a broker that is gone, raise its own CancelledError, or be lost when its
caller is cancelled. So everything runs in a task of ours, which is awaited with a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from ...errors import LogUnavailable
from .driver import BROKEN

__all__ = ["abandon", "stop_consumer", "stop_producer", "translated", "within"]

T = TypeVar("T")


async def within(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The result of ``work``, or TimeoutError after ``seconds``; then the work is cancelled and abandoned."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done() and not task.cancelled():
            return task.result()
        raise TimeoutError
    finally:
        if not task.done():
            await abandon(task)


async def abandon(task: asyncio.Future[Any], seconds: float = 0.5) -> None:
    """Cancels a task and waits for its end for a moment; later errors of it are ignored."""
    task.add_done_callback(_forget)
    task.cancel()
    with contextlib.suppress(RuntimeError):
        await asyncio.wait({task}, timeout=seconds)


def _forget(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


@contextlib.contextmanager
def translated(message: str) -> Iterator[None]:
    """Converts what aiokafka raises when the broker is gone to LogUnavailable."""
    try:
        yield
    except BROKEN as error:
        detail = f" ({type(error).__name__}: {error})" if str(error) else f" ({type(error).__name__})"
        raise LogUnavailable(message + detail) from error


async def stop_producer(producer: Any) -> None:
    """Stops a producer within about two seconds, whatever it was doing; its successor ends its open transaction."""
    producer._closed = True
    sender = producer._sender.sender_task
    for _ in range(10):
        if sender is None or sender.done():
            break
        sender.cancel()
        await asyncio.wait({sender}, timeout=0.1)
    accumulator = producer._message_accumulator
    left = [batch for batches in accumulator._batches.values() for batch in batches] + list(
        accumulator._pending_batches
    )
    waiters = [batch._drain_waiter for batch in left]
    for future in (sender, producer._txn_manager._transaction_waiter, *waiters):
        if future is not None and future.done():
            _forget(future)
    with contextlib.suppress(*BROKEN):
        await within(producer.client.close(), 0.7)


async def stop_consumer(consumer: Any, seconds: float = 1.0) -> None:
    """Stops a consumer (and leaves its group, if the broker answers within ``seconds``)."""
    with contextlib.suppress(*BROKEN):
        await within(consumer.stop(), seconds)
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    left = [getattr(coordinator, f"_{name}_task", None) for name in ("coordination", "heartbeat", "commit_refresh")]
    left += [getattr(fetcher, "_fetch_task", None), *getattr(fetcher, "_pending_tasks", ())]
    running = [task for task in left if task is not None and not task.done()]
    for task in running:
        task.add_done_callback(_forget)
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=0.2)
    with contextlib.suppress(*BROKEN):
        await within(consumer._client.close(), 0.5)
