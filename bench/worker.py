"""The worker of the bench: handlers that answer at once. As a process it takes its settings from the environment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from flows import CONTRACTS, QUEUE, Ask, Done

from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics, tune_interpreter
from sagaline.workers import Context, SqliteInbox, Worker
from sagaline.workers.runtime import WorkerRuntime

ANSWER = Done(reference="done")


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


async def main() -> None:
    tune_interpreter()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        inbox = Path(folder) / "inbox.db" if os.environ.get("BENCH_INBOX") else None
        async with open_base(Settings()) as base:
            await prepare_topics(base, [QUEUE])
            started = asyncio.Event()
            task = asyncio.create_task(run_worker(base, inbox, started))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            await started.wait()
            print("ready", flush=True)
            await asyncio.wait([task])


if __name__ == "__main__":
    asyncio.run(main())
