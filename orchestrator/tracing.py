"""Spans and W3C trace context: short spans of requests, decisions, messages and handlers, and one span per run.

- All spans of an instance belong to the trace of its start, below the span of its run. That span's id is derived from
  the instance and its incarnation, so that its children know it from the first decision; it is exported at the end.
- Any other cause of a span is a link: another trace, or the message that came.
- Without a provider nothing is recorded, but contexts are passed on, so that logs and ``saga show`` can be correlated.

Sources: W3C Trace Context, level 1; OpenTelemetry semantic conventions for HTTP and for messaging.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from .messages.texts import NOTHING_HIDDEN, Hidden, said, trace_of

__all__ = [
    "SCOPE",
    "Attributes",
    "Fact",
    "Span",
    "SpanKind",
    "Tracing",
    "fresh_traceparent",
    "scope_version",
    "trace_id_of",
]

SCOPE = "sagaline"
Attributes = Mapping[str, str | int | bool]
Fact = tuple[str, str | int | bool | None]
"""An attribute that is left out where it is None."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NOTHING = nullcontext()
_TRACE_CHARS = 8_000
_OPERATIONS = {"handle": "process", "decide": "process"}
"""The operation types of the conventions; all others are ``send``."""


def scope_version() -> str:
    """Of this library, as spans and metrics say it."""
    return version(SCOPE)


def trace_id_of(traceparent: str | None) -> str | None:
    """The 32 hex digits of the trace id; None when there is no valid one."""
    context = _parse(traceparent)
    return format(context.trace_id, "032x") if context else None


def fresh_traceparent(new_id: str) -> str:
    """A new, unsampled trace from 32 hex digits of the Clock's ``new_id``."""
    return f"00-{new_id}-{new_id[16:]}-00"


class Span:
    """A started span; end it once. ``traceparent``: for messages that are sent inside it."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span | None, traceparent: str | None) -> None:
        self._span, self.traceparent = span, traceparent

    def set(self, attributes: Attributes) -> None:
        if self._span is not None:
            self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def link(self, traceparent: str | None) -> None:
        """Links to a span of another trace, if there is one. A span of the same trace needs no link."""
        context = _parse(traceparent)
        if self._span is not None and context is not None and context.trace_id != self._trace_id:
            self._span.add_link(context)

    def raised(self, error: BaseException, hidden: Hidden = NOTHING_HIDDEN) -> None:
        """Records an exception with its traceback, without the texts that are ``hidden``."""
        if self._span is not None:
            facts = {
                "exception.type": type(error).__qualname__,
                "exception.message": said(error, hidden),
                "exception.stacktrace": trace_of(error, _TRACE_CHARS, hidden=hidden),
                "exception.escaped": "False",
            }
            self._span.add_event("exception", facts)

    def failed(self, error: str) -> None:
        """Marks it failed."""
        if self._span is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))

    def end(self, error: str | None = None) -> None:
        """Ends and exports it; with ``error`` it is marked failed."""
        if self._span is not None:
            if error is not None:
                self.failed(error)
            self._span.end()

    def enter(self) -> None:
        """As ``active``, to the end of the current ``contextvars.Context``: for code that runs in one of its own."""
        if self._span is not None:
            attach(trace.set_span_in_context(self._span))

    def active(self) -> AbstractContextManager[object]:
        """Makes it the current span, so that the spans of a handler's own libraries become its children."""
        if self._span is None:
            return _NOTHING
        # Only the code that ends the span knows whether an exception is an error.
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    @property
    def _trace_id(self) -> int:
        return self._span.get_span_context().trace_id if self._span is not None else 0


