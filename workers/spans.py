"""The spans of a worker: one per handled command, and one per reply until that is durable. No payload in them."""

from __future__ import annotations

from ..orchestrator.messages.inputs import Failed, Rejected, Reply
from ..orchestrator.messages.outputs import place_named
from ..orchestrator.tracing import Fact, Span, Tracing
from .work import Work

__all__ = ["WorkerSpans"]


class WorkerSpans:
    """Begins and ends the spans of one worker."""

    def __init__(self, worker: str, tracing: Tracing) -> None:
        self._worker, self._tracing = worker, tracing

    def handles(self, work: Work) -> Span:
        """Of a handler that begins; what it was told before, if it runs anew, is over."""
        for span in (work.span, work.sending):
            if span is not None:
                span.end()
        work.sending = None
        command, record = work.command, work.record
        if not self._tracing.enabled:
            return self._tracing.start("", command.traceparent)
        facts: list[Fact] = [
            *_about(work),
            ("sagaline.effect_key", command.effect_key),
            ("sagaline.worker", self._worker),
            ("messaging.message.id", command.id),
            ("messaging.kafka.message.key", _text(record.key)),
            ("messaging.kafka.offset", record.offset),
            ("messaging.destination.partition.id", str(record.partition)),
        ]
        return self._tracing.message("handle", command.contract, command.traceparent, record.topic, facts)

    def replies(self, work: Work) -> str | None:
        """The context that the reply to ``work`` carries: of a span below the handler's, begun at the first call."""
        command, to = work.command, work.command.reply_to
        if to is None or not self._tracing.enabled:
            return command.traceparent
        if work.sending is None:
            facts: list[Fact] = [
                *_about(work),
                ("messaging.message.id", f"{command.id}/reply"),
                ("messaging.kafka.message.key", command.instance),
                ("messaging.destination.partition.id", str(to.partition)),
            ]
            parent = work.span.traceparent if work.span is not None else command.traceparent
            work.sending = self._tracing.message("reply", command.contract, parent, to.topic, facts)
        return work.sending.traceparent

    def handled(self, work: Work, reply: Reply | None) -> None:
        """The handler's span ends. A business rejection is an outcome and no error; None: it is answered later."""
        if work.span is None or not self._tracing.enabled:
            return
        work.span.set({"sagaline.outcome": reply.kind if reply is not None else "answer-later"})
        if isinstance(reply, Rejected):
            work.span.set({"sagaline.code": reply.code})
        work.span.end(reply.error if isinstance(reply, Failed) else None)


def _about(work: Work) -> list[Fact]:
    command = work.command
    return [
        ("sagaline.instance", command.instance),
        ("sagaline.definition", command.instance.partition("/")[0]),
        ("sagaline.step", place_named(command.instance, command.effect_key)),
        ("sagaline.contract", command.contract),
        ("sagaline.queue", work.handler.contract.queue if work.handler is not None else None),
        ("sagaline.attempt", command.attempt),
        ("sagaline.undo", command.undo),
    ]


def _text(key: bytes | None) -> str | None:
    return key.decode(errors="replace") if key is not None else None
