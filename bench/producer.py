"""How many requests and commands a second a producer has answered and written, beside the floor of the log below it.

    python bench/producer.py --log sqlite
    python bench/producer.py --log kafka --bootstrap 127.0.0.1:9092

``request``: command, worker, reply. Its floor moves the same two records through the same log port and checks nothing.
``tell``: durable in the queue, no worker. Its floor appends the same bytes. All in one process, which asks with
``--concurrency`` tasks. One JSON line per case on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent))

from floor import BODY, HEADERS
from flows import CONTRACTS, QUEUE, Ask, Line
from parts import run_worker

from sagaline.client import Producer
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics, running, tune_interpreter

SOON = timedelta(seconds=60)
COMMAND = Ask(order_id="A-1001", lines=[Line(sku="x", quantity=2)] * 3)
One = Callable[[int], Awaitable[object]]
Case = Callable[[Base, int, float], Coroutine[object, object, dict[str, float]]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--concurrency", default="1,50,1000", help="under way at a time, comma separated")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each case is measured, about")
    return parser.parse_args()


async def measure(one: One, concurrency: int, seconds: float) -> dict[str, float]:
    """Keeps ``concurrency`` of them under way for about ``seconds``."""
    numbers, latencies = itertools.count(), list[float]()

    async def asks(until: float) -> None:
        while (began := perf_counter()) < until:
            await one(next(numbers))
            latencies.append(perf_counter() - began)

    await asyncio.gather(*(asks(perf_counter() + 0.5) for _ in range(concurrency)))
    latencies.clear()
    began = perf_counter()
    await asyncio.gather(*(asks(began + seconds) for _ in range(concurrency)))
    took = perf_counter() - began
    latencies.sort()
    return {
        "per_s": round(len(latencies) / took, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99) - 1] * 1e3, 2),
    }


async def floor_request(base: Base, concurrency: int, seconds: float) -> dict[str, float]:
    """The two records of a request, through the log port."""
    topics, waiting = base.topics, dict[bytes, asyncio.Future[None]]()
    tail = await base.log.tail([topics.replies], "latest", partitions=[0])
    subscription = await base.log.subscribe([topics.commands(QUEUE)], f"{base.settings.namespace}.floor")

    async def work() -> None:
        while True:
            records = await subscription.poll(max_records=500, timeout=1.0)
            if records:
                await base.log.append([Outgoing(topics.replies, each.key, BODY, HEADERS, 0) for each in records])

    async def read() -> None:
        while True:
            for record in await tail.poll(max_records=1_000, timeout=1.0):
                waiting.pop(record.key or b"").set_result(None)

    async def one(number: int) -> None:
        key = str(number).encode()
        waiting[key] = answer = asyncio.get_running_loop().create_future()
        await base.log.append([Outgoing(topics.commands(QUEUE), key, BODY, HEADERS)])
        await answer

    try:
        async with running(work(), "work"), running(read(), "read"):
            return await measure(one, concurrency, seconds)
    finally:
        await subscription.close()
        await tail.close()


async def floor_tell(base: Base, concurrency: int, seconds: float) -> dict[str, float]:
    """The record of a command, through the log port."""

    async def one(number: int) -> None:
        key = str(number).encode()
        await base.log.append([Outgoing(base.topics.commands(QUEUE), key, BODY, HEADERS)])

    return await measure(one, concurrency, seconds)


async def request(base: Base, concurrency: int, seconds: float) -> dict[str, float]:
    started = asyncio.Event()
    async with Producer(base.settings) as producer, running(run_worker(base, None, started), "worker"):
        await started.wait()
        tune_interpreter()
        return await measure(lambda _: producer.request(CONTRACTS[0], COMMAND, timeout=SOON), concurrency, seconds)


async def tell(base: Base, concurrency: int, seconds: float) -> dict[str, float]:
    async with Producer(base.settings) as producer:
        return await measure(lambda _: producer.tell(CONTRACTS[0], COMMAND), concurrency, seconds)


async def case(options: argparse.Namespace, name: str, what: Case, concurrency: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        settings = Settings(
            log=f"kafka://{options.bootstrap}" if options.log == "kafka" else f"sqlite:///{folder}/log.db",
            namespace=f"{name}{concurrency}-{os.getpid()}",
            partitions=options.partitions,
            development=True,
        )
        async with open_base(settings) as base:
            await prepare_topics(base, [QUEUE])
            return await what(base, concurrency, options.seconds)


async def main() -> None:
    options = arguments()
    for concurrency in map(int, options.concurrency.split(",")):
        for name, ours, floor in (("request", request, floor_request), ("tell", tell, floor_tell)):
            found = await case(options, name, ours, concurrency)
            below = await case(options, f"floor-{name}", floor, concurrency)
            row = {f"floor_{key}": value for key, value in below.items()}
            ratio = {"ratio_to_floor": round(found["per_s"] / below["per_s"], 3)}
            print(json.dumps({"log": options.log, "what": name, "concurrency": concurrency} | found | row | ratio))


if __name__ == "__main__":
    asyncio.run(main())