class Tracing:
    """Starts spans.

    Args:
        provider: None: nothing is recorded, contexts are passed on unchanged.
        system: what carries messages, ``kafka`` or ``sqlite``.
    """

    def __init__(self, provider: trace.TracerProvider | None = None, *, system: str = "sqlite") -> None:
        self._tracer, self._system = None if provider is None else provider.get_tracer(SCOPE, scope_version()), system
        if isinstance(self._tracer, Tracer):
            self._tracer.id_generator = _RunIds(self._tracer.id_generator)

    @property
    def enabled(self) -> bool:
        return self._tracer is not None

    def parent(self, given: str | None, new_id: Callable[[], str]) -> str | None:
        """The parent of a caller's request: what it has given if that is valid, else a new trace for the message. None:
        the request's own span begins the trace.
        """
        if trace_id_of(given) is not None:
            return given
        return None if self.enabled else fresh_traceparent(new_id())

    def start(
        self,
        name: str,
        parent: str | None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        cause: str | None = None,
    ) -> Span:
        """A new span below ``parent`` (a traceparent; None or malformed: a new trace), with a link to its ``cause``."""
        if self._tracer is None:
            return Span(None, parent)
        links = [] if cause is None or cause == parent else [Link(at) for at in (_parse(cause),) if at is not None]
        span = self._tracer.start_span(name, _below(_parse(parent)), kind=kind, attributes=attributes, links=links)
        return Span(span, _traceparent(span.get_span_context()))

    def message(
        self,
        operation: str,
        what: str,
        parent: str | None,
        destination: str,
        attributes: Iterable[Fact],
        *,
        cause: str | None = None,
    ) -> Span:
        """A span about one message: of its producer, or of its consumer when ``operation`` processes.

        Args:
            operation: ``send``, ``publish``, ``request`` or ``reply``; ``handle`` or ``decide``.
            what: the contract, the event or the kind of message; of few distinct values.
            parent: as ``start``.
            destination: the topic.
            attributes: additional ones; None values are omitted.
            cause: as ``start``.
        """
        if self._tracer is None:
            return Span(None, parent)
        known: dict[str, str | int | bool] = {
            "messaging.system": self._system,
            "messaging.destination.name": destination,
            "messaging.operation.name": operation,
            "messaging.operation.type": _OPERATIONS.get(operation, "send"),
        }
        known.update((name, value) for name, value in attributes if value is not None)
        kind = SpanKind.CONSUMER if operation in _OPERATIONS else SpanKind.PRODUCER
        return self.start(f"{operation} {what}", parent, kind=kind, attributes=known, cause=cause)

    # The span of a whole run

    def begins(self, instance: str, incarnation: str) -> str:
        """The trace of a run whose start had none: a traceparent of the run's own span."""
        trace_id, span_id = _ids_of(instance, incarnation)
        sampled = False
        if isinstance(self._tracer, Tracer):
            decision = self._tracer.sampler.should_sample(None, trace_id, "run").decision
            sampled = decision is Decision.RECORD_AND_SAMPLE
        return f"00-{trace_id:032x}-{span_id:016x}-{int(sampled):02x}"

    def run(self, instance: str, incarnation: str, start: str | None) -> str | None:
        """The parent of a run's spans: the run's own span, in the trace and with the sampling of ``start``."""
        if self._tracer is None or start is None or _parse(start) is None:
            return start
        return f"{start[:36]}{_ids_of(instance, incarnation)[1]:016x}{start[52:]}"

    def ran(
        self, name: str, instance: str, incarnation: str, start: str | None, *, began_ms: int, attributes: Attributes
    ) -> Span | None:
        """The span of a whole run, to be ended now; None: it is not recorded.

        Args:
            name: of the span.
            instance: of the run.
            incarnation: of the run.
            start: the traceparent in its document.
            began_ms: milliseconds since epoch.
            attributes: of the span.
        """
        if not isinstance(self._tracer, Tracer):
            return None
        trace_id, span_id = _ids_of(instance, incarnation)
        parent = _parse(start)
        if parent is not None and parent.span_id == span_id:  # the run's span is the root
            if not parent.trace_flags.sampled:
                return None
            trace_id, parent = parent.trace_id, None
        with _RunIds.fixed(trace_id, span_id):
            begun = self._tracer.start_span(
                name, _below(parent), attributes=attributes, start_time=began_ms * 1_000_000
            )
        return Span(begun, _traceparent(begun.get_span_context()))


class _RunIds(IdGenerator):
    """Random ids, but inside ``fixed`` the given ones: the SDK has no other way to set an id."""

    _fixed: ContextVar[tuple[int, int] | None] = ContextVar("sagaline_run_ids", default=None)

    def __init__(self, random: IdGenerator) -> None:
        self._random = random

    @classmethod
    @contextmanager
    def fixed(cls, trace_id: int, span_id: int) -> Iterator[None]:
        token = cls._fixed.set((trace_id, span_id))
        try:
            yield
        finally:
            cls._fixed.reset(token)

    def is_trace_id_random(self) -> bool:
        return bool(getattr(self._random, "is_trace_id_random", bool)())  # not known to the oldest SDK

    def generate_trace_id(self) -> int:
        ids = self._fixed.get()
        return ids[0] if ids is not None else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        ids = self._fixed.get()
        return ids[1] if ids is not None else self._random.generate_span_id()


def _ids_of(instance: str, incarnation: str) -> tuple[int, int]:
    """Trace id and span id of a run, the same in every process; neither is ever zero."""
    digest = hashlib.sha256(f"{instance}~{incarnation}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


def _parse(traceparent: str | None) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def _traceparent(here: SpanContext) -> str:
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{int(here.trace_flags):02x}"


def _below(parent: SpanContext | None) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(parent)) if parent else Context()
