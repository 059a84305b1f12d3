"""``LoopThread``: an event loop in a thread of its own, for programs that have none, such as Django or Flask."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from .errors import ConfigurationError

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for any number of threads; not open until ``open``, and closed in a forked process."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0

    @property
    def is_open(self) -> bool:
        """Whether this process can use it."""
        return self._loop is not None and self._process == os.getpid()

    def open(self) -> None:
        """Starts the thread."""
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"sagaline-{self._owner}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the thread, which must be open."""
        loop, self._loop = self._loop, None
        assert loop is not None
        assert self._thread is not None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, or its error.

        Raises:
            ConfigurationError: it is not open, or it was opened before this process was forked.
        """
        if not self.is_open:
            work.close()
            raise ConfigurationError(
                f"this {self._owner} is not open in this process; use it inside `with`, or call open() first, in each "
                "process after it was forked"
            )
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # the waiting thread was interrupted; otherwise it does nothing
            raise
