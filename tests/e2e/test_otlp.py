"""Spans and counters leave a real process by OTLP/HTTP: a checkout arrives at a collector as one trace."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from .test_readme import PATIENCE_SECONDS, background, environment, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
ORDER = {"id": "A-1", "customer": "ann", "lines": [{"sku": "tea", "quantity": 1}], "total_cents": 100}
SAGA = "sagaline.sagas.examples.order_checkout:checkout"
WORKERS = "sagaline.workers.examples.order_checkout:order_workers()"


@contextmanager
def collector() -> Iterator[tuple[str, list[Span], dict[str, int]]]:
    """An OTLP/HTTP endpoint on the loopback, the spans that it has received, and the last total of each counter."""
    spans: list[Span] = []
    totals: dict[str, int] = {}

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/metrics":
                for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for group in measured.scope_metrics:
                        totals.update((m.name, m.sum.data_points[0].as_int) for m in group.metrics)
            else:
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans, totals
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
    assert totals["sagaline.decisions.applied"] == 5
    assert seen["trace_id"] == TRACE
    names = [span.name for span in ours]
    assert names.count("decide Start") == 1
    assert names.count("decide Completed") == 4
    for contract in ("reserve-stock", "charge-card", "book-carrier", "ship-order"):
        assert names.count(f"handle {contract}") == 1
    known = {span.span_id.hex() for span in ours} | {CALLER}
    assert [span.name for span in ours if span.parent_span_id.hex() not in known] == []
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in ours)
