"""Traces pass through a worker, one short span per handled command; payloads stay out of traces and logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from sagaline.orchestrator.tracing import Tracing
from sagaline.workers import Context, Worker

from ..worker_world import Pack, Packed, WorkerWorld, pack, worker_world

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider)


def worker() -> Worker:
    worker = Worker("packer")

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        structlog.get_logger().info("packing")
        current = trace.get_current_span().get_span_context()
        if command.item == "broken":
            raise LookupError("no box")
        return Packed(parcel=f"{current.span_id:016x}")

    return worker


async def test_a_handlers_span_hangs_below_its_command_and_above_its_reply(
    world: WorkerWorld, tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    async with world.running(worker(), tracing):
        (reply,) = await world.ask(world.command(traceparent=PARENT))
    span, sent = spans.get_finished_spans()
    assert (span.name, span.kind) == ("handle pack", SpanKind.CONSUMER)
    assert (sent.name, sent.kind) == ("reply pack", SpanKind.PRODUCER)
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, "b7ad6b7169203331")
    assert sent.context is not None
    assert sent.parent is not None
    assert sent.parent.span_id == span.context.span_id
    assert reply.traceparent == f"00-{TRACE}-{sent.context.span_id:016x}-01"
    assert getattr(reply, "reply", None) == {"parcel": f"{span.context.span_id:016x}"}, "it is the current span inside"
    assert span.attributes is not None
    assert span.attributes["sagaline.instance"] == "order/A"
    assert "book" not in str(dict(span.attributes))


async def test_a_failed_attempt_is_a_failed_span(
    world: WorkerWorld, tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    async with world.running(worker(), tracing):
        await world.ask(world.command(payload=Pack(item="broken"), traceparent=PARENT))
    span, sent = spans.get_finished_spans()
    assert sent.status.is_ok
    assert not span.status.is_ok
    assert span.status.description == "LookupError: no box"
    assert [event.name for event in span.events] == ["exception"]


async def test_what_a_handler_logs_names_instance_and_trace_and_no_payload(world: WorkerWorld) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with world.running(worker()):
            await world.ask(
                world.command("order/A", traceparent=PARENT), world.command("order/B", payload=b'{"item":1}')
            )
            await world.ask(world.command("order/C", payload=Pack(item="broken")))
    mine = [line for line in lines if line["event"] == "packing"]
    assert [(line["instance"], line["trace_id"]) for line in mine] == [("order/A", TRACE), ("order/C", None)]
    (failure,) = [line for line in lines if line["event"] == "worker.handler.failed"]
    assert (failure["instance"], failure["error"]) == ("order/C", "LookupError: no box")
    assert "book" not in str(lines)
