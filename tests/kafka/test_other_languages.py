"""The example workers in Go and TypeScript, beside the real engine and workers in Python on a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from sagaline import Contract, Rejected
from sagaline.client import Producer
from sagaline.orchestrator.cli.reading import whole_topic
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.errors import RequestFailed
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.ports.log import Record
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, client, engine, open_base, prepare_topics, running
from sagaline.sagas.examples.order_checkout import (
    CardCharged,
    ChargeCard,
    Checkout,
    Order,
    OrderLine,
    RefundCard,
    charge_card,
    checkout,
    refund_card,
)
from sagaline.sagas.routing_slip import Kept, RoutingSlip, stop
from sagaline.workers import Context, SqliteInbox, Worker, WorkerRuntime
from sagaline.workers.examples.ledger import LEDGER_SCHEMA
from sagaline.workers.examples.order_checkout import inventory_worker, shipping_worker
from tests.outside import fetched, not_run
from tests.repo.tree import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

EXAMPLES = ROOT / "docs" / "examples"
SOON = timedelta(seconds=60)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Book(BaseModel):
    charge: str
    amount_cents: int


class Booked(BaseModel):
    page: int


class Payment(BaseModel):
    order_id: str
    customer: str = "ann"
    amount_cents: int = 900
    payment: CardCharged | None = None
    booked: Booked | None = None


charge = stop(charge_card, into="payment")
book = stop(
    Contract("book-charge", Book, Booked, queue="ledger"),
    into="booked",
    takes={"charge": "payment.charge_id"},
    read_only=True,
)


@charge.undo(refund_card)
def refund(kept: Kept[ChargeCard, CardCharged]) -> RefundCard:
    return RefundCard(order_id=kept.command.order_id)


payments = RoutingSlip("payment-slip", Payment, stops=[charge, book])
unknown = Contract("unknown-contract", Book, Booked, queue="payment")


def ledger_worker() -> Worker:
    worker = Worker("ledger")

    @worker.handles(book.contract)
    async def note(command: Book, ctx: Context) -> Booked | Rejected:
        return Booked(page=7) if command.charge.startswith("C-") else Rejected("no charge")

    return worker


# Building


def tool(*names: str) -> None:
    for name in names:
        if shutil.which(name) is None:
            not_run(f"{name} is not installed, so its example worker is neither built nor run")


def built(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def go_worker(folder: Path) -> list[str]:
    tool("go")
    fetched(["go", "mod", "download"], folder)
    built(["go", "vet", "./..."], folder)
    built(["go", "build", "-o", "payment-worker", "."], folder)
    return [str(folder / "payment-worker")]


def typescript_worker(folder: Path) -> list[str]:
    tool("node", "npm")
    fetched(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    built(["npm", "run", "build"], folder)
    return ["node", "dist/worker.js"]


# Running


class System:
    """Engine, client, producer and the workers in Python."""

    def __init__(self, base: Base, client: Client, producer: Producer) -> None:
        self.base, self.client, self.producer = base, client, producer

    async def ended(self, instance: str) -> Document:
        async with asyncio.timeout(60):
            while not (found := await self.client.get(instance)).status.is_final:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found

    async def records(self, topic: str) -> list[tuple[Record, dict[str, str]]]:
        """What is in a topic, with its headers."""
        found = [each async for each in whole_topic(self.base, topic, timeout_seconds=30.0)]
        return [(each, {name: text.decode() for name, text in each.headers}) for each in found]


@asynccontextmanager
async def system(settings: Settings, folder: Path) -> AsyncIterator[System]:
    registry = Registry([checkout, payments])
    inbox = SqliteInbox(folder / "books.db", schema=LEDGER_SCHEMA)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(inbox.close)
        base = await stack.enter_async_context(open_base(settings))
        await prepare_topics(base, registry.queues)
        deciding = engine(base, registry)
        await stack.enter_async_context(running(deciding.run(), "engine"))
        for worker in (inventory_worker(inbox), shipping_worker(inbox), ledger_worker()):
            runtime = WorkerRuntime(worker, base.log, base.topics, base.clock)
            await stack.enter_async_context(running(runtime.run(), worker.name))
        asking = await stack.enter_async_context(client(base, registry, deciding))
        producer = await stack.enter_async_context(Producer(settings))
        yield System(base, asking, producer)


@pytest.mark.parametrize(("name", "build"), [("go", go_worker), ("typescript", typescript_worker)])
async def test_a_worker_in_another_language_serves_a_saga_a_slip_and_requests(
    name: str, build: Callable[[Path], list[str]], kafka_bootstrap: str, tmp_path: Path
) -> None:
    folder = tmp_path / "worker"
    shutil.copytree(EXAMPLES / f"{name}-worker", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    command = await asyncio.to_thread(build, folder)
    settings = Settings(
        log=f"kafka://{kafka_bootstrap}",
        namespace=f"l{uuid.uuid4().hex[:12]}",
        partitions=2,
        development=True,
        read_model=f"sqlite:///{tmp_path / 'read-model.db'}",
    )
    environment = {**os.environ, "SAGALINE_NAMESPACE": settings.namespace, "SAGALINE_BROKERS": kafka_bootstrap}
    async with system(settings, tmp_path) as up:
        worker = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment)
        try:
            await _serves_sagas(up)
            await _serves_requests(up)
            await _forwards_slips(up)
            await _undoes(up)
            await _answers_as_the_page_says(up, f"/{settings.namespace}/workers/payment-")
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(worker.wait(), 30) in (0, -signal.SIGTERM)
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()


async def _serves_sagas(up: System) -> None:
    ends = {"smooth": Status.COMPLETED, "declined": Status.COMPENSATED, "flaky": Status.COMPLETED}
    for customer in (*ends, "silent"):
        id = f"A-{customer}"
        order = Order(id=id, customer=customer, lines=[OrderLine(sku="cup", quantity=1)], total_cents=900)
        await up.client.start(checkout, Checkout(order=order), key=id, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    found = {customer: await up.ended(f"order-checkout/A-{customer}") for customer in ends}
    assert {customer: each.status for customer, each in found.items()} == ends
    assert found["flaky"].steps["charge"].attempt == 2
    assert found["smooth"].state["payment"] == {"charge_id": "C-A-smooth"}


async def _undoes(up: System) -> None:
    """Its carrier has not answered."""
    silent = await up.ended("order-checkout/A-silent")
    assert (silent.status, silent.steps["charge"].status) == (Status.COMPENSATED, "undone")
    refunds = [
        json.loads(record.value or b"")
        for record, headers in await up.records(up.base.topics.inputs)
        if headers.get("ce_commandid", "").partition("/undo/")[0].startswith("order-checkout/A-silent/charge~")
        and "/undo/" in headers["ce_commandid"]
    ]
    assert refunds == [{"was_charged": True}]


async def _serves_requests(up: System) -> None:
    good, bad = (ChargeCard(order_id="R-1", customer=name, amount_cents=1) for name in ("ann", "declined"))
    first = await up.producer.request(charge_card, good, timeout=SOON, id="once")
    assert first == CardCharged(charge_id="C-R-1")
    other = good.model_copy(update={"order_id": "R-2"})
    assert await up.producer.request(charge_card, other, timeout=SOON, id="once") == first, "the stored reply"
    with pytest.raises(Rejected) as no:
        await up.producer.request(charge_card, bad, timeout=SOON)
    assert no.value.code == "card_declined"
    with pytest.raises(RequestFailed, match=r"no handler for .?unknown-contract"):
        await up.producer.request(unknown, Book(charge="C", amount_cents=1), timeout=SOON)
    await up.producer.tell(charge_card, bad, id="told")
    async with asyncio.timeout(30):
        while not (letters := await up.records(up.base.topics.dead)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    [(_, headers)] = letters
    assert "card_declined" in headers["dead-reason"]
    assert (headers["dead-topic"], headers["ce_subject"]) == (up.base.topics.commands("payment"), "@tell/told")


async def _forwards_slips(up: System) -> None:
    await up.client.start(payments, Payment(order_id="S-1"), key="S-1", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    document = await up.ended("payment-slip/S-1")
    assert document.status is Status.COMPLETED
    assert document.state["payment"] == {"charge_id": "C-S-1"}
    assert document.state["booked"] == {"page": 7}


async def _answers_as_the_page_says(up: System, writer: str) -> None:
    [(onward, headers)] = await up.records(up.base.topics.commands("ledger"))
    assert headers["ce_source"].startswith(writer), "the worker has forwarded the slip, not the engine"
    assert (onward.key, "ce_slip" in headers) == (b"payment-slip/S-1", False)
    commands = {h["ce_id"]: (record, h) for record, h in await up.records(up.base.topics.commands("payment"))}
    inputs = await up.records(up.base.topics.inputs)
    replies = [(record, h) for record, h in inputs if h.get("ce_source", "").startswith(writer)]
    assert len(replies) >= 7
    for record, h in replies:
        command, asked = commands[h["ce_commandid"]]
        assert (record.key, record.partition) == (command.key, int(asked["ce_replypartition"]))
        assert h["traceparent"][3:35] == asked["traceparent"][3:35] == TRACE
    assert [h["ce_forwarded"] for _, h in replies if "ce_forwarded" in h] == [headers["ce_id"]]
