"""``SyncProducer``: a producer for programs without an event loop, such as Django or Flask; a thread runs one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from .client.sender import Sender
from .loop_thread import LoopThread
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
        return self._thread.result(method(self._producer, *args, **kwargs))

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
        self._thread = LoopThread("producer")

    publish = _waiting(Sender.publish)
    tell = _waiting(Sender.tell)
    request = _waiting(Sender.request)
    start = _waiting(Sender.start)
    start_when_quiet = _waiting(Sender.start_when_quiet)
    cancel = _waiting(Sender.cancel)
    reschedule = _waiting(Sender.reschedule)

    def open(self) -> Self:
        """Connects; returns itself. Errors as of ``Producer`` on entry."""
        self._thread.open()
        try:
            self._thread.result(self._producer.__aenter__())
        except BaseException:
            self._thread.close()
            raise
        return self

    def close(self) -> None:
        """Ends requests under way and disconnects, within some seconds. Idempotent."""
        if self._thread.is_open:
            try:
                self._thread.result(self._producer.__aexit__())
            finally:
                self._thread.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()
