"""The three workers of the order checkout with a real engine: every trouble they make ends as it must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sagaline.orchestrator.messages.document import CauseKind, Document, Status
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.ports.topics import Topics
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers import Worker, WorkerCrashed, WorkerRuntime
from sagaline.workers.examples.ledger import Ledger, OrderBooks
from sagaline.workers.examples.order_checkout import order_workers

from ..engine_world import PARTITIONS, World, open_log, world

ENDS = ("completed", "compensated", "attention")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


class Shop:
    """An engine and its workers; a worker that crashes is started again, as a supervisor would."""

    def __init__(self, engine: World) -> None:
        self.engine, self.crashes = engine, 0

    async def run(self, worker: Worker) -> None:
        while True:
            try:
                await WorkerRuntime(worker, self.engine.log, self.engine.topics, self.engine.clock).run()
            except WorkerCrashed:
                self.crashes += 1

    async def order(self, order_id: str, customer: str = "ann", sku: str = "teapot") -> Document:
        """Orders and waits for the end."""
        order = {"id": order_id, "customer": customer, "total_cents": 990, "lines": [{"sku": sku, "quantity": 1}]}
        start = Start(id=order_id, definition=checkout.name, key=order_id, input={"order": order})
        await self.engine.send(start)
        await self.engine.decided(start.instance, _ended)
        document = await self.engine.document(start.instance)
        assert document is not None
        return document


def _ended(record: HistoryRecord) -> bool:
    return any(change.what == "instance" and change.after in ENDS for change in record.changes)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_log(tmp_path / "log.db") as log:
        await log.create_topics(Topics("test").specs(["inventory", "payment", "shipping"], PARTITIONS))
        async with world(log, [checkout]) as engine, _working(engine, tmp_path) as shop:
            yield shop


@asynccontextmanager
async def _working(engine: World, folder: Path) -> AsyncIterator[Shop]:
    shop, workers = Shop(engine), order_workers(folder / "ledger.db")
    tasks = [asyncio.create_task(shop.run(worker)) for worker in workers]
    yield shop
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for worker in workers:
        assert worker.inbox is not None
        await worker.inbox.close()


async def test_a_smooth_order_is_charged_and_shipped_once(shop: Shop, ledger: Ledger) -> None:
    assert (await shop.order("A-1")).status is Status.COMPLETED
    assert ledger.orders() == {"A-1": OrderBooks("A-1", reservations=1, charges=1, bookings=1, shipments=1)}
    assert (ledger.open_charges(), ledger.done_twice()) == ([], [])


async def test_a_refused_card_gives_the_stock_back(shop: Shop, ledger: Ledger) -> None:
    ended = await shop.order("A-1", customer="declined-dora")
    assert ended.status is Status.COMPENSATED
    assert ended.cause is not None
    assert (ended.cause.kind, ended.cause.code) == (CauseKind.REJECTED, "card_declined")
    assert ledger.orders() == {"A-1": OrderBooks("A-1", reservations=1, releases=1)}


async def test_sold_out_stock_is_refused_and_leaves_nothing(shop: Shop, ledger: Ledger) -> None:
    assert (await shop.order("A-1", sku="sold-out-lamp")).status is Status.COMPENSATED
    assert ledger.orders() == {}


@pytest.mark.slow
async def test_a_charge_that_fails_once_is_retried_and_made_once(shop: Shop, ledger: Ledger) -> None:
    ended = await shop.order("A-1", customer="flaky-finn")
    assert (ended.status, ended.steps["charge"].attempt) == (Status.COMPLETED, 2)
    assert ledger.orders()["A-1"].charges == 1


async def test_a_worker_that_dies_in_the_charge_has_charged_once_in_the_end(shop: Shop, ledger: Ledger) -> None:
    ended = await shop.order("A-1", customer="crash-carl")
    assert (ended.status, ended.steps["charge"].attempt) == (Status.COMPLETED, 1)
    assert shop.crashes == 1
    assert ledger.orders()["A-1"].charges == 1


@pytest.mark.slow
async def test_a_carrier_that_never_answers_is_undone_while_others_are_served(shop: Shop, ledger: Ledger) -> None:
    silent = asyncio.create_task(shop.order("A-1-silent"))
    assert (await shop.order("A-2")).status is Status.COMPLETED
    assert not silent.done()
    ended = await silent
    assert ended.status is Status.COMPENSATED
    assert ended.cause is not None
    assert ended.cause.kind is CauseKind.TIMEOUT
    books = ledger.orders()["A-1-silent"]
    assert books == OrderBooks("A-1-silent", reservations=1, releases=1, charges=1, refunds=1)
    assert (ledger.open_charges(), ledger.done_twice()) == ([], [])


def test_the_books_show_what_must_not_be(ledger: Ledger, tmp_path: Path) -> None:
    """The demo's checks can fail: a charge that is open, and one that was made twice."""
    with ledger._open() as connection:
        connection.executemany("INSERT INTO charges VALUES (?, ?, 1)", [("A", "a/charge"), ("B", "b"), ("B", "b")])
        connection.execute("INSERT INTO refunds VALUES ('B', 'b', 1)")
    assert ledger.open_charges() == ["A", "B"]
    assert ledger.done_twice() == [("charges", "b", 2)]
    assert [ledger.first_crash("x"), ledger.first_crash("x"), ledger.first_crash("y")] == [True, False, True]
