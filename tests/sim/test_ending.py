"""Engines and workers end when they are to, whatever the log does: in virtual time, to the instant."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sagaline.orchestrator.kernel import Limits, Registry
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.deciding import Deciding
from sagaline.orchestrator.runtime.engine import Engine
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.testing import Broker, Fault, MemoryLog, Operation, Process, SimClock, run
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers import WorkerRuntime
from sagaline.workers.examples.order_checkout import inventory_worker

TOPICS = Topics("t")


async def opened() -> tuple[Broker, SimClock]:
    clock = SimClock(0)
    broker = Broker(clock)
    await MemoryLog(broker).create_topics(TOPICS.specs(["inventory"], 2))
    return broker, clock


def test_an_engine_whose_log_was_gone_does_not_wait_for_its_dead_processors() -> None:
    """Nothing is under way in a processor that has failed: there is nothing to finish, whoever learns of it first."""

    async def main() -> float:
        broker, clock = await opened()
        process = Process(broker, "engine", member_timeout=timedelta(seconds=1))
        setup = Deciding(
            registry=Registry([checkout]),
            topics=TOPICS,
            partitions=2,
            limits=Limits(),
            tracing=Tracing(),
            metrics=Metrics(),
            max_value_bytes=process.log.max_value_bytes,
        )
        engine = Engine(process.log, setup, clock, group="engine")
        process.run(engine.run())
        await engine.processes(2)
        await asyncio.sleep(1)
        broker.faults.inject(Fault.DELAY, Operation.COMMIT)
        await MemoryLog(broker).append([Outgoing(TOPICS.inputs, b"order-checkout/A", b"{}")])
        await asyncio.sleep(0.001)
        process.log.cut(timedelta(seconds=2))
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(1.5)
        await engine.processes(2)
        return asyncio.get_running_loop().time() - begun

    assert max(run(main(), seed=seed) for seed in range(10)) < 10


def test_a_worker_whose_log_goes_away_while_it_joins_waits_for_it() -> None:
    """It joins when the log is back; asked to stop meanwhile, it ends."""

    async def main(stop_after: float) -> tuple[bool, float]:
        broker, clock = await opened()
        process = Process(broker, "worker")
        runtime = WorkerRuntime(inventory_worker(None), process.log, TOPICS, clock)
        process.log.cut(timedelta(seconds=60))
        process.run(runtime.run())
        await asyncio.sleep(stop_after)
        joined = runtime.started.is_set()
        begun = asyncio.get_running_loop().time()
        runtime.stop()
        await process.ended()
        return joined, asyncio.get_running_loop().time() - begun

    assert run(main(90), seed=0)[0]
    joined, stopping = run(main(30), seed=0)
    assert not joined
    assert stopping <= 5


def test_an_idle_worker_that_is_asked_to_stop_ends_at_once() -> None:
    """Also one that waits for its next record."""

    async def main() -> float:
        broker, clock = await opened()
        process = Process(broker, "worker")
        runtime = WorkerRuntime(inventory_worker(None), process.log, TOPICS, clock)
        process.run(runtime.run())
        await asyncio.sleep(60.25)
        begun = asyncio.get_running_loop().time()
        runtime.stop()
        await process.ended()
        return asyncio.get_running_loop().time() - begun

    assert run(main(), seed=0) == 0


def test_a_worker_that_is_asked_to_stop_before_it_has_begun_ends_as_well() -> None:
    async def main() -> None:
        broker, clock = await opened()
        runtime = WorkerRuntime(inventory_worker(None), MemoryLog(broker), TOPICS, clock)
        running = asyncio.create_task(runtime.run())
        await asyncio.sleep(0)
        runtime.stop()
        async with asyncio.timeout(1):
            await running

    run(main(), seed=0)
