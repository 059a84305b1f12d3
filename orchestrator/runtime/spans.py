"""The spans of an engine: one per decision, one per message sent, one per run.

No message content can make it fail: a span gets only values that the message's type guarantees.
"""

from __future__ import annotations

from dataclasses import replace

from ..kernel import names_instance, runs_again
from ..messages.document import Document
from ..messages.entities import Entity
from ..messages.entity_messages import EventDelivered, Published
from ..messages.inputs import Act, Arrival, Completed, Failed, Heartbeat, Message, Rejected, Start, TimerFired
from ..messages.outputs import SendCommand, incarnation_of, place_named
from ..ports.log import Record
from ..tracing import Fact, Span
from .setup import Deciding

__all__ = ["Spans"]


class Spans:
    """Begins spans for the decisions of one partition.

    Args:
        setup: tracing, and the names of topics.
        partition: of the decisions.
    """

    def __init__(self, setup: Deciding, partition: int) -> None:
        self._tracing, self._topics, self._partition = setup.tracing, setup.topics, partition
        self._registry = setup.registry

    @property
    def enabled(self) -> bool:
        return self._tracing.enabled

    def traced(self, arrival: Arrival, entity: Document | Entity | None) -> Arrival:
        """The arrival; a message that begins an instance without a trace begins a trace."""
        message = arrival.message
        entity = self._before(entity, message)
        if entity is None and message.traceparent is None and isinstance(message, Start | EventDelivered):
            begun = self._tracing.begins(message.instance, _incarnation(message, arrival.now_ms))
            return replace(arrival, message=replace(message, traceparent=begun))
        return arrival

    def decision(self, arrival: Arrival, record: Record | None, entity: Document | Entity | None) -> Span:
        """The span of a decision. About an instance: in its trace, with a link to its cause. About another entity: in
        the trace of the message.
        """
        message, tracing = arrival.message, self._tracing
        entity = self._before(entity, message)
        if isinstance(entity, Document):
            parent = tracing.run(entity.id, entity.incarnation, entity.traceparent)
        elif entity is None and isinstance(message, Start | EventDelivered):
            incarnation = _incarnation(message, arrival.now_ms)
            parent = tracing.run(message.instance, incarnation, message.traceparent)
        else:
            parent = message.traceparent
        if not tracing.enabled:
            return tracing.start("", parent)
        what, facts = type(message).__name__, _facts(message)
        # The message that began the run is its parent already.
        cause = (
            None if isinstance(entity, Document) and message.traceparent == entity.traceparent else message.traceparent
        )
        if isinstance(message, TimerFired) or record is None:
            attributes = {name: value for name, value in facts if value is not None}
            return tracing.start(f"decide {what}", parent, attributes=attributes, cause=cause)
        facts += [
            ("messaging.message.id", message.id),
            ("messaging.kafka.message.key", message.instance),
            ("messaging.kafka.offset", record.offset),
            ("messaging.destination.partition.id", str(self._partition)),
        ]
        return tracing.message("decide", what, parent, self._topics.inputs, facts, cause=cause)

    def placeholder(self) -> Span:
        """For a decision that is made before its time: what is written holds a trace of the same length."""
        return Span(None, f"00-{'0' * 32}-{'0' * 16}-00" if self.enabled else None)

    def command(self, command: SendCommand, parent: Span) -> Span:
        """The span of a command that is sent."""
        if not self._tracing.enabled:
            return parent
        facts: list[Fact] = [
            *_about(command.instance),
            ("sagaline.step", command.step),
            ("sagaline.contract", command.contract),
            ("sagaline.queue", command.queue),
            ("sagaline.attempt", command.attempt),
            ("sagaline.undo", command.undo),
            ("messaging.message.id", command.id),
            ("messaging.kafka.message.key", command.instance),
            ("messaging.destination.partition.id", str(self._partition)),
        ]
        topic = self._topics.commands(command.queue)
        return self._tracing.message("send", command.contract, parent.traceparent, topic, facts)

    def event(self, event: Published, parent: Span, *, leaves: bool) -> Span:
        """The span of an event that is sent to its mailbox, or with ``leaves`` to the topic of events."""
        if not self._tracing.enabled:
            return parent
        facts: list[Fact] = [
            ("sagaline.event", event.event),
            ("messaging.message.id", event.id),
            ("messaging.kafka.message.key", event.key if leaves else event.instance),
        ]
        topic = self._topics.events if leaves else self._topics.inputs
        return self._tracing.message("publish", event.event, parent.traceparent, topic, facts)

    def run(self, after: Document) -> Span | None:
        """The span of the whole run, which a decision has ended."""
        return self._tracing.ran(
            f"run {after.definition}",
            after.id,
            after.incarnation,
            after.traceparent,
            began_ms=after.created_ms,
            attributes={
                "sagaline.instance": after.id,
                "sagaline.definition": after.definition,
                "sagaline.version": after.version,
                "sagaline.outcome": after.status.value,
            },
        )

    def _before(self, entity: Document | Entity | None, message: Message) -> Document | Entity | None:
        """None for a message that begins a run: it has a trace of its own."""
        if not isinstance(entity, Document) or not entity.status.is_final:
            return entity
        return None if runs_again(self._registry.deciding(entity, message), entity, message) else entity


def _incarnation(message: Start | EventDelivered, now_ms: int) -> str:
    return incarnation_of(message.id if isinstance(message, Start) else message.event_id, now_ms)


def _about(instance: str) -> list[Fact]:
    definition = instance.partition("/")[0] if names_instance(instance) else None
    return [("sagaline.instance", instance), ("sagaline.definition", definition)]


def _facts(message: Message) -> list[Fact]:
    facts = _about(message.instance)
    match message:
        case Completed() | Rejected() | Failed() | Heartbeat():
            step = place_named(message.instance, message.command_id)
            facts += [("sagaline.step", step), ("sagaline.reply", message.kind)]
        case TimerFired():
            facts.append(("sagaline.timer", message.timer))
        case Act():
            facts += [("sagaline.act", message.act.value), ("sagaline.step", message.step or None)]
        case EventDelivered() | Published():
            facts.append(("sagaline.event", message.event))
        case _:
            pass
    return facts
