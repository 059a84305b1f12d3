"""The engine and the worker of the bench, whose handlers answer at once.

As processes of their own (``parts.py engine`` and ``parts.py worker``) they take their settings from the environment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from flows import CONTRACTS, QUEUE, Ask, Done, flow

from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, engine, open_base, prepare_topics, running, tune_interpreter
from sagaline.workers import Context, SqliteInbox, Worker
from sagaline.workers.runtime import WorkerRuntime

ANSWER = Done(reference="done")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Of a process that uses these settings; ``saga`` finds the modules of this folder."""
    return dict(os.environ) | {
        "PYTHONPATH": str(Path(__file__).parent),
        "SAGALINE_LOG": settings.log,
        "SAGALINE_NAMESPACE": settings.namespace,
        "SAGALINE_PARTITIONS": str(settings.partitions),
        "SAGALINE_DEVELOPMENT": "1",
        **more,
    }


def declare(inbox: Path | None) -> Worker:
    worker = Worker(QUEUE, inbox=SqliteInbox(inbox) if inbox else None)
    for contract in CONTRACTS:

        @worker.handles(contract)
        async def handle(command: Ask, ctx: Context) -> Done:
            return ANSWER

    return worker


async def run_worker(base: Base, inbox: Path | None, started: asyncio.Event | None = None) -> None:
    """Runs until cancelled; sets ``started`` when it has subscribed."""
    runtime = WorkerRuntime(declare(inbox), base.log, base.topics, base.clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(runtime.run())
        await runtime.started.wait()
        if started is not None:
            started.set()


async def run_engine(base: Base, started: asyncio.Event) -> None:
    """Runs until cancelled; sets ``started`` when it processes a partition."""
    part = engine(base, Registry([flow]))
    async with running(part.run(), "engine") as task:
        await part.processes(1)
        started.set()
        await task


async def main(role: str) -> None:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        inbox = Path(folder) / "inbox.db" if os.environ.get("BENCH_INBOX") else None
        async with open_base(Settings()) as base:
            await prepare_topics(base, [QUEUE])
            started = asyncio.Event()
            part = run_engine(base, started) if role == "engine" else run_worker(base, inbox, started)
            task = asyncio.create_task(part)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            await started.wait()
            tune_interpreter()
            print("ready", flush=True)
            await asyncio.wait([task])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
