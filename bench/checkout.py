"""How many three-step flows a second, and how long one takes; with the floor of the log below it in the same run.

    python bench/checkout.py --log sqlite
    python bench/checkout.py --log kafka --bootstrap 127.0.0.1:9092

The floor moves the same records through the same log port and decides nothing, in one process. On SQLite everything is
one process; on Kafka engine and worker are processes of their own. One JSON line per case on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).parent))

from floor import floor
from flows import QUEUE, flow
from parts import environment, run_engine, run_worker

from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.messages.inputs import JsonObject, Start
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics, running, tune_interpreter

LINE: JsonObject = {"sku": "x", "quantity": 2}
INPUT: JsonObject = {"order": {"id": "A-1001", "lines": [LINE, LINE, LINE]}}
Begin = Callable[[str], Outgoing]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--concurrency", default="1,50,500", help="flows under way at a time, comma separated")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each case is measured, about")
    parser.add_argument("--engines", type=int, default=1, help="on Kafka: processes that share the partitions")
    parser.add_argument("--inbox", action="store_true", help="workers with an inbox, as a money-handling one has")
    parser.add_argument("--no-floor", action="store_true")
    return parser.parse_args()


async def measure(base: Base, begin: Begin, concurrency: int, seconds: float) -> dict[str, float]:
    """Keeps ``concurrency`` flows under way for about ``seconds``; a flow ends with its record in the history."""
    ended: dict[bytes, asyncio.Future[None]] = {}
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    tail = await base.log.tail([base.topics.history], "latest")

    async def watch() -> None:
        while True:
            for record in await tail.poll(max_records=1_000, timeout=1.0):
                if record.key in ended and b'"status":"completed"' in (record.value or b""):
                    ended.pop(record.key).set_result(None)

    async def client(number: int, until: float) -> None:
        turn = 0
        while perf_counter() < until:
            began = perf_counter()
            key = f"{number}-{turn}-{began}"
            record = begin(key)
            done = ended[record.key or b""] = loop.create_future()
            await base.log.append([record])
            await done
            latencies.append(perf_counter() - began)
            turn += 1

    async with running(watch(), "watch"):
        await asyncio.gather(*(client(n, perf_counter() + 0.5) for n in range(concurrency)))
        latencies.clear()
        began, cpu = perf_counter(), process_time()
        await asyncio.gather(*(client(n, began + seconds) for n in range(concurrency)))
        took, cpu = perf_counter() - began, process_time() - cpu
    await tail.close()
    latencies.sort()
    return {
        "flows": len(latencies),
        "flows_per_s": round(len(latencies) / took, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99) - 1] * 1e3, 2),
        "cpu_share": round(cpu / took, 2),
    }


@asynccontextmanager
async def sagaline(base: Base, options: argparse.Namespace) -> AsyncIterator[Begin]:
    """The real thing: engine and worker, here or in processes of their own."""
    async with AsyncExitStack() as stack:
        if options.log == "kafka":
            await stack.enter_async_context(process("worker", base.settings, options.inbox))
            for _ in range(options.engines):
                await stack.enter_async_context(process("engine", base.settings, options.inbox))
        else:
            inbox = Path(f"{base.settings.sqlite_path}-inbox") if options.inbox else None
            started = asyncio.Event()
            await stack.enter_async_context(running(run_worker(base, inbox), "worker"))
            await stack.enter_async_context(running(run_engine(base, started), "engine"))
            await started.wait()
        tune_interpreter()
        yield lambda key: encode_request(
            base.topics.inputs,
            Start(id=key, definition=flow.name, key=key, input=INPUT),
            source="/bench",
            now_ms=base.clock.now_ms(),
        )


@asynccontextmanager
async def process(role: str, settings: Settings, inbox: bool) -> AsyncIterator[None]:
    """``bench/parts.py`` as a process; ready when it has subscribed, or taken its partitions."""
    env = environment(settings, BENCH_INBOX="1" if inbox else "")
    script = str(Path(__file__).parent / "parts.py")
    child = await asyncio.create_subprocess_exec(
        sys.executable, script, role, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert child.stdout is not None
    try:
        await asyncio.wait_for(child.stdout.readline(), 30)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        await asyncio.wait_for(child.wait(), 20)


async def case(options: argparse.Namespace, folder: str, name: str, concurrency: int) -> dict[str, float]:
    settings = Settings(
        log=f"kafka://{options.bootstrap}" if options.log == "kafka" else f"sqlite:///{folder}/{name}{concurrency}.db",
        namespace=f"b{name[0]}{concurrency}-{os.getpid()}",
        partitions=options.partitions,
        development=True,
    )
    async with open_base(settings) as base:
        await prepare_topics(base, [QUEUE])
        what: Callable[[Base, argparse.Namespace], contextlib.AbstractAsyncContextManager[Begin]]
        what = floor if name == "floor" else sagaline
        async with what(base, options) as begin:
            return await measure(base, begin, concurrency, options.seconds)


async def main(say: Callable[[str], Awaitable[None] | None]) -> None:
    options = arguments()
    for concurrency in map(int, options.concurrency.split(",")):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            ours = await case(options, folder, "sagaline", concurrency)
            row = {
                "log": options.log,
                "partitions": options.partitions,
                "engines": options.engines,
                "concurrency": concurrency,
            } | ours
            if not options.no_floor:
                below = await case(options, folder, "floor", concurrency)
                row |= {f"floor_{key}": below[key] for key in ("flows_per_s", "p50_ms", "p99_ms")}
                row["ratio_to_floor"] = round(ours["flows_per_s"] / below["flows_per_s"], 3)
            say(json.dumps(row))


if __name__ == "__main__":
    asyncio.run(main(lambda line: print(line, flush=True)))
