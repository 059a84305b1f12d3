"""One run, one trace: through an event, an answer, an act, a child and a restart of every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from pydantic import BaseModel

from sagaline.orchestrator.client import OnStep
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.errors import TransientError, UnknownInstance
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.inputs import ActName, Start
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas import Contract, Event, Rejected, Saga, step
from sagaline.sagas.nodes import ask, emit, expect, run, wait
from sagaline.workers import Context, Worker
from sagaline.workers.runtime import WorkerRuntime

from .stack import Stack, running, stack

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTHER = "0af7651916cd43dd8448eb211c80319c"
PATIENCE_SECONDS = 40.0


class Pack(BaseModel):
    sku: str = "book"


class Packed(BaseModel):
    parcel: str


class Paid(BaseModel):
    cents: int = 5


class Approval(BaseModel):
    yes: bool


class Order(BaseModel):
    sku: str = "book"
    packed: Packed | None = None
    paid: Paid | None = None
    approval: Approval | None = None


pack = Contract("pack", Pack, Packed, queue="packing")
unpack = Contract("unpack", Pack, Packed, queue="packing")
charge = Contract("charge", Pack, Packed, queue="packing")
paid = Event("paid", Paid, keep=timedelta(days=1))
packed = Event("packed", Paid, keep=timedelta(days=1))


@step(pack, into="packed")
def packing(s: Order) -> Pack:
    return Pack(sku=s.sku)


@packing.undo(unpack)
def unpacking(s: Order) -> Pack:
    return Pack(sku=s.sku)


@step(charge)
def charging(s: Order) -> Pack:
    return Pack(sku=s.sku)


payment = wait(expect(paid, key=lambda s: s.sku, into="paid"), timeout=timedelta(days=30))
approval = ask(
    "approval", Approval, question=lambda s: "Well?", who=lambda s: ["ann"], into="approval", due=timedelta(days=3)
)
child = Saga("parcel", Order, flow=[packing])
order = Saga("order", Order, flow=[packing, payment, approval, run(child, lambda s: Order())])
refused = Saga("refused", Order, flow=[packing, charging])
herald = Saga("herald", Order, flow=[emit(paid, lambda s: Paid(), key=lambda s: s.sku)])
REGISTRY = Registry([order, child, refused, herald])


def worker() -> Worker:
    worker = Worker("packer")

    @worker.handles(pack)
    async def do(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel="p-1")

    @worker.handles(unpack)
    async def undo(command: Pack, ctx: Context) -> Packed:
        return Packed(parcel="p-1")

    @worker.handles(charge)
    async def no(command: Pack, ctx: Context) -> Packed:
        raise Rejected("no funds", code="no-funds")

    return worker


class Traced:
    """What is exported, over several lives of the processes."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = provider or TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def of(self, instance: str) -> list[ReadableSpan]:
        return [span for span in self.spans if (span.attributes or {}).get("sagaline.instance") == instance]


@asynccontextmanager
async def system(folder: Path, traced: Traced) -> AsyncIterator[Stack]:
    """Engine, client and worker; each entering of it is a process of its own."""
    tracing = Tracing(traced.provider)
    async with stack(folder, registry=REGISTRY, tracing=tracing) as up:
        runtime = WorkerRuntime(worker(), up.log, up.topics, up.parts.clock, tracing)
        async with running(runtime.run()):
            yield up


async def until(up: Stack, instance: str, reached: Callable[[Document], bool]) -> Document:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(UnknownInstance, TransientError):
                if reached(document := await up.client.get(instance)):
                    return document
            await asyncio.sleep(0.02)


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def links_of(span: ReadableSpan) -> list[str]:
    return [f"{link.context.trace_id:032x}" for link in span.links]


