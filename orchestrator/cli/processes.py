"""How a long-running command starts, is stopped and ends.

- The first Ctrl-C or SIGTERM cancels the body; its context managers then stop the parts in the reverse order of their
  start (API, workers, engine, log). That is a success: exit code 0. The second ends the process at once.
- A part that ends by itself ends the process: its error is the process's error.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterable

from .errors import Failure

__all__ = ["any_ended", "run_process"]


def run_process(body: Coroutine[None, None, None]) -> bool:
    """Runs ``body`` to its end; False when a signal ended it."""
    return asyncio.run(_under_signals(body))


async def any_ended(parts: Iterable[asyncio.Task[None]]) -> None:
    """Waits until one of the parts has ended, which none should; for ever when there are none.

    Raises:
        Exception: what that part raised.
        Failure: it ended without an error.
    """
    for_ever: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done, _ = await asyncio.wait({for_ever, *parts}, return_when=asyncio.FIRST_COMPLETED)
    for part in done:
        if not part.cancelled() and (error := part.exception()) is not None:
            raise error
    names = ", ".join(part.get_name() for part in done if isinstance(part, asyncio.Task))
    raise Failure(f"{names} ended without being asked; look at the log above")


async def _under_signals(body: Coroutine[None, None, None]) -> bool:
    loop = asyncio.get_running_loop()
    main = loop.create_task(body, name="process")
    asked: list[int] = []

    def stop(number: int) -> None:
        asked.append(number)
        # From here on without the loop: it may be stuck in what has to be stopped.
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
            signal.signal(each, _end_at_once)
        print("saga: stopping; again to stop at once", file=sys.stderr, flush=True)
        main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await main
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return not asked


def _end_at_once(number: int, _: object) -> None:
    os._exit(128 + number)
