"""The checkout without an orchestrator: services that subscribe and publish, on a bus and on a log, in one trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from sagaline.client import Producer
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.tracing import Tracing
from sagaline.orchestrator.wiring import engine, open_base, prepare_subscriptions, prepare_topics, running
from sagaline.sagas.examples.checkout_by_events import Placed, order_failed, order_placed, order_shipped
from sagaline.sagas.examples.order_checkout import Order, OrderLine
from sagaline.workers import EventBus, Message, Worker, WorkerRuntime
from sagaline.workers.examples.checkout_by_events import ServiceBooks, checkout_services

from .test_one_trace import Traced, id_of, trace_of

ORDERS = {
    "A-1": (Order(id="A-1", customer="ann", lines=[OrderLine(sku="teapot", quantity=1)], total_cents=900), "shipped"),
    "A-2": (Order(id="A-2", customer="declined-dora", lines=[OrderLine(sku="cup", quantity=1)], total_cents=5), "no"),
    "A-3": (Order(id="A-3", customer="ann", lines=[OrderLine(sku="sold-out-lamp", quantity=1)], total_cents=7), "no"),
}
EFFECTS = {"A-1": ["reserved", "charged", "shipped"], "A-2": ["reserved", "released"], "A-3": []}


class Ends:
    """What became of the orders, told by a fourth service."""

    def __init__(self) -> None:
        self.worker, self.found = Worker("front"), dict[str, str]()
        self.all = asyncio.Event()

        @self.worker.subscribes(order_shipped, group="ends")
        async def shipped(body: object, message: Message) -> None:
            self._note(message, "shipped")

        @self.worker.subscribes(order_failed, group="ends")
        async def failed(body: object, message: Message) -> None:
            self._note(message, "no")

    def _note(self, message: Message, end: str) -> None:
        self.found[(message.key or b"").decode()] = end
        if len(self.found) == len(ORDERS):
            self.all.set()


@contextmanager
def checked(folder: Path) -> Iterator[tuple[list[Worker], Ends]]:
    books, ends = ServiceBooks(folder / "books.db"), Ends()
    yield [*checkout_services(books), ends.worker], ends
    assert ends.found == {id: end for id, (_, end) in ORDERS.items()}
    assert {id: books.of(id) for id in ORDERS} == EFFECTS


async def test_its_services_work_on_a_bus(tmp_path: Path) -> None:
    with checked(tmp_path) as (workers, _):
        bus = EventBus(*workers)
        for id, (order, _end) in ORDERS.items():
            await bus.publish(order_placed, id, Placed(order=order))


@pytest.mark.slow  # four services and an engine on one file
async def test_its_services_work_on_a_log_and_each_order_is_one_trace(tmp_path: Path) -> None:
    traced, settings = Traced(), Settings(log=f"sqlite:///{tmp_path / 'shop.db'}", partitions=2)
    tracing = Tracing(traced.provider)
    with checked(tmp_path) as (workers, ends):
        async with AsyncExitStack() as stack:
            base = await stack.enter_async_context(open_base(settings, tracing))
            await prepare_topics(base, [])
            groups = {(each.options.group, each.topic) for worker in workers for each in worker.subscriptions}
            await prepare_subscriptions(base, groups, create=True)
            await stack.enter_async_context(running(engine(base, Registry([])).run(), "engine"))
            for worker in workers:
                runtime = WorkerRuntime(worker, base.log, base.topics, base.clock, tracing)
                await stack.enter_async_context(running(runtime.run(), worker.name))
            producer = await stack.enter_async_context(Producer(settings, tracing=tracing))
            for id, (order, _end) in ORDERS.items():
                await producer.publish(order_placed, id, Placed(order=order))
            async with asyncio.timeout(60):
                await ends.all.wait()
    traces = {trace_of(span) for span in traced.spans if span.name == "publish order-placed"}
    assert len(traces) == len(ORDERS)
    lines = []
    for trace in traces:
        ours = [span for span in traced.spans if trace_of(span) == trace]
        ids = {id_of(span) for span in ours}
        roots = [span.name for span in ours if span.parent is None or f"{span.parent.span_id:016x}" not in ids]
        assert roots == ["publish order-placed"], "a tree with one root"
        lines.append([each.name.removeprefix("handle ") for each in ours if each.name.startswith("handle ")])
    assert sorted(lines) == sorted(
        [
            ["order-placed", "goods-reserved", "card-charged", "order-shipped"],
            ["order-placed", "goods-reserved", "card-declined", "order-failed"],
            ["order-placed", "order-failed"],
        ]
    )
