"""What a retry storm does to a dead service, and how long an urgent command waits behind a backlog.

    python bench/storm.py --log sqlite
    python bench/storm.py --log kafka --bootstrap 127.0.0.1:9092

``storm``: sagas whose only step calls a service that is down for ``--down`` seconds; attempts are counted by second,
with the circuit and without it. ``overtake``: one high command behind ``--backlog`` normal ones. All in one process.
One JSON line per case on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import perf_counter

from pydantic import BaseModel

from sagaline.client import Producer
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, engine, open_base, prepare_topics, running, tune_interpreter
from sagaline.sagas import Contract, Retry, Saga, step
from sagaline.workers import Context, Worker, WorkerRuntime

IN_FLIGHT = 500


class Call(BaseModel):
    number: int


class Called(BaseModel):
    pass


call = Contract("call", Call, Called, queue="calls", priority="normal")


@step(
    call,
    timeout=timedelta(hours=1),
    retry=Retry(max_attempts=1_000, first_delay=timedelta(seconds=1), max_delay=timedelta(seconds=10)),
)
def calling(s: Call) -> Call:
    return s


flow = Saga("calling", Call, flow=[calling])


class Service:
    """Down or up; counts attempts by second since the first, and what it has done."""

    def __init__(self) -> None:
        self.down, self.began = True, 0.0
        self.attempts: Counter[int] = Counter()
        self.done: set[int] = set()

    def worker(self, *, circuit: bool) -> Worker:
        worker = Worker("caller")

        @worker.handles(call, circuit=circuit)
        async def handle(command: Call, ctx: Context) -> Called:
            self.began = self.began or perf_counter()
            self.attempts[int(perf_counter() - self.began)] += 1
            await asyncio.sleep(0.005)
            if self.down:
                raise ConnectionError("the service is down")
            self.done.add(command.number)
            return Called()

        return worker


@asynccontextmanager
async def opened(options: argparse.Namespace, name: str, worker: Worker) -> AsyncIterator[tuple[Base, Producer]]:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        settings = Settings(
            log=f"kafka://{options.bootstrap}" if options.log == "kafka" else f"sqlite:///{folder}/log.db",
            namespace=f"{name}-{os.getpid()}",
            partitions=4,
            development=True,
        )
        async with open_base(settings) as base:
            await prepare_topics(base, worker.queues)
            async with Producer(settings) as producer:
                yield base, producer


async def storm(options: argparse.Namespace, *, circuit: bool) -> dict[str, float]:
    service = Service()
    worker = service.worker(circuit=circuit)
    async with (
        opened(options, "storm" if circuit else "bare", worker) as (base, producer),
        running(engine(base, Registry([flow])).run(), "engine"),
    ):
        room = asyncio.Semaphore(IN_FLIGHT)

        async def start(number: int) -> None:
            async with room:
                await producer.start(flow, str(number), Call(number=number), wait=timedelta(minutes=1))

        await asyncio.gather(*(start(number) for number in range(options.commands)))
        tune_interpreter()
        async with running(WorkerRuntime(worker, base.log, base.topics, base.clock).run(), "worker"):
            await asyncio.sleep(options.down)
            service.down, healed, tried = False, perf_counter(), service.attempts.copy()
            while len(service.done) < options.commands:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            drained = perf_counter() - healed
    seconds = [tried[second] for second in range(int(healed - service.began))]
    later = seconds[1:]
    return {
        "commands": options.commands,
        "attempts_while_down": sum(seconds),
        "first_second": seconds[0],
        "mean_per_s_after_it": round(sum(later) / len(later), 1),
        "most_in_a_second_after_it": max(later),
        "drained_s": round(drained, 1),
    }


async def overtake(options: argparse.Namespace) -> dict[str, float]:
    service = Service()
    service.down = False
    worker = service.worker(circuit=True)
    async with opened(options, "overtake", worker) as (base, producer):
        for first in range(0, options.backlog, IN_FLIGHT):
            more = range(first, min(first + IN_FLIGHT, options.backlog))
            await asyncio.gather(*(producer.tell(call, Call(number=number)) for number in more))
        async with running(WorkerRuntime(worker, base.log, base.topics, base.clock).run(), "worker"):
            while len(service.done) < 1_000:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            began, before = perf_counter(), len(service.done)
            await producer.tell(call.at("high"), Call(number=-1))
            while -1 not in service.done:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            waited, passed = perf_counter() - began, len(service.done) - before - 1
    return {"backlog": options.backlog, "high_done_ms": round(waited * 1e3, 1), "normal_done_meanwhile": passed}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--commands", type=int, default=10_000)
    parser.add_argument("--down", type=float, default=30.0, help="seconds")
    parser.add_argument("--backlog", type=int, default=100_000)
    return parser.parse_args()


async def main() -> None:
    options = arguments()
    for name, case in (
        ("overtake", overtake(options)),
        ("storm", storm(options, circuit=True)),
        ("storm without circuit", storm(options, circuit=False)),
    ):
        print(json.dumps({"case": name, "log": options.log, **await case}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
