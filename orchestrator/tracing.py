"""Spans and W3C trace context: one short span per request, decision and handler, ended and exported on its own.

A trace is held together by ``traceparent`` alone; no span stays open while an instance waits. Without a tracer nothing
is recorded and the trace id still travels, so that logs and ``saga show`` can be joined.
Source of the format: W3C Trace Context, level 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

__all__ = ["Span", "SpanKind", "Tracing", "fresh_traceparent", "trace_id_of"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def trace_id_of(traceparent: str | None) -> str | None:
    """The 32 hex digits of the trace id; None when there is no valid one."""
    context = _parse(traceparent)
    return format(context.trace_id, "032x") if context else None


def fresh_traceparent(new_id: str) -> str:
    """A new, unsampled trace from 32 hex digits of the Clock's ``new_id``."""
    return f"00-{new_id}-{new_id[16:]}-00"


def _parse(traceparent: str | None) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


class Span:
    """A span that was begun; end it once. ``traceparent`` is what messages sent from inside it carry."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span | None, traceparent: str | None) -> None:
        self._span, self.traceparent = span, traceparent

    def set(self, attributes: Mapping[str, str | int | bool]) -> None:
        if self._span is not None:
            self._span.set_attributes(attributes)

    def end(self, error: str | None = None) -> None:
        """Ends and exports it; with ``error`` it is marked failed."""
        if self._span is not None:
            if error is not None:
                self._span.set_status(Status(StatusCode.ERROR, error))
            self._span.end()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes it the current span, so that the spans of a handler's own libraries become its children."""
        if self._span is None:
            yield
        else:
            with trace.use_span(self._span, end_on_exit=False):
                yield


class Tracing:
    """Starts spans. ``tracer`` None: nothing is recorded, contexts are passed on unchanged."""

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = tracer

    @property
    def enabled(self) -> bool:
        return self._tracer is not None

    def start(
        self,
        name: str,
        parent: str | None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, str | int | bool] | None = None,
    ) -> Span:
        """A new span below ``parent`` (a traceparent; None or malformed: a new trace)."""
        if self._tracer is None:
            return Span(None, parent)
        context = _parse(parent)
        above = trace.set_span_in_context(NonRecordingSpan(context)) if context else Context()
        span = self._tracer.start_span(name, above, kind=kind, attributes=attributes)
        here = span.get_span_context()
        return Span(span, f"00-{here.trace_id:032x}-{here.span_id:016x}-{int(here.trace_flags):02x}")
