"""Keeps the spans of this process for the report, and draws one trace as a tree."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import format_trace_id
from rich.text import Text
from rich.tree import Tree

__all__ = ["SpanMemory", "draw"]

_SPANS_MAX = 100_000
_SHOWN = {
    "sagaline.attempt": "attempt {}",
    "sagaline.outcome": "{}",
    "sagaline.status": "→ {}",
    "http.response.status_code": "{}",
}


class SpanMemory(SpanProcessor):
    """Keeps the newest spans that have ended."""

    def __init__(self) -> None:
        self._ended: deque[ReadableSpan] = deque(maxlen=_SPANS_MAX)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Does nothing: spans are kept when they end."""

    def on_end(self, span: ReadableSpan) -> None:
        self._ended.append(span)

    def of_trace(self, trace_id: str) -> list[ReadableSpan]:
        """The spans of a trace (32 hex digits), oldest start first."""
        found = [span for span in self._ended if format_trace_id(_context(span)[0]) == trace_id]
        return sorted(found, key=lambda span: span.start_time or 0)


def draw(trace_id: str, spans: Iterable[ReadableSpan]) -> Tree:
    """The spans as a tree by parent; a span with an unknown parent is a child of the root."""
    ordered = list(spans)
    known = {_context(span)[1] for span in ordered}
    children: dict[int, list[ReadableSpan]] = defaultdict(list)
    for span in ordered:
        parent = span.parent.span_id if span.parent is not None else 0
        children[parent if parent in known else 0].append(span)
    start_ns = ordered[0].start_time or 0 if ordered else 0
    tree = Tree(Text(f"trace {trace_id}", style="bold"), guide_style="dim")
    waiting = [(tree, span) for span in reversed(children[0])]
    while waiting:
        branch, span = waiting.pop()
        below = branch.add(_label(span, start_ns))
        waiting += [(below, child) for child in reversed(children[_context(span)[1]])]
    return tree


def _label(span: ReadableSpan, start_ns: int) -> Text:
    begun_ms = ((span.start_time or 0) - start_ns) / 1e6
    lasted_ms = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    attributes = span.attributes or {}
    facts = [text.format(attributes[name]) for name, text in _SHOWN.items() if attributes.get(name) not in (None, "")]
    if attributes.get("sagaline.undo"):
        facts.insert(0, "undo")
    label = Text(span.name, style="cyan")
    label.append(f"  +{begun_ms:.0f} ms, {lasted_ms:.1f} ms", style="dim")
    if facts:
        label.append(f"  {' '.join(facts)}")
    return label


def _context(span: ReadableSpan) -> tuple[int, int]:
    context = span.context
    return (context.trace_id, context.span_id) if context is not None else (0, 0)
