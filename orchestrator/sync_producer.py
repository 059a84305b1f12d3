"""``SyncProducer``: a producer for programs without an event loop, such as Django or Flask; a thread runs one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from .client.sender import Sender
from .errors import ConfigurationError
from .producer import Producer
from .settings import Settings
from .tracing import Tracing

__all__ = ["SyncProducer"]

P = ParamSpec("P")
T = TypeVar("T")


def _waiting(
    method: Callable[Concatenate[Sender, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncProducer, P], T]:
    """The method of ``Producer`` as one that returns its result."""

    @wraps(method)
    def call(self: SyncProducer, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._result(method(self._producer, *args, **kwargs))

    return call


class SyncProducer:
    """The methods of ``Producer``, each returning when it is done. For any number of threads.

    Use it as ``with SyncProducer(settings) as producer:``, or ``open()`` it where a process begins, and ``close()`` it
    where it ends. A process that forks (gunicorn, uWSGI) opens one in each child.

    Args:
        settings: the log and the namespace; None: from the environment (``SAGALINE_*``).
        in_flight_max: so many requests are under way at most; further ones wait, within their own timeout.
        tracing: one span for each message; None: only trace contexts are passed on.

    Raises:
        ConfigurationError: it is used while it is not open, or in a process forked from the one that opened it; and
            as ``Producer``.
    """

    def __init__(
        self, settings: Settings | None = None, *, in_flight_max: int = 1_000, tracing: Tracing | None = None
    ) -> None:
        self._producer = Producer(settings, in_flight_max=in_flight_max, tracing=tracing)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0

    publish = _waiting(Sender.publish)
    tell = _waiting(Sender.tell)
    request = _waiting(Sender.request)
    start = _waiting(Sender.start)
    start_when_quiet = _waiting(Sender.start_when_quiet)
    cancel = _waiting(Sender.cancel)
    reschedule = _waiting(Sender.reschedule)

    def open(self) -> Self:
        """Connects; returns itself. Errors as of ``Producer`` on entry."""
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sagaline-producer", daemon=True)
        self._thread.start()
        try:
            self._result(self._producer.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def close(self) -> None:
        """Ends requests under way and disconnects, within some seconds. Idempotent."""
        if self._loop is not None and self._process == os.getpid():
            try:
                self._result(self._producer.__aexit__())
            finally:
                self._stop()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _result(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None or self._process != os.getpid():
            work.close()
            raise ConfigurationError(
                "this producer is not open in this process; use it inside `with SyncProducer(settings):`, or call "
                "open() first, in each process after it was forked"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # the waiting thread was interrupted; otherwise it does nothing
            raise

    def _stop(self) -> None:
        loop, self._loop = self._loop, None
        assert loop is not None
        assert self._thread is not None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
