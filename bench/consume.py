"""What a subscription costs above a bare loop: messages per second of a handler that does nothing.

    pip install --group bench         (pip 25.1 or newer: FastStream, the peer; without it that case is left out)
    python bench/consume.py --bootstrap 127.0.0.1:9092

One topic of one partition on Kafka is read from its beginning: by aiokafka's consumer in a loop that commits ten times
a second, by the same loop with the message validated by pydantic, by FastStream (which validates, and lets aiokafka
commit by time), and by ``@worker.consumes`` with each guarantee, once more with metrics for OpenTelemetry's SDK.
Rounds take turns. One JSON line per case and round on stdout: messages a second of elapsed and of processor time (of
this process, without the broker), and their ratios to the bare loop of the round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import uuid
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))

from sagaline.orchestrator.ports.log import Outgoing, TopicSpec
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_subscriptions, prepare_topics, tune_interpreter
from sagaline.workers import Worker, WorkerRuntime

COMMIT_SECONDS, BATCH = 0.1, 500


class Order(BaseModel):
    number: int
    customer: str
    lines: list[str]


VALUE = Order(number=1, customer="c-1", lines=["pen", "ink", "paper"]).model_dump_json().encode()


class Watch:
    """Measures from the first message on."""

    def __init__(self) -> None:
        self.seen, self._wall, self._cpu = 0, 0.0, 0.0

    def begin(self) -> None:
        if not self._wall:
            self._wall, self._cpu = perf_counter(), process_time()

    def ended(self, count: int) -> dict[str, float]:
        """Messages per second of elapsed and of processor time."""
        return {"per_s": count / (perf_counter() - self._wall), "per_cpu_s": count / (process_time() - self._cpu)}


async def bare(bootstrap: str, topic: str, count: int, handle: Callable[[bytes], object]) -> dict[str, float]:
    consumer: Any = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"bare-{uuid.uuid4().hex}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    watch, committed = Watch(), perf_counter()
    place = TopicPartition(topic, 0)
    while watch.seen < count:
        found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
        watch.begin()
        for records in found.values():
            for record in records:
                handle(record.value)
            watch.seen += len(records)
            if perf_counter() - committed > COMMIT_SECONDS:
                await consumer.commit({place: records[-1].offset + 1})
                committed = perf_counter()
    found = watch.ended(count)
    await consumer.stop()
    return found


async def faststream(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    from faststream.kafka import KafkaBroker

    broker, watch, done = KafkaBroker(bootstrap, logger=None), Watch(), asyncio.Event()

    @broker.subscriber(topic, group_id=f"peer-{uuid.uuid4().hex}", auto_offset_reset="earliest")  # type: ignore[untyped-decorator]
    async def handle(order: Order) -> None:
        watch.begin()
        watch.seen += 1
        if watch.seen == count:
            done.set()

    await broker.start()
    await done.wait()
    found = watch.ended(count)
    await broker.stop()
    return found


async def subscribed(
    base: Base, topic: str, count: int, delivery: str, metrics: Metrics | None = None
) -> dict[str, float]:
    worker, watch, done = Worker(f"bench-{uuid.uuid4().hex[:8]}"), Watch(), asyncio.Event()

    @worker.consumes(topic, model=Order, delivery=delivery)  # type: ignore[arg-type]
    async def handle(order: Order) -> None:
        watch.begin()
        watch.seen += 1
        if watch.seen == count:
            done.set()

    await prepare_subscriptions(base, [(worker.name, topic)])
    runtime = WorkerRuntime(worker, base.log, base.topics, base.clock, metrics=metrics)
    run = asyncio.create_task(runtime.run())
    await done.wait()
    found = watch.ended(count)
    runtime.stop()
    await run
    return found


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="cases beside bare, separated by semicolons")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings = Settings(
        log=f"kafka://{given.bootstrap}", namespace=f"b{uuid.uuid4().hex[:8]}", partitions=1, development=True
    )
    async with open_base(settings) as base:
        await prepare_topics(base, [])
        topic = f"bench-{uuid.uuid4().hex[:8]}"
        await base.log.create_topics([TopicSpec(topic, 1, "delete")])
        for first in range(0, given.messages, 1_000):
            await base.log.append(
                [Outgoing(topic, b"k%d" % (n % given.keys), VALUE, (), 0) for n in range(first, first + 1_000)]
            )
        cases: dict[str, Callable[[], Awaitable[dict[str, float]]]] = {
            "bare": lambda: bare(given.bootstrap, topic, given.messages, lambda value: None),
            "bare, validated": lambda: bare(given.bootstrap, topic, given.messages, Order.model_validate_json),
            "faststream": lambda: faststream(given.bootstrap, topic, given.messages),
            "at_least_once": lambda: subscribed(base, topic, given.messages, "at_least_once"),
            "at_most_once": lambda: subscribed(base, topic, given.messages, "at_most_once"),
            "exactly_once": lambda: subscribed(base, topic, given.messages, "exactly_once"),
            "at_least_once, metrics": lambda: subscribed(
                base, topic, given.messages, "at_least_once", Metrics(MeterProvider([InMemoryMetricReader()]))
            ),
        }
        if find_spec("faststream") is None:
            del cases["faststream"]
        if given.only:
            cases = {name: case for name, case in cases.items() if name in ("bare", *given.only.split(";"))}
        tune_interpreter()
        for number in range(given.rounds):
            floor: dict[str, float] = {}
            for name, case in cases.items():
                found = await case()
                floor = floor or found
                row = {key: round(value) for key, value in found.items()}
                ratios = {f"ratio_{key}": round(value / floor[key], 3) for key, value in found.items()}
                print(json.dumps({"case": name, "round": number} | row | ratios), flush=True)


asyncio.run(main())