async def test_a_run_is_one_trace_through_an_event_an_answer_a_child_and_a_restart(tmp_path: Path) -> None:
    traced = Traced()
    async with system(tmp_path, traced) as up:
        started = await up.client.start(order, Order(), key="A", traceparent=f"00-{TRACE}-{CALLER}-01")
        await until(up, "order/A", lambda d: "wait-paid" in d.steps)
    async with system(tmp_path, traced) as up:
        await up.client.publish(paid, Paid(), key="book", traceparent=f"00-{OTHER}-{CALLER}-01")
        await until(up, "order/A", lambda d: "approval" in d.steps)
    async with system(tmp_path, traced) as up:
        acted = await up.client.act("order/A", ActName.ANSWER, by="ann", on=OnStep("approval", {"yes": True}))
        await until(up, "order/A", lambda d: d.status is Status.COMPLETED)
    assert started.trace_id == acted.trace_id == TRACE
    below = next(span.attributes or {} for span in traced.spans if span.name == "run parcel")["sagaline.instance"]
    decided = [span for span in (*traced.of("order/A"), *traced.of(str(below))) if not span.name.startswith("request")]
    assert {trace_of(span) for span in decided} == {TRACE}
    ours = [span for span in traced.spans if trace_of(span) == TRACE]
    ids = {id_of(span) for span in ours}
    above = [span.name for span in ours if span.parent is None or f"{span.parent.span_id:016x}" not in ids]
    assert above == ["request start"], "a tree with one root, which the caller is above"
    assert len(ids) == len(ours), "each span is exported once"
    run, event, answer = traced.named("run order"), traced.named("decide EventDelivered"), traced.named("decide Act")
    for span in (event, answer):
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == id_of(run)
    assert links_of(event) == [OTHER], "who published it"
    asked = traced.named("request answer")
    assert links_of(answer) == [trace_of(asked)]
    assert links_of(asked) == [TRACE]
    published = next(span for span in traced.spans if span.name == "decide Published" and trace_of(span) == OTHER)
    assert links_of(published) == [TRACE], "who took it"
    assert run.parent is not None
    assert run.start_time is not None
    assert run.start_time <= min(span.start_time or 0 for span in decided) // 1_000_000 * 1_000_000
    assert (run.attributes or {})["sagaline.outcome"] == "completed"


async def test_an_event_that_was_kept_links_to_its_publisher_and_an_emit_is_in_its_runs_trace(tmp_path: Path) -> None:
    """Nobody waited when it was published."""
    traced = Traced()
    async with system(tmp_path, traced) as up:
        emitted = await up.client.start(herald, Order(), key="H")
        await until(up, "herald/H", lambda d: d.status is Status.COMPLETED)
        started = await up.client.start(order, Order(), key="A")
        await until(up, "order/A", lambda d: "approval" in d.steps)
    came = traced.named("decide EventDelivered")
    assert emitted.trace_id != started.trace_id
    assert (trace_of(came), links_of(came)) == (started.trace_id, [emitted.trace_id])
    producers = [span for span in traced.spans if span.name == "publish paid"]
    assert {trace_of(span) for span in producers} == {emitted.trace_id}
    assert {(span.attributes or {})["messaging.destination.name"] for span in producers} == {"t.inputs", "t.events"}


async def test_a_business_no_is_an_outcome_and_no_error_and_its_undo_is_in_the_trace(tmp_path: Path) -> None:
    traced = Traced()
    async with system(tmp_path, traced) as up:
        started = await up.client.start(refused, Order(), key="R")
        await until(up, "refused/R", lambda d: d.status is Status.COMPENSATED)
    no, undo, run = traced.named("handle charge"), traced.named("handle unpack"), traced.named("run refused")
    assert {trace_of(span) for span in (no, undo, run)} == {started.trace_id}
    assert no.attributes is not None
    assert undo.attributes is not None
    assert (no.attributes["sagaline.outcome"], no.attributes["sagaline.code"]) == ("rejected", "no-funds")
    assert [span.name for span in traced.spans if not span.status.is_ok] == []
    assert (undo.attributes["sagaline.undo"], undo.attributes["sagaline.step"]) == (True, "packing")
    assert (run.attributes or {})["sagaline.outcome"] == "compensated"


