"""Buses in an application call the handlers of a worker as a log would; moving them out changes no declaration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, ConfigDict

from sagaline import Contract, DefinitionError, Rejected
from sagaline.client import Producer
from sagaline.orchestrator.errors import InvalidRequest, RequestFailed, RequestTimedOut
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.tracing import Tracing
from sagaline.orchestrator.wiring import engine, open_base, prepare_subscriptions, prepare_topics, running
from sagaline.sagas import Event
from sagaline.workers import (
    AnswerLater,
    CommandBus,
    Context,
    EventBus,
    Inbox,
    Message,
    SqliteInbox,
    Worker,
    WorkerRuntime,
)


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    lines: list[str] = []


class Price(BaseModel):
    cents: int


ordered = Event("ordered", Order)
packed = Event("packed", Order)
quote = Contract("quote", Order, Price, queue="pricing")


# Events


async def test_every_group_gets_every_event_and_a_filter_says_which() -> None:
    worker, seen = Worker("shop"), list[tuple[str, int]]()

    @worker.subscribes(ordered)
    async def first(body: Order) -> None:
        seen.append(("first", body.number))

    @worker.subscribes(ordered, group="odd", where=lambda body: body.number % 2 == 1)
    def second(body: Order, message: Message) -> None:  # not async: in a thread
        seen.append((f"{message.group} {message.key!r}", body.number))

    bus = EventBus(worker)
    for number in (1, 2):
        await bus.publish(ordered, "K", Order(number=number))
    assert seen == [("first", 1), ("odd b'K'", 1), ("first", 2)]


async def test_each_handler_gets_a_body_of_its_own() -> None:
    worker, seen = Worker("shop"), list[list[str]]()

    @worker.subscribes(ordered)
    async def greedy(body: Order) -> None:
        body.lines.append("mine")

    @worker.subscribes(ordered, group="after")
    async def after(body: Order) -> None:
        seen.append(body.lines)

    await EventBus(worker).publish(ordered, "K", Order(number=1, lines=["book"]))
    assert seen == [["book"]]


async def test_all_handlers_are_called_and_what_failed_is_raised_together() -> None:
    worker, seen = Worker("shop"), list[str]()

    @worker.subscribes(ordered, group="a")
    async def fails(body: Order) -> None:
        raise ConnectionError("no bank")

    @worker.subscribes(ordered, group="b")
    async def rejects(body: Order) -> None:
        raise Rejected("not here")

    @worker.subscribes(ordered, group="c")
    async def works(body: Order) -> None:
        seen.append("c")

    with pytest.raises(ExceptionGroup, match="2 handlers failed for 'ordered'") as raised:
        await EventBus(worker).publish(ordered, "K", Order(number=1))
    assert seen == ["c"]
    assert [type(each) for each in raised.value.exceptions] == [ConnectionError, Rejected]
    assert ["group 'a'" in each.__notes__[0] for each in raised.value.exceptions] == [True, False]


async def test_what_a_handler_publishes_goes_through_the_same_bus_once_it_has_returned() -> None:
    worker, seen = Worker("shop"), list[str]()

    @worker.subscribes(ordered)
    async def pack(body: Order, message: Message) -> None:
        message.publish(packed, "K", body)
        seen.append("pack")

    @worker.subscribes(ordered, group="broken")
    async def broken(body: Order, message: Message) -> None:
        message.publish(packed, "never", body)
        raise ConnectionError

    @worker.subscribes(packed, group="post")
    async def post(body: Order, message: Message) -> None:
        seen.append(f"post {message.id}")

    with pytest.raises(ExceptionGroup):
        await EventBus(worker).publish(ordered, "K", Order(number=1), id="E")
    assert seen == ["pack", "post shop/E/1"]


async def test_events_that_cause_each_other_without_end_are_stopped() -> None:
    worker, seen = Worker("shop"), list[int]()

    @worker.subscribes(ordered)
    async def again(body: Order, message: Message) -> None:
        seen.append(body.number)
        message.publish(ordered, "K", body)

    with pytest.raises(RuntimeError, match="caused more than"):
        await EventBus(worker, caused_max=10).publish(ordered, "K", Order(number=1))
    assert len(seen) == 11


async def test_middlewares_and_the_time_limit_are_the_workers() -> None:
    worker = Worker("shop", handler_timeout=timedelta(milliseconds=5))
    seen: list[str] = []

    @worker.use
    async def around(message: Message, call_next: Callable[[], Awaitable[object]]) -> object:
        seen.append(f"before {message.id}")
        return await call_next()

    @worker.subscribes(ordered)
    async def hangs(body: Order) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await EventBus(worker).publish(ordered, "K", Order(number=1), id="E")
    assert seen == ["before E"]
    assert "handler_timeout" in str(raised.value.exceptions[0])


async def test_a_cancelled_publish_ends_its_handler() -> None:
    worker, at_work, ended = Worker("shop"), asyncio.Event(), list[bool]()

    @worker.subscribes(ordered)
    async def waits(body: Order) -> None:
        at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    publishing = asyncio.create_task(EventBus(worker).publish(ordered, "K", Order(number=1)))
    await at_work.wait()
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert ended == [True]


async def test_what_cannot_be_published_reaches_no_handler() -> None:
    worker, seen = Worker("shop"), list[int]()

    @worker.subscribes(ordered)
    async def handler(body: Order) -> None:
        seen.append(body.number)

    bus = EventBus(worker)
    for key, body in (("", {"number": 1}), ("K", {"number": "many"})):
        with pytest.raises(InvalidRequest):
            await bus.publish(ordered, key, body)
    assert seen == []
    assert await bus.publish(packed, "K", Order(number=1), id="nobody") == "nobody"


async def test_two_handlers_of_one_group_in_two_workers_are_a_mistake() -> None:
    one, two = Worker("one"), Worker("two")

    async def handler(body: Order) -> None: ...

    one.subscribes(ordered, group="g")(handler)
    two.subscribes(ordered, group="g")(handler)
    with pytest.raises(DefinitionError, match="another group"):
        await EventBus(one, two).publish(ordered, "K", Order(number=1))


# Commands


def pricing(inbox: Inbox | None = None) -> Worker:
    worker = Worker("pricing", inbox=inbox)

    @worker.handles(quote)
    async def price(command: Order, ctx: Context) -> Price | Rejected | AnswerLater:
        if command.number == 0:
            return Rejected("no such order", code="unknown")
        if command.number < 0:
            raise ConnectionError("no prices")
        if command.number == 7:
            return AnswerLater()
        if command.number == 8:
            await asyncio.Event().wait()
        if inbox is not None:
            ctx.execute("INSERT INTO asked VALUES (?)", (ctx.effect_key,))
        return Price(cents=command.number * 100 + ctx.attempt)

    return worker


async def test_a_request_is_answered_by_the_one_handler_of_its_contract() -> None:
    bus = CommandBus(Worker("other"), pricing())
    assert await bus.request(quote, Order(number=3)) == Price(cents=301)
    with pytest.raises(Rejected) as no:
        await bus.request(quote, Order(number=0))
    assert no.value.code == "unknown"


@pytest.mark.parametrize(("number", "why"), [(-1, "no prices"), (7, "AnswerLater")])
async def test_a_request_without_an_answer_fails_with_the_reason(number: int, why: str) -> None:
    with pytest.raises(RequestFailed, match=why):
        await CommandBus(pricing()).request(quote, Order(number=number))


async def test_a_request_ends_at_its_timeout() -> None:
    with pytest.raises(RequestTimedOut):
        await CommandBus(pricing()).request(quote, Order(number=8), timeout=timedelta(milliseconds=5))


async def test_a_request_that_cannot_be_sent_is_told_what_is_wrong() -> None:
    with pytest.raises(InvalidRequest, match="no handler for 'quote'"):
        await CommandBus(Worker("other")).request(quote, Order(number=1))
    with pytest.raises(InvalidRequest, match="takes Order"):
        await CommandBus(pricing()).request(quote, Price(cents=1))  # type: ignore[arg-type]  # the mistake
    with pytest.raises(DefinitionError, match="remove one of the two"):
        await CommandBus(pricing(), pricing()).request(quote, Order(number=1))


async def test_an_inbox_carries_out_an_id_once(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db", schema="CREATE TABLE IF NOT EXISTS asked (key TEXT PRIMARY KEY) STRICT;")
    bus = CommandBus(pricing(inbox))
    try:
        first = await bus.request(quote, Order(number=3), id="A")
        assert await bus.request(quote, Order(number=5), id="A") == first
        assert await bus.request(quote, Order(number=5), id="B") == Price(cents=501)
        with pytest.raises(RequestFailed):
            await bus.request(quote, Order(number=-1), id="C")
        assert await bus.request(quote, Order(number=1), id="C") == Price(cents=101)
    finally:
        await inbox.close()


async def test_a_handler_that_ends_the_process_ends_it() -> None:
    worker = Worker("shop")

    @worker.handles(quote)
    async def price(command: Order, ctx: Context) -> Price:
        raise SystemExit(3)

    @worker.subscribes(ordered)
    async def handler(body: Order) -> None:
        raise SystemExit(4)

    with pytest.raises(SystemExit) as ended:
        await CommandBus(worker).request(quote, Order(number=1))
    assert ended.value.code == 3
    with pytest.raises(SystemExit) as ended:
        await EventBus(worker).publish(ordered, "K", Order(number=1))
    assert ended.value.code == 4


async def test_the_callers_own_fields_of_the_log_stay() -> None:
    structlog.contextvars.bind_contextvars(request="R")
    try:
        await CommandBus(pricing()).request(quote, Order(number=1))
        assert structlog.contextvars.get_contextvars() == {"request": "R"}
    finally:
        structlog.contextvars.clear_contextvars()


async def test_a_bus_continues_the_trace_of_its_caller() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing, worker = Tracing(provider), pricing()

    @worker.subscribes(ordered)
    async def pack(body: Order, message: Message) -> None:
        message.publish(packed, "K", body)

    @worker.subscribes(packed, group="post")
    async def post(body: Order) -> None: ...

    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    caller = f"00-{trace}-00f067aa0ba902b7-01"
    await EventBus(worker, tracing=tracing).publish(ordered, "K", Order(number=1), traceparent=caller)
    await CommandBus(worker, tracing=tracing).request(quote, Order(number=1), traceparent=caller)
    spans = exporter.get_finished_spans()
    names = {"publish ordered", "handle ordered", "publish packed", "handle packed", "request quote", "handle quote"}
    assert {span.name for span in spans} == names
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {trace}


async def test_moving_handlers_out_of_the_process_changes_no_declaration(tmp_path: Path) -> None:
    """The same worker, first behind a bus, then behind a runtime on a log."""
    worker, seen = pricing(), asyncio.Queue[tuple[str, int]]()

    @worker.subscribes(ordered, where=lambda body: body.number > 1)
    async def pack(body: Order, message: Message) -> None:
        message.publish(packed, "K", body)
        seen.put_nowait(("pack", body.number))

    @worker.subscribes(packed, group="post")
    def post(body: Order) -> None:
        asyncio.run_coroutine_threadsafe(seen.put(("post", body.number)), loop).result()

    loop = asyncio.get_running_loop()

    async def use(publish: Callable[..., Awaitable[str]], request: Callable[..., Awaitable[Price]]) -> list[object]:
        for number in (1, 2):
            await publish(ordered, "K", Order(number=number))
        answer = await request(quote, Order(number=3), timeout=timedelta(seconds=30))
        async with asyncio.timeout(30):
            return [answer, await seen.get(), await seen.get()]

    in_process = await use(EventBus(worker).publish, CommandBus(worker).request)
    settings = Settings(log=f"sqlite:///{tmp_path / 'shop.db'}", partitions=2)
    async with open_base(settings) as base:
        await prepare_topics(base, worker.queues)
        await prepare_subscriptions(base, {(each.options.group, each.topic) for each in worker.subscriptions})
        runtime = WorkerRuntime(worker, base.log, base.topics, base.clock)
        async with (
            running(engine(base, Registry([])).run(), "engine"),
            running(runtime.run(), "worker"),
            Producer(settings) as producer,
        ):
            out_of_process = await use(producer.publish, producer.request)
    assert in_process == out_of_process == [Price(cents=301), ("pack", 2), ("post", 2)]
