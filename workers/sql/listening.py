"""PostgreSQL's LISTEN: wakes a relay when rows were committed, so that it need not look all the time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ..threads import Threads
from .database import AnyEngine
from .tables import CHANNEL

__all__ = ["listening"]

_LOOK_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 5.0
_THREADS: Final = Threads("sagaline-listen")
_logger = structlog.get_logger(__name__)


@asynccontextmanager
async def listening(engine: AnyEngine, wake: Callable[[], None]) -> AsyncIterator[None]:
    """Calls ``wake`` in this event loop whenever rows were committed, during the block. A lost connection is renewed.

    Only on PostgreSQL; elsewhere, and while the connection is away, nothing is called: look now and then.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    stop = threading.Event()
    listener = asyncio.create_task(_listen(engine, wake, stop), name="outbox listener")
    try:
        yield
    finally:
        stop.set()  # not cancelled at first: a driver that is cancelled while it connects leaves a socket open
        await asyncio.wait([listener], timeout=_STOP_SECONDS)
        listener.cancel()


async def _listen(engine: AnyEngine, wake: Callable[[], None], stop: threading.Event) -> None:
    loop, failures = asyncio.get_running_loop(), 0
    while not stop.is_set():
        try:
            if isinstance(engine, AsyncEngine):
                await _by_coroutines(engine, wake, stop)
            else:
                await _THREADS.run(_in_thread, engine, partial(loop.call_soon_threadsafe, wake), stop)
        except Exception as error:  # any driver's
            failures += 1
            if failures == 1:
                _logger.warning("outbox.listen.lost", error=type(error).__name__)
        if not stop.is_set():
            await asyncio.sleep(_LOOK_SECONDS)


def _in_thread(engine: Engine, wake: Callable[[], object], stop: threading.Event) -> None:
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.detach()
    try:
        connection.autocommit = True
        connection.execute(f"LISTEN {CHANNEL}")
        wake()
        while not stop.is_set():
            for _ in connection.notifies(timeout=_LOOK_SECONDS, stop_after=1):
                wake()
    finally:
        with suppress(Exception):
            connection.close()


async def _by_coroutines(engine: AsyncEngine, wake: Callable[[], None], stop: threading.Event) -> None:
    pooled = await engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.detach()
    try:
        if engine.dialect.driver == "asyncpg":
            await connection.add_listener(CHANNEL, lambda *_: wake())
            wake()
            while not stop.is_set() and not connection.is_closed():  # noqa: ASYNC110  # the driver has no such event
                await asyncio.sleep(_LOOK_SECONDS)
        else:
            await connection.set_autocommit(True)
            await connection.execute(f"LISTEN {CHANNEL}")
            wake()
            while not stop.is_set():
                async for _ in connection.notifies(timeout=_LOOK_SECONDS, stop_after=1):
                    wake()
    finally:
        with suppress(Exception):
            await connection.close()
