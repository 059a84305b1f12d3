"""What a subscription costs above a bare loop: messages per second of a handler that does nothing.

    python bench/consume.py --bootstrap 127.0.0.1:9092

One topic of one partition on Kafka is read from its beginning: by aiokafka's consumer in a loop that commits ten times
a second, by the same loop with the message validated by pydantic, and by ``@worker.consumes`` with each guarantee.
Rounds take turns. One JSON line per case and round on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))

from sagaline.orchestrator.ports.log import Outgoing, TopicSpec
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_subscriptions, prepare_topics, tune_interpreter
from sagaline.workers import Worker, WorkerRuntime

COMMIT_SECONDS, BATCH = 0.1, 500


class Order(BaseModel):
    number: int
    customer: str
    lines: list[str]


VALUE = Order(number=1, customer="c-1", lines=["pen", "ink", "paper"]).model_dump_json().encode()


async def bare(bootstrap: str, topic: str, count: int, handle: Callable[[bytes], object]) -> float:
    consumer: Any = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"bare-{uuid.uuid4().hex}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    seen, began, committed = 0, 0.0, perf_counter()
    place = TopicPartition(topic, 0)
    while seen < count:
        found = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
        began = began or perf_counter()
        for records in found.values():
            for record in records:
                handle(record.value)
            seen += len(records)
            if perf_counter() - committed > COMMIT_SECONDS:
                await consumer.commit({place: records[-1].offset + 1})
                committed = perf_counter()
    took = perf_counter() - began
    await consumer.stop()
    return count / took


async def subscribed(base: Base, topic: str, count: int, delivery: str) -> float:
    worker, seen, done = Worker(f"bench-{uuid.uuid4().hex[:8]}"), 0, asyncio.Event()
    began = 0.0

    @worker.consumes(topic, model=Order, delivery=delivery)  # type: ignore[arg-type]
    async def handle(order: Order) -> None:
        nonlocal seen, began
        began = began or perf_counter()
        seen += 1
        if seen == count:
            done.set()

    await prepare_subscriptions(base, [(worker.name, topic)])
    runtime = WorkerRuntime(worker, base.log, base.topics, base.clock)
    run = asyncio.create_task(runtime.run())
    await done.wait()
    took = perf_counter() - began
    runtime.stop()
    await run
    return count / took


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
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
        cases: dict[str, Callable[[], Awaitable[float]]] = {
            "bare": lambda: bare(given.bootstrap, topic, given.messages, lambda value: None),
            "bare, validated": lambda: bare(given.bootstrap, topic, given.messages, Order.model_validate_json),
            "at_least_once": lambda: subscribed(base, topic, given.messages, "at_least_once"),
            "at_most_once": lambda: subscribed(base, topic, given.messages, "at_most_once"),
            "exactly_once": lambda: subscribed(base, topic, given.messages, "exactly_once"),
        }
        tune_interpreter()
        for number in range(given.rounds):
            for name, case in cases.items():
                print(json.dumps({"case": name, "round": number, "per_second": round(await case())}), flush=True)


asyncio.run(main())