async def test_messages_are_described_as_the_conventions_ask(tmp_path: Path) -> None:
    """Producer and consumer of a command and of a reply, each below the other."""
    traced = Traced()
    async with system(tmp_path, traced) as up:
        await up.client.start(child, Order(), key="P")
        await until(up, "parcel/P", lambda d: d.status is Status.COMPLETED)
    send, handle, reply = traced.named("send pack"), traced.named("handle pack"), traced.named("reply pack")
    decide = traced.named("decide Completed")
    kinds = [span.kind for span in (send, handle, reply, decide)]
    assert kinds == [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.PRODUCER, SpanKind.CONSUMER]
    for below, above in ((handle, send), (reply, handle)):
        assert below.parent is not None
        assert f"{below.parent.span_id:016x}" == id_of(above)
    assert [f"{link.context.span_id:016x}" for link in decide.links] == [id_of(reply)]
    for span, topic, type in (
        (send, "t.commands.packing", "send"),
        (handle, "t.commands.packing", "process"),
        (reply, "t.inputs", "send"),
        (decide, "t.inputs", "process"),
    ):
        found = span.attributes or {}
        assert found["messaging.system"] == "sqlite"
        assert (found["messaging.destination.name"], found["messaging.operation.type"]) == (topic, type)
        assert found["messaging.operation.name"] == span.name.partition(" ")[0]
        assert found["messaging.kafka.message.key"] == found["sagaline.instance"] == "parcel/P"
        assert found["messaging.destination.partition.id"] in ("0", "1")
        assert (found["sagaline.definition"], found["sagaline.step"]) == ("parcel", "packing")
    for span in (send, handle, reply):
        found = span.attributes or {}
        assert (found["sagaline.contract"], found["sagaline.queue"], found["sagaline.attempt"]) == (
            "pack",
            "packing",
            1,
        )
        assert found["messaging.message.id"].startswith("parcel/P/packing~")  # type: ignore[union-attr]  # a text
    scopes = {
        (span.instrumentation_scope.name, bool(span.instrumentation_scope.version))
        for span in traced.spans
        if span.instrumentation_scope
    }
    assert scopes == {("sagaline", True)}


async def test_what_its_caller_does_not_sample_is_sampled_nowhere(tmp_path: Path) -> None:
    """Neither a decision nor the run; that of another caller is."""
    traced = Traced()
    async with system(tmp_path, traced) as up:
        await up.client.start(child, Order(), key="dark", traceparent=f"00-{TRACE}-{CALLER}-00")
        await up.client.start(child, Order(), key="light", traceparent=f"00-{OTHER}-{CALLER}-01")
        for key in ("dark", "light"):
            await until(up, f"parcel/{key}", lambda d: d.status is Status.COMPLETED)
    assert {trace_of(span) for span in traced.spans} == {OTHER}
    assert trace_of(traced.named("run parcel")) == OTHER


@pytest.mark.parametrize(("ratio", "seen"), [(1.0, True), (0.0, False)])
async def test_a_start_without_a_trace_begins_one_that_the_sampler_decides_once(
    tmp_path: Path, ratio: float, seen: bool
) -> None:
    """It is written to the log by somebody who knows no traces; its run is the root."""
    traced = Traced(TracerProvider(shutdown_on_exit=False, sampler=ParentBased(TraceIdRatioBased(ratio))))
    async with system(tmp_path, traced) as up:
        start = Start(id="s", definition="parcel", key="P", input={})
        await up.log.append([encode_request(up.topics.inputs, start, source="/go", now_ms=0)])
        document = await until(up, "parcel/P", lambda d: d.status is Status.COMPLETED)
    assert document.traceparent is not None
    assert document.traceparent.endswith("-01" if seen else "-00")
    ours = traced.of("parcel/P")
    assert {trace_of(span) for span in ours} == ({document.traceparent[3:35]} if seen else set())
    assert [span.name for span in ours if span.parent is None] == (["run parcel"] if seen else [])
