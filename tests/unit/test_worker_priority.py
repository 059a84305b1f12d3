"""Priority lanes: an urgent command overtakes the backlog, no lane starves, and order per key holds within a lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.ports.topics import Topics
from sagaline.pytest_plugin import MakeWorld
from sagaline.sagas import Contract, DefinitionError, Saga, step
from sagaline.sagas.contract import PRIORITIES, Priority
from sagaline.workers import Context, Worker

from ..worker_world import PARTITIONS, PATIENCE_SECONDS, Pack, Packed, WorkerWorld, pack

urgent = replace(pack, priority="high")
usual = replace(pack, priority="normal")
LANES = ("packing.high", "packing", "packing.low")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    topics = Topics("t")
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock(), member_timeout=timedelta(seconds=2)) as log:
        await log.create_topics(topics.specs(LANES, PARTITIONS))
        yield WorkerWorld(log, topics, await log.tail([topics.inputs], "earliest"))


async def sent(world: WorkerWorld, items: list[str], priority: Priority, key: str | None = None) -> None:
    contract = replace(pack, priority=priority)
    commands = [
        world.command(f"order/{key or item}", contract, Pack(item=item), step=f"s{i}")._replace(
            topic=world.topics.commands(contract.lane)
        )
        for i, item in enumerate(items)
    ]
    await world.send(*commands)


async def test_a_high_command_overtakes_the_normal_ones_that_wait(world: WorkerWorld) -> None:
    """After it has arrived, no normal command begins before it, but for the handler that runs already."""
    begun: list[str] = []
    arrived, go_on = asyncio.Event(), asyncio.Event()
    worker = Worker("packer", concurrency=1)

    @worker.handles(usual)
    async def handle(command: Pack, ctx: Context) -> Packed:
        begun.append(command.item)
        if command.item == "n100":
            arrived.set()
            await go_on.wait()
        return Packed(parcel=command.item)

    await sent(world, [f"n{i}" for i in range(3_000)], "normal")
    async with world.running(worker) as runtime:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await arrived.wait()
            await sent(world, ["now"], "high")
            while not runtime.unfinished("packing.high"):  # noqa: ASYNC110  # the intake tells no loop
                await asyncio.sleep(0.001)
        before = len(begun)
        go_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "now" not in begun:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert begun.index("now") == before


async def test_commands_of_a_key_keep_their_order_within_a_lane(world: WorkerWorld) -> None:
    begun: list[str] = []
    worker = Worker("packer")

    @worker.handles(usual)
    async def handle(command: Pack, ctx: Context) -> Packed:
        begun.append(command.item)
        await asyncio.sleep(0)
        return Packed(parcel=command.item)

    for each in PRIORITIES:
        await sent(world, [f"{each}{i}" for i in range(20)], each, key="A")
    async with world.running(worker):
        await world.replies(60)
    for each in PRIORITIES:
        assert [item for item in begun if item.startswith(each)] == [f"{each}{i}" for i in range(20)]


class Shop(BaseModel):
    packed: Packed | None = None


def test_a_step_chooses_the_lane_of_its_commands_and_a_worker_reads_it(saga_world: MakeWorld) -> None:
    @step(usual.at("high"), into="packed")
    def hurry(s: Shop) -> Pack:
        return Pack()

    hurrying = Saga("hurrying", Shop, version=1, flow=[hurry])
    world = saga_world(hurrying)
    order = world.start(hurrying, "A-1")
    world.settle()
    assert world.status(order) == "completed"
    parts = [world.broker.topic(world.topics.commands(lane)) for lane in LANES]
    assert [sum(len(part.records) for part in lane) for lane in parts] == [1, 0, 0]


def test_the_topics_of_every_lane_are_known_to_sagas_and_workers() -> None:
    @step(usual.at("low"))
    def later(s: Shop) -> Pack:
        return Pack()

    worker = Worker("packer")

    @worker.handles(urgent)
    async def handle(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel="P")

    assert Registry([Saga("late", Shop, version=1, flow=[later])]).queues == set(LANES)
    assert worker.queues == tuple(sorted(LANES))
    assert replace(pack).lanes == ("packing",)


@pytest.mark.parametrize(
    ("mistake", "remedy"),
    [
        (lambda: pack.at("high"), "declare it with Contract"),
        (lambda: usual.at("soon"), "give 'high' or 'normal' or 'low'"),  # type: ignore[arg-type]
        (lambda: Contract("pack", Pack, Packed, queue="q", priority="soon"), "give 'high'"),  # type: ignore[arg-type]
    ],
)
def test_a_priority_that_no_lane_has_is_refused(mistake: Any, remedy: str) -> None:
    with pytest.raises(DefinitionError, match=remedy):
        mistake()
