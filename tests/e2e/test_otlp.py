"""Spans and counters leave a real process by OTLP/HTTP: an order arrives at a collector as one trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from .collector import collector
from .test_readme import PATIENCE_SECONDS, background, environment, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER = "0af7651916cd43dd8448eb211c80319c"
CALLER = "00f067aa0ba902b7"
ORDER = {"id": "A-1", "customer": "ann", "lines": [{"sku": "tea", "quantity": 1}], "total_cents": 100}
SAGA = "sagaline.sagas.examples.order_checkout:checkout"
WORKERS = "sagaline.workers.examples.order_checkout:order_workers()"


FLOW = """
from datetime import timedelta
from pydantic import BaseModel
from sagaline.sagas import Contract, Event, Saga, step
from sagaline.sagas.nodes import ask, expect, wait
from sagaline.workers import Worker

class Pack(BaseModel):
    sku: str

class Packed(BaseModel):
    parcel: str

class Paid(BaseModel):
    cents: int

class Yes(BaseModel):
    yes: bool

class Order(BaseModel):
    sku: str = "tea"
    packed: Packed | None = None
    yes: Yes | None = None

pack = Contract("pack", Pack, Packed, queue="packing")
paid = Event("paid", Paid, keep=timedelta(days=1))
pay = wait(expect(paid, key=lambda s: s.sku), timeout=timedelta(days=30))
approve = ask("approve", Yes, question=lambda s: "Well?", who=lambda s: ["ann"], into="yes", due=timedelta(days=3))

@step(pack, into="packed")
def packing(s: Order) -> Pack:
    return Pack(sku=s.sku)

order = Saga("order", Order, flow=[pay, approve, packing])
worker = Worker("packer")

@worker.handles(pack)
async def do(command, ctx):
    return Packed(parcel="p-1")
"""


def below_nothing(spans: list[Span]) -> None:
    """Fails for a span whose parent was not exported."""
    known = {span.span_id.hex() for span in spans} | {CALLER}
    assert [span.name for span in spans if span.parent_span_id.hex() not in known] == []


def test_a_checkout_arrives_at_the_collector_as_one_trace(tmp_path: Path) -> None:
    port = free_port()
    instance = f"http://127.0.0.1:{port}/v1/instances/order-checkout/A-1"
    with collector() as (endpoint, spans, totals):
        env = environment(SAGALINE_PORT=str(port), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        with background(["saga", "run", SAGA, "--worker", WORKERS, "--api"], tmp_path, env):
            httpx.post(
                f"http://127.0.0.1:{port}/v1/sagas/order-checkout",
                json={"key": "A-1", "input": {"order": ORDER}},
                headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
            ).raise_for_status()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while (seen := httpx.get(instance).json())["status"] != "completed":
                assert time.monotonic() < deadline, seen
        ours = [span for span in spans if span.trace_id.hex() == TRACE]
    assert totals["sagaline.decisions applied order-checkout"] == 5
    assert seen["trace_id"] == TRACE
    names = [span.name for span in ours]
    assert names.count("decide Start") == 1
    assert names.count("decide Completed") == 4
    for contract in ("reserve-stock", "charge-card", "book-carrier", "ship-order"):
        assert names.count(f"handle {contract}") == 1
    assert [span.name for span in ours if span.parent_span_id.hex() == CALLER] == ["POST /v1/sagas/{definition}"]
    assert names.count("run order-checkout") == 1
    below_nothing(ours)
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in ours)


def test_an_order_is_one_trace_through_an_event_an_answer_and_a_restart(tmp_path: Path) -> None:
    """Whoever published and answered has a trace of their own; links lead there and back."""
    (tmp_path / "flow.py").write_text(FLOW)
    port = free_port()
    api = f"http://127.0.0.1:{port}/v1"
    asking = {"traceparent": f"00-{OTHER}-{CALLER}-01"}

    def until(reached: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached(seen := httpx.get(f"{api}/instances/order/A-1").json()):
            assert time.monotonic() < deadline, seen

    with collector() as (endpoint, spans, _):
        env = environment(SAGALINE_PORT=str(port), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        command = ["saga", "run", "flow:order", "--worker", "flow:worker", "--api"]
        with background(command, tmp_path, env):
            httpx.post(
                f"{api}/sagas/order",
                json={"key": "A-1", "input": {}},
                headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
            ).raise_for_status()
            httpx.post(
                f"{api}/events/paid", json={"key": "tea", "body": {"cents": 5}}, headers=asking
            ).raise_for_status()
            until(lambda seen: "approve" in [each["name"] for each in seen["steps"]])
        with background(command, tmp_path, env):
            answer = {"by": "ann", "step": "approve", "value": {"yes": True}}
            httpx.post(f"{api}/instances/order/A-1/answer", json=answer, headers=asking).raise_for_status()
            until(lambda seen: seen["status"] == "completed")
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    names = [span.name for span in ours]
    expected = [
        "decide EventDelivered",
        "decide Act",
        "send pack",
        "handle pack",
        "reply pack",
        "decide Completed",
        "run order",
    ]
    assert [name for name in expected if names.count(name) != 1] == []
    below_nothing(ours)
    linked = {span.name: [link.trace_id.hex() for link in span.links] for span in spans}
    assert linked["decide EventDelivered"] == linked["decide Act"] == [OTHER]
    assert linked["decide Published"] == linked["request answer"] == [TRACE]
