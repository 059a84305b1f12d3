"""``saga queues`` and ``/v1/queues``: what waits on each lane, who reads it, and why it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli.output import queues_table
from sagaline.orchestrator.client.queues import QueueState
from sagaline.orchestrator.kernel import Registry
from sagaline.sagas import Contract, Saga, step
from sagaline.workers import Context, Worker, WorkerRuntime
from sagaline.workers.presence import tell_presence

from .stack import Stack, running, stack

PATIENCE_SECONDS = 40.0


class Order(BaseModel):
    item: str = ""


class Packed(BaseModel):
    parcel: str


packing = Contract("pack", Order, Packed, queue="packing", priority="normal")


@step(packing.at("high"))
def hurry(s: Order) -> Order:
    return s


shop = Registry([Saga("shop", Order, version=1, flow=[hurry])])


def packer(go_on: asyncio.Event) -> Worker:
    worker = Worker("packer")

    @worker.handles(packing)
    async def handle(command: Order, ctx: Context) -> Packed:
        await go_on.wait()
        return Packed(parcel="P")

    return worker


@asynccontextmanager
async def working(up: Stack, worker: Worker) -> AsyncIterator[WorkerRuntime]:
    runtime = WorkerRuntime(worker, up.log, up.topics, SystemClock())
    async with running(runtime.run()), running(tell_presence(runtime, up.log, up.topics, SystemClock())):
        yield runtime


async def becomes(up: Stack, holds: Callable[[dict[str, QueueState]], bool]) -> dict[str, QueueState]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = {each.lane: each for each in await up.client.queues.list()}
            if holds(found):
                return found
            await asyncio.sleep(0.05)


async def test_a_queue_says_what_waits_who_reads_and_why(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    async with stack(tmp_path, registry=shop) as up:
        assert {each.why for each in await up.client.queues.list()} == {"idle"}
        await up.client.start("shop", Order(item="book"), key="A")
        found = await becomes(up, lambda lanes: lanes["high"].waiting == 1)
        assert (found["high"].why, found["high"].workers, found["high"].in_work) == ("nobody-reads", (), 0)
        assert "saga worker" in found["high"].reason
        assert found["high"].oldest_ms is not None
        assert (found["normal"].waiting, found["low"].waiting, found["low"].queue) == (0, 0, "packing")
        worker = packer(go_on)
        async with working(up, worker) as runtime:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not runtime.unfinished("packing.high"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            async with running(tell_presence(runtime, up.log, up.topics, SystemClock())):
                found = await becomes(up, lambda lanes: lanes["high"].in_work > 0)
                assert (found["high"].why, set(found["high"].workers)) == ("backlog", {"packer"})
                app = create_app(up.client, clock=SystemClock())
                async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
                    rows: list[dict[str, Any]] = (await api.get("/v1/queues")).json()["queues"]
                assert [(row["lane"], row["waiting"]) for row in rows] == [("high", 1), ("normal", 0), ("low", 0)]
                assert queues_table(rows).row_count == 3
            go_on.set()
            await becomes(up, lambda lanes: lanes["high"].why == "idle")
        await becomes(up, lambda lanes: not lanes["high"].workers)
