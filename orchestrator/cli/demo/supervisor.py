"""Keeps a worker running, as systemd would: when it crashes, it is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ....workers.errors import WorkerCrashed
from ....workers.runtime import WorkerRuntime

__all__ = ["Supervisor"]

_log = structlog.get_logger("sagaline.demo")

_RESTART_SECONDS = 0.2


class Supervisor:
    """Runs incarnations of one worker, one after the other; ``crashes`` counts those that crashed."""

    def __init__(self, name: str, incarnate: Callable[[], WorkerRuntime]) -> None:
        self.name, self._incarnate = name, incarnate
        self.crashes = 0
        self.started = asyncio.Event()
        self._runtime: WorkerRuntime | None = None
        self._stopping = False

    async def run(self) -> None:
        """Returns after ``stop``.

        Raises:
            SagalineError: an incarnation failed with an error that the next one would meet too.
        """
        while not self._stopping:
            self._runtime = self._incarnate()
            watch = asyncio.create_task(self._note_start(self._runtime), name=f"start of {self.name}")
            try:
                await self._runtime.run()
            except WorkerCrashed as error:
                self.crashes += 1
                _log.warning("worker crashed, restarting", worker=self.name, reason=str(error))
                await asyncio.sleep(_RESTART_SECONDS)
            finally:
                watch.cancel()

    def stop(self) -> None:
        """Asks the current incarnation to finish its work and to end."""
        self._stopping = True
        if self._runtime is not None:
            self._runtime.stop()

    async def _note_start(self, runtime: WorkerRuntime) -> None:
        await runtime.started.wait()
        self.started.set()
