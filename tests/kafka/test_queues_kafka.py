"""Queues on a real broker: what waits says why, and a limit that is changed at run time is followed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from sagaline.api import create_app
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.client.queues import QueueState
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.flow_limits import LIMITS_TABLE
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, client, engine, open_base, prepare_topics, running
from sagaline.sagas import Contract, Saga, step
from sagaline.workers import Context, Worker, WorkerRuntime
from sagaline.workers.presence import tell_presence

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(200)]

COUNT = 6


class Order(BaseModel):
    item: str = ""


class Packed(BaseModel):
    parcel: str


packing = Contract("pack", Order, Packed, queue="packing", priority="normal")


@step(packing.at("high"))
def hurry(s: Order) -> Order:
    return s


shop = Saga("shop", Order, version=1, flow=[hurry])


def packer(at_once: list[int]) -> Worker:
    worker, now = Worker("packer", concurrency=COUNT), 0

    @worker.handles(packing)
    async def handle(command: Order, ctx: Context) -> Packed:
        nonlocal now
        now += 1
        at_once.append(now)
        await asyncio.sleep(0.05)
        now -= 1
        return Packed(parcel="P")

    return worker


@asynccontextmanager
async def working(base: Base, worker: Worker) -> AsyncIterator[None]:
    runtime = WorkerRuntime(worker, base.log, base.topics, base.clock)
    presence = tell_presence(runtime, base.log, base.topics, base.clock)
    async with running(presence, "presence"):
        run = asyncio.create_task(runtime.run())
        yield
        runtime.stop()
        await run


async def becomes(own: Client, why: str, waiting: int) -> QueueState:
    """The lane ``high``, as soon as it waits for this."""
    async with asyncio.timeout(60):
        while True:
            (high,) = [each for each in await own.queues.list() if each.lane == "high"]
            if (high.why, high.waiting >= waiting) == (why, True):
                return high
            await asyncio.sleep(0.1)


async def test_a_queue_says_why_it_waits_and_follows_a_limit_that_is_changed(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    settings = Settings(
        log=f"kafka://{kafka_bootstrap}",
        namespace=f"q{uuid.uuid4().hex[:8]}",
        partitions=2,
        development=True,
        read_model=f"sqlite:///{tmp_path / 'view.db'}",
    )
    registry = Registry([shop])
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(open_base(settings))
        await prepare_topics(base, shop.queues)
        await stack.enter_async_context(running(engine(base, registry).run(), "engine"))
        own = await stack.enter_async_context(client(base, registry))
        await own.tables.set(LIMITS_TABLE, [Rule(when={"queue": "packing"}, to="1/h")], by="ann")
        for number in range(COUNT):
            await own.start(shop, Order(), key=f"A-{number}")
        found = await becomes(own, "nobody-reads", COUNT)
        assert found.workers == ()
        assert "saga worker" in found.reason
        at_once: list[int] = []
        async with working(base, packer(at_once)):
            found = await becomes(own, "limit", COUNT - 1)
            assert found.workers == ("packer",)
            assert "limit queue packing: 1/h is reached" in found.reason
            app = create_app(own, clock=base.clock)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
                rows = (await api.get("/v1/queues")).json()["queues"]
            assert [(row["lane"], row["why"]) for row in rows] == [
                ("high", "limit"),
                ("normal", "idle"),
                ("low", "idle"),
            ]
            await own.tables.set(LIMITS_TABLE, [Rule(when={"queue": "packing"}, to="2 at once")], by="ann")
            found = await becomes(own, "idle", 0)
            assert (len(at_once), max(at_once) <= 2) == (COUNT, True)
