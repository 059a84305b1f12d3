"""How a long-running command starts, stops and ends.

- The first Ctrl-C or SIGTERM cancels the body; its context managers then stop the parts in the reverse order of their
  start (API, workers, engine, log). That is a success: exit code 0. The second signal ends the process at once.
- A part that ends by itself ends the process: its error is the process's error.
- A process that was told to stop ends at the latest ``STOP_SECONDS`` after the grace of its workers. With the default
  grace of ten seconds that is before the thirty seconds that supervisors usually allow. Unfinished work is left as by
  kill -9, which loses nothing.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from .errors import Failure

__all__ = ["STOP_SECONDS", "any_ended", "run_process", "workers_running"]

STOP_SECONDS = 15.0
"""The limit on stopping all parts, after the longest grace of the workers."""

_SPARE_SECONDS = 5.0
_FILES = 10_240
"""More than an API, its databases and its log need; macOS allows no more."""


class Stoppable(Protocol):
    """A part that ends by itself when asked to."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


def run_process(body: Coroutine[None, None, None], *, grace_seconds: float = 10.0) -> bool:
    """Runs ``body`` to its end; False when a signal ended it.

    Args:
        body: stops its parts when it is cancelled.
        grace_seconds: how long its workers may take to finish (default: a worker's default); the process ends at the
            latest ``STOP_SECONDS`` later.
    """
    _allow_files()
    return asyncio.run(_under_signals(body, grace_seconds + STOP_SECONDS))


def _allow_files() -> None:
    """As many open files as this process may ask for: shells set a lower limit for old programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@asynccontextmanager
async def workers_running(
    workers: Sequence[tuple[str, Stoppable]], *, grace_seconds: float
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Runs workers while the block runs; at its end all are asked at once to stop, and finish their current work.

    Args:
        workers: each with the name of its task.
        grace_seconds: the longest grace of any of them.
    """
    tasks = [asyncio.create_task(worker.run(), name=f"worker {name}") for name, worker in workers]
    try:
        yield tasks
    finally:
        for _, worker in workers:
            worker.stop()
        for seconds in (grace_seconds + _SPARE_SECONDS, _SPARE_SECONDS):
            late = [task for task in tasks if not task.done()]
            if late:
                await asyncio.wait(late, timeout=seconds)
            for task in tasks:
                task.cancel()


async def any_ended(parts: Iterable[asyncio.Task[None]]) -> None:
    """Waits until one of the parts has ended, which none should; without parts it waits forever.

    Raises:
        Exception: the error of that part.
        Failure: it ended without an error.
    """
    for_ever: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done, _ = await asyncio.wait({for_ever, *parts}, return_when=asyncio.FIRST_COMPLETED)
    for part in done:
        if not part.cancelled() and (error := part.exception()) is not None:
            raise error
    names = ", ".join(part.get_name() for part in done if isinstance(part, asyncio.Task))
    raise Failure(f"{names} ended unexpectedly; see the log above")


async def _under_signals(body: Coroutine[None, None, None], stop_seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    main = loop.create_task(body, name="process")
    asked: list[int] = []
    # A thread: the event loop may be stuck in a part that has to be stopped.
    bound = threading.Timer(stop_seconds, _give_up, [stop_seconds])
    bound.daemon = True

    def stop(number: int) -> None:
        asked.append(number)
        if len(asked) > 1:  # both signals arrived while the loop was busy
            _end_at_once(number, None)
        # From here on without the event loop: it may be stuck in a part that has to be stopped.
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
            signal.signal(each, _end_at_once)
        print("saga: stopping; press Ctrl-C again to stop at once", file=sys.stderr, flush=True)
        bound.start()
        main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await main
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        bound.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return not asked


def _end_at_once(number: int, _: object) -> None:
    os._exit(128 + number)


def _give_up(seconds: float) -> None:
    print(
        f"saga: not everything has stopped within {seconds:g} s; the process ends now, which loses nothing: "
        "other processes take over its work",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
