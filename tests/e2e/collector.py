"""A stand-in for an OpenTelemetry collector: it receives spans and counters by OTLP/HTTP on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@contextmanager
def collector() -> Iterator[tuple[str, list[Span], dict[str, int]]]:
    """An OTLP/HTTP endpoint on the loopback, the spans that it has received, and the last totals by name and labels."""
    spans: list[Span] = []
    totals: dict[str, int] = {}

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/metrics":
                for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for group in measured.scope_metrics:
                        totals.update(
                            (" ".join([m.name, *sorted(a.value.string_value for a in point.attributes)]), point.as_int)
                            for m in group.metrics
                            for point in m.sum.data_points
                        )
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
