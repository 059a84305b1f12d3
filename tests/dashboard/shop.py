"""A shop with every kind of case for the dashboard: what goes well, what was undone, what is stuck, what waits.

``python -m tests.dashboard.shop PORT`` serves it until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from sagaline.api import ApiSettings, bind, create_app, serving
from sagaline.orchestrator import wiring
from sagaline.orchestrator.cli.verify import verification
from sagaline.orchestrator.client import Client, RequestOptions
from sagaline.orchestrator.codec.dead_letters import Why, dead_letter
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.errors import UnknownParcel
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.parcels import (
    Letter,
    Posted,
    RetryPolicy,
    Source,
    delayed_id,
    parcel_id,
    parked_letter,
    to_base64,
)
from sagaline.orchestrator.ports.log import Outgoing, Record, TopicSpec
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base
from sagaline.sagas import Contract, Node, Rejected, Retry, Saga, Schedule, pivot, step
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.nodes import ask, parallel, route, run
from sagaline.workers import Context, Worker, WorkerRuntime
from sagaline.workers.examples.order_checkout import order_workers
from sagaline.workers.presence import tell_presence

__all__ = ["TOKEN", "Shop", "filled_shop", "later", "letter", "open_shop", "parked", "post", "until"]

AGAIN = "shop.redelivered.billing"
TOKEN = "token-of-an-administrator-in-tests"

_WEEK = timedelta(days=7)
_ONCE = Retry(max_attempts=1)


class Parcel(BaseModel):
    parcel: str


class Done(BaseModel):
    note: str = ""


class Decision(BaseModel):
    """The form of the question."""

    accept: bool = Field(description="Is the money given back?")
    cents: int = Field(0, ge=0, description="How much, in cents")
    remark: str = Field("", max_length=200, description="For the customer")


class Return(BaseModel):
    """The state of a return."""

    parcel: str
    weight: int = 1
    receipt: Done | None = None
    photo: Done | None = None
    scale: Done | None = None
    decision: Decision | None = None
    refund: Done | None = None


def _contract(name: str, queue: str) -> Contract[Parcel, Done]:
    return Contract(name, Parcel, Done, queue=queue)


receive_parcel = _contract("receive-parcel", "dock")
send_back = _contract("send-back", "dock")
take_photo = _contract("take-photo", "studio")
weigh_parcel = _contract("weigh-parcel", "scale")
print_label = _contract("print-label", "printers")
refund_money = _contract("refund-money", "bank")


@step(receive_parcel, into="receipt", retry=_ONCE)
def receive(s: Return) -> Parcel:
    return Parcel(parcel=s.parcel)


@receive.undo(send_back, retry=_ONCE)
def send(s: Return) -> Parcel:
    return Parcel(parcel=s.parcel)


@step(take_photo, into="photo", timeout=_WEEK, retry=Retry(max_attempts=3, first_delay=timedelta(milliseconds=20)))
def photograph(s: Return) -> Parcel:
    return Parcel(parcel=s.parcel)


@step(weigh_parcel, into="scale", timeout=_WEEK)
def weigh(s: Return) -> Parcel:
    return Parcel(parcel=s.parcel)


@step(refund_money, into="refund", timeout=_WEEK)
def refund(s: Return) -> Parcel:
    return Parcel(parcel=s.parcel)


@step(print_label, timeout=_WEEK, expected_within=timedelta(milliseconds=1))
def label(s: Return) -> Parcel:
    return Parcel(parcel=s.parcel)


decide = ask(
    "decide",
    Decision,
    question=lambda s: f"Shall the customer get the money for parcel {s.parcel} back?",
    who=lambda s: ["ann", "clerks"],
    into="decision",
    due=timedelta(days=3),
)
parcel_return = Saga(
    "parcel-return", Return, flow=[receive, parallel(photograph, weigh, name="look"), decide, pivot, refund]
)


def facts(s: Return) -> Mapping[str, Any]:
    return {"weight": s.weight}


labels = Saga("label-printing", Return, flow=[route("printers", by=facts, to={"large": label}, otherwise="large")])


class Gift(BaseModel):
    """The state of a gift, and of its wrapping."""

    parcel: str
    scale: Done | None = None


@step(weigh_parcel, into="scale", timeout=_WEEK)
def weigh_wrapped(s: Gift) -> Parcel:
    return Parcel(parcel=s.parcel)


wrapping = Saga("gift-wrapping", Gift, flow=[weigh_wrapped])
gift = Saga("gift", Gift, flow=[run(wrapping, lambda s: Gift(parcel=s.parcel), name="wrap")])


def _stage(number: int) -> Node[Return]:
    def send(s: Return) -> Parcel:
        return Parcel(parcel=s.parcel)

    return step(print_label, timeout=_WEEK, name=f"stage-{number}")(send)


long_way = Saga("long-way", Return, flow=[_stage(number) for number in range(200)])
"""A flow of 200 nodes; none of its instances is started."""
nightly = Schedule("nightly-labels", labels, {"parcel": "nightly"}, cron="30 2 * * MON-FRI", zone="Europe/Berlin")


def workers() -> list[Worker]:
    """Nobody reads the queue ``printers``. Names of parcels trigger what goes wrong."""
    dock, bench = Worker("dock"), Worker("bench")

    @dock.handles(receive_parcel)
    async def receive(command: Parcel, ctx: Context) -> Done:
        return Done(note=f"dock 4, {command.parcel}")

    @dock.handles(send_back)
    async def send(command: Parcel, ctx: Context) -> Done | Rejected:
        if command.parcel.startswith("lost"):
            return Rejected("the parcel is not on its shelf", code="not_found")
        return Done()

    @bench.handles(take_photo)
    async def photograph(command: Parcel, ctx: Context) -> Done | Rejected:
        if command.parcel.startswith(("lost", "torn")):
            return Rejected("the box is torn, its content cannot be told", code="damaged")
        if ctx.attempt == 1:
            raise ConnectionError("the camera does not answer")
        return Done(note="front and back")

    @bench.handles(weigh_parcel)
    async def weigh(command: Parcel, ctx: Context) -> Done:
        if command.parcel.startswith("slow"):
            await asyncio.Event().wait()
        return Done(note="1.2 kg")

    @bench.handles(refund_money)
    async def refund(command: Parcel, ctx: Context) -> Done:
        return Done(note="paid")

    return [dock, bench]


class Shop(NamedTuple):
    """Where it is served: to everybody, and to those who have a key."""

    address: str
    locked: str


@asynccontextmanager
async def filled_shop(folder: Path, *more: AnyDefinition) -> AsyncIterator[tuple[Client, Base]]:
    """The shop with all of its cases, served to nobody, while the block runs; ``more`` is deployed beside it."""
    settings = Settings(log=f"sqlite:///{folder / 'shop.db'}", partitions=2, namespace="shop")
    registry = Registry([checkout, parcel_return, labels, long_way, gift, wrapping, *more])
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(wiring.open_base(settings))
        await wiring.prepare_topics(base, registry.queues)
        engine = wiring.engine(base, registry)
        await stack.enter_async_context(wiring.running(engine.run(), "engine"))
        for worker in (*workers(), *order_workers(folder / "ledger.db")):
            runtime = WorkerRuntime(worker, base.log, base.topics, base.clock, base.tracing)
            await stack.enter_async_context(wiring.running(runtime.run(), worker.name))
            telling = tell_presence(runtime, base.log, base.topics, base.clock)
            await stack.enter_async_context(wiring.running(telling, "presence"))
            if worker.inbox is not None:
                stack.push_async_callback(worker.inbox.close)
        client = await stack.enter_async_context(wiring.client(base, registry, engine))
        await _fill(client)
        await base.log.append([letter(base.topics.dead, number) for number in range(3)])
        await base.log.create_topics([TopicSpec(AGAIN, 1, "delete"), TopicSpec("mail", 1, "delete")])
        waiting = parked(17), parked(18), later("reminder-1")
        await post(base, *waiting)
        async with asyncio.timeout(40):
            for each in waiting:
                await _shown(client, each.instance)
        yield client, base


@asynccontextmanager
async def open_shop(folder: Path, port: int = 0) -> AsyncIterator[Shop]:
    """Serves the shop with all of its cases while the block runs."""
    doors = ApiSettings()
    async with AsyncExitStack() as stack:
        client, base = await stack.enter_async_context(filled_shop(folder))
        app = create_app(client, clock=base.clock, settings=doors, verifier=verification)
        listener = stack.enter_context(bind("127.0.0.1", port, doors))
        address = await stack.enter_async_context(serving(app, listener, doors))
        keys = ApiSettings(tokens=(TOKEN,))
        asks = create_app(client, clock=base.clock, settings=keys)
        door = stack.enter_context(bind("127.0.0.1", 0, keys))
        yield Shop(address, await stack.enter_async_context(serving(asks, door, keys)))


async def _fill(client: Client) -> None:
    def order(key: str, customer: str) -> dict[str, Any]:
        lines = [{"sku": "teapot", "quantity": 2}, {"sku": "tea-light", "quantity": 12}]
        return {"order": {"id": key, "customer": customer, "lines": lines, "total_cents": 4200}}

    for key, customer in (("A-1001", "ann"), ("A-1002", "declined-dora"), ("A-1003", "ann"), ("A-1007-silent", "carl")):
        await client.start("order-checkout", order(key, customer), key=key)
    for key in ("torn-1", "lost-1", "lost-2", "slow-1", *(f"whole-{number}" for number in range(1, 6))):
        await client.start("parcel-return", {"parcel": key}, key=key)
    await client.start("label-printing", {"parcel": "letter"}, key="L-1")
    await client.start("gift", {"parcel": "G-1"}, key="G-1")
    await client.act("parcel-return/whole-3", ActName.PAUSE, by="ann", reason="the customer is on the telephone")
    await client.schedules.put(nightly, RequestOptions(by="ann", reason="labels for the morning"))
    await until(client, "parcel-return/lost-1", "attention")
    await until(client, "parcel-return/lost-2", "attention")
    await until(client, "order-checkout/A-1002", "compensated")


async def until(client: Client, instance: str, status: str) -> None:
    """Returns when the instance has this status."""
    async with asyncio.timeout(20):
        while (await client.get(instance)).status != status:  # noqa: ASYNC110  # the client has no event for it
            await asyncio.sleep(0.02)


def letter(topic: str, number: int) -> Outgoing:
    value, headers = b'{"parcel": %d}' % number, (("ce_type", b"print-label"),)
    record = Record("shop.commands.printers", 0, number, b"label-printing/L-9", value, headers, 1_700_000_000_000)
    return dead_letter(topic, 0, record, Why(f"parcel: not a text: {number}", "failed"), 900_000)


def parked(offset: int, key: bytes = b"ann") -> Posted:
    """A message of a group: the first has failed in all its attempts, number 18 waits behind 17."""
    source, first = Source(topic="shop.orders", partition=0, offset=offset), offset != 18
    letter = parked_letter("billing", source, key, b'{"order": "A-%d"}' % offset, (("ce_type", b"order-placed"),))
    retry = RetryPolicy(max_attempts=3, first_ms=3_600_000, factor=2.0, most_ms=3_600_000)
    return Posted(
        id=f"parked-{offset}",
        instance=parcel_id("billing", key),
        letter=letter,
        group="billing",
        redeliver_to=AGAIN,
        redeliver_partition=0,
        retry=retry,
        error="the address of the bill is missing" if first else None,
        detail="",
        attempts=3 if first else 0,
        park=first,
    )


def later(id: str) -> Posted:
    """A message for the year 2100."""
    message = Letter(id=id, topic="mail", key=to_base64(b"ann"), value=to_base64(b'{"to": "ann"}'))
    return Posted(id=f"later-{id}", instance=delayed_id(id), letter=message, due_ms=4_102_444_800_000)


async def post(base: Base, *messages: Posted) -> None:
    """Writes them as a worker or a producer would."""
    for message in messages:
        record = encode_entity_message(base.topics.inputs, message, source="/shop", now_ms=1, traceparent=None)
        await base.log.append([record])


async def _shown(client: Client, parcel: str) -> None:
    while True:
        try:
            await client.parcels.get(parcel)
        except UnknownParcel:
            await asyncio.sleep(0.02)
        else:
            return


async def _serve(port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_shop(Path(folder), port) as shop:
            print(shop.address, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
