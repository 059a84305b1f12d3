"""``SyncProducer``: a producer for programs without an event loop, such as Django or Flask; a thread runs one."""

from __future__ import annotations

from .client.sender import Sender
from .loop_thread import Blocking, waiting
from .producer import Producer
from .settings import Settings
from .tracing import Tracing

__all__ = ["SyncProducer"]


class SyncProducer(Blocking):
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
        super().__init__(Producer(settings, in_flight_max=in_flight_max, tracing=tracing), "producer")

    publish = waiting(Sender.publish)
    tell = waiting(Sender.tell)
    request = waiting(Sender.request)
    start = waiting(Sender.start)
    start_when_quiet = waiting(Sender.start_when_quiet)
    cancel = waiting(Sender.cancel)
    reschedule = waiting(Sender.reschedule)
