"""Engines and workers as processes, started by the command line's own entry point, to be killed and started again."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from sagaline.orchestrator.settings import Settings

__all__ = ["ENGINE", "WORKERS", "Crew", "SagaProcess", "saga"]

ROOT = Path(__file__).parents[2]
ENGINE = ("run", "sagaline.sagas.examples.order_checkout:checkout")
WORKERS = ("worker", *(f"checkout_workers:{name}" for name in ("inventory", "payment", "shipping")))
_READY_SECONDS = 100.0
_NUMBERS = itertools.count()


class SagaProcess:
    """One ``saga …`` process; its log is in ``output`` after it has ended."""

    def __init__(self, process: asyncio.subprocess.Process, path: Path) -> None:
        self._process, self._path = process, path

    @property
    def output(self) -> str:
        return self._path.read_text()

    async def ready(self) -> None:
        """Returns when it has said that it runs."""
        async with asyncio.timeout(_READY_SECONDS):
            while "Ctrl-C stops it" not in self.output:
                assert self._process.returncode is None, self.output
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """kill -9."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self._process.wait()


@asynccontextmanager
async def saga(
    arguments: Sequence[str], settings: Settings, folder: Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[SagaProcess]:
    """Starts ``saga`` with these arguments; whatever happened, it is gone at the end."""
    environment = dict(os.environ) | {
        "SAGALINE_LOG": settings.log,
        "SAGALINE_NAMESPACE": settings.namespace,
        "SAGALINE_PARTITIONS": str(settings.partitions),
        "SAGALINE_DEVELOPMENT": "1",
        "SAGALINE_LOG_FORMAT": "json",
        "CHECKOUT_LEDGER": str(folder / "ledger.db"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'compose'}",
        **(variables or {}),
    }
    path = folder / f"{arguments[0]}-{next(_NUMBERS)}.log"
    with path.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sagaline.orchestrator.cli",
            *arguments,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )
    running = SagaProcess(process, path)
    try:
        yield running
    except BaseException:
        print(f"--- the last of {path.name}:", running.output[-20_000:], sep="\n")
        raise
    finally:
        await running.kill()


class Crew:
    """Named processes that are killed and started again; all are gone at the end of the block.

    Args:
        members: the arguments of ``saga`` for each name.
        settings, folder, variables: as for ``saga``.
    """

    def __init__(
        self, members: Mapping[str, Sequence[str]], settings: Settings, folder: Path, variables: Mapping[str, str]
    ) -> None:
        self._members, self._start = members, partial(saga, settings=settings, folder=folder, variables=variables)
        self._stack = AsyncExitStack()
        self._running: dict[str, SagaProcess] = {}

    async def __aenter__(self) -> Self:
        try:
            await self.start(*self._members)
            await self.ready()
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)

    async def start(self, *names: str) -> None:
        """They need not be ready when it returns."""
        for name in names:
            self._running[name] = await self._stack.enter_async_context(self._start(self._members[name]))

    async def ready(self) -> None:
        for process in self._running.values():
            await process.ready()

    async def kill(self, *names: str) -> None:
        """kill -9, all at once, and starts them again."""
        await asyncio.gather(*(self._running[name].kill() for name in names))
        await self.start(*names)

    async def stop(self) -> None:
        """SIGTERM for each, one after the other; each must end well."""
        await self.ready()
        for process in self._running.values():
            assert await process.stop() == 0, process.output
