"""An event loop in a thread of its own, for programs that have none, such as Django or Flask: ``Blocking`` is the base
of a class whose methods are those of an asynchronous one, each made by ``waiting``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from .errors import ConfigurationError

__all__ = ["Blocking", "LoopThread", "waiting"]

P = ParamSpec("P")
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


class Blocking:
    """Runs ``inner``, an asynchronous context manager, in a thread. For any number of threads."""

    def __init__(self, inner: Any, owner: str) -> None:
        self._inner, self._thread = inner, LoopThread(owner)

    def open(self) -> Self:
        """Connects; returns itself. Raises what entering the asynchronous one raises."""
        self._thread.open()
        try:
            self._thread.result(self._inner.__aenter__())
        except BaseException:
            self._thread.close()
            raise
        return self

    def close(self) -> None:
        """Ends requests under way and disconnects, within some seconds. Idempotent."""
        if self._thread.is_open:
            try:
                self._thread.result(self._inner.__aexit__())
            finally:
                self._thread.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()


def waiting(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking, P], T]:
    """The method of the asynchronous class as one that returns its result."""

    @wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.result(method(self._inner, *args, **kwargs))

    return call
