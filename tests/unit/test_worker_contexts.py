"""What a handler sets, opens or cancels is its own affair, for commands and for subscriptions alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from structlog.contextvars import bind_contextvars, get_contextvars

from sagaline.orchestrator.codec.inputs import decode_input
from sagaline.orchestrator.tracing import Tracing
from sagaline.workers import Message, Worker
from sagaline.workers.bus import CommandBus, EventBus

from ..contract.subscription_contract import QUICK, Shipped, SubscriptionWorld, shipped, until
from ..worker_world import Pack, Packed, WorkerWorld, pack, worker_world

tenant: ContextVar[str] = ContextVar("tenant", default="none")
provider = TracerProvider(shutdown_on_exit=False)
tracer = provider.get_tracer("a library")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


class Seen:
    """A handler that sets context variables and opens a span, and notes what it finds."""

    def __init__(self) -> None:
        self.tenants: list[str] = []
        self.fields: list[object] = []
        self.below: list[bool] = []
        self.roots: list[bool] = []

    async def handle(self, mine: str) -> None:
        self.tenants.append(tenant.get())
        self.fields.append(get_contextvars().get("order"))
        tenant.set(mine)
        bind_contextvars(order=mine)
        outside = trace.get_current_span().get_span_context()
        with tracer.start_as_current_span("of the handler") as opened:
            await asyncio.sleep(0)
            with tracer.start_as_current_span("after its first wait") as inner:
                pass
        self.below.append(inner.parent == opened.get_span_context())  # type: ignore[attr-defined]  # of the SDK
        self.roots.append(trace.get_current_span().get_span_context() == outside and outside.is_valid)
        assert tenant.get() == mine

    def check(self, count: int) -> None:
        assert (self.tenants, self.fields) == (["none"] * count, [None] * count)
        assert (self.below, self.roots) == ([True] * count, [True] * count)


def worker_of(seen: Seen) -> Worker:
    worker = Worker("w", concurrency=1)

    @worker.handles(pack)
    async def handle(command: Pack) -> Packed:
        await seen.handle(command.item)
        return Packed(parcel="P")

    @worker.subscribes(shipped)
    async def follow(event: Shipped, message: Message) -> None:
        await seen.handle(str(event.number))

    return worker


async def test_variables_and_spans_of_a_command_s_handler_stay_with_its_command(world: WorkerWorld) -> None:
    seen, worker = Seen(), Worker("w", concurrency=1)

    @worker.handles(pack)
    async def handle(command: Pack) -> Packed:
        await seen.handle(command.item)
        return Packed(parcel="P")

    async with world.running(worker, Tracing(provider)):
        await world.ask(*(world.command(f"order/{letter}", payload=Pack(item=letter)) for letter in "ABC"))
    seen.check(3)


async def test_variables_and_spans_of_a_subscriber_stay_with_its_message(world: WorkerWorld) -> None:
    seen, worker = Seen(), Worker("w", concurrency=1)

    @worker.subscribes(shipped)
    async def follow(event: Shipped, message: Message) -> None:
        await seen.handle(str(event.number))

    messages = SubscriptionWorld(world.log, world.topics)
    await messages.publish(("k", 1), ("k", 2), ("l", 3))
    async with messages.running(worker, Tracing(provider)):
        await until(lambda: len(seen.roots) == 3)
    seen.check(3)


async def test_variables_and_spans_of_handlers_on_a_bus_do_not_reach_its_caller() -> None:
    seen = Seen()
    worker = worker_of(seen)
    events, commands = EventBus(worker, tracing=Tracing(provider)), CommandBus(worker, tracing=Tracing(provider))
    for number in range(2):
        await events.publish(shipped, "k", Shipped(number=number))
        await commands.request(pack, Pack(item="A"))
    seen.check(4)
    assert (tenant.get(), get_contextvars()) == ("none", {})


async def test_a_handler_that_is_cancelled_by_a_stranger_has_failed_and_the_next_one_runs(world: WorkerWorld) -> None:
    """User code kept the task of a running handler: that is not the end of the slot, nor of the worker."""
    runs: list[str] = []
    slots: list[asyncio.Task[object]] = []

    async def waits(mine: str) -> None:
        runs.append(mine)
        task = asyncio.current_task()
        assert task is not None
        slots.append(task)
        if runs.count(mine) == 1 and mine in ("A", "1"):
            asyncio.get_running_loop().call_later(0, task.cancel)
            await asyncio.Event().wait()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:  # they count cancels of their task
            group.create_task(asyncio.sleep(0))

    worker = Worker("w", concurrency=1)

    @worker.handles(pack)
    async def handle(command: Pack) -> Packed:
        await waits(command.item)
        return Packed(parcel="P")

    @worker.subscribes(shipped, retry=QUICK)
    async def follow(event: Shipped) -> None:
        await waits(str(event.number))

    messages = SubscriptionWorld(world.log, world.topics)
    await messages.publish(("k", 1), ("l", 2))
    async with messages.engine(), messages.running(worker):
        await world.send(*(world.command(f"order/{letter}", payload=Pack(item=letter)) for letter in "AB"))
        await until(lambda: sorted(runs) == ["1", "1", "2", "A", "B"])
        for slot in slots:
            slot.cancel()
        await world.send(world.command("order/C", payload=Pack(item="C")))
        await messages.publish(("m", 3))
        await until(lambda: {"C", "3"} <= {*runs})
    replies = await world.all_of(world.topics.inputs)  # the engine forwards those on a partition that is not theirs
    found = {(decode_input(each).instance, type(decode_input(each)).__name__) for each in replies}
    assert {("order/A", "Failed"), ("order/B", "Completed"), ("order/C", "Completed")} <= found
