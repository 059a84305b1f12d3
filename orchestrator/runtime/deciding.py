"""One batch at work: records and due timers in, one ``Batch`` for the log out. No IO and no clock in here.

What one message does stays with its own instance: a record that cannot be read goes to the dead letter topic, a
decision that cannot be stored puts its instance into attention, and the batch goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import structlog

from ...sagas.definition import AnyDefinition
from ..codec.commands import ReplyTo, encode_command
from ..codec.dead_letters import dead_letter
from ..codec.documents import decode_document, encode_document, encode_history
from ..codec.entities import decode_helper, encode_entity, encode_event, encode_helper
from ..codec.inputs import decode_input, encode_request
from ..codec.wire import BadRecord
from ..kernel import Limits, Registry, block, decide, decide_helper, is_helper
from ..messages.document import CauseKind, Document
from ..messages.entities import EventCame, Published, SetRules, table_name
from ..messages.helpers import Helper
from ..messages.history import HistoryRecord, SentCommand
from ..messages.inputs import Arrival, Message, Start, TimerFired
from ..messages.outputs import OVERDUE, Action, Answer, DeadLetter, Decision, Outcome, Publish, SendCommand, Tell
from ..messages.partitioning import partition_of
from ..ports.log import Batch, Outgoing, Owner, Position, Record
from ..ports.topics import Topics
from ..tracing import Span, SpanKind, Tracing, trace_id_of
from .documents import Documents
from .metrics import Metrics
from .timers import DueTimer

__all__ = ["BatchWork", "Deciding"]

_log = structlog.get_logger("sagaline.engine")
_DECIDED = {outcome: f"decisions.{outcome.value}" for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """What every batch of an engine is decided with. ``partitions``: of ``inputs``."""

    registry: Registry
    topics: Topics
    partitions: int
    limits: Limits
    tracing: Tracing
    metrics: Metrics
    max_value_bytes: int


class BatchWork:
    """The overlay of one batch over the committed documents; thrown away unless its commit is known to be made.

    Args:
        below: the batch whose commit is under way; this one lies on top of it and falls with it.
    """

    def __init__(self, setup: Deciding, owner: Owner, documents: Documents, below: BatchWork | None) -> None:
        self._setup, self._owner, self._documents = setup, owner, documents
        self._source = f"/{setup.topics.namespace}"
        self._offset, self._now_ms = owner.position if below is None else below.position
        self._below = {} if below is None else below.changed
        self.count = 0
        self.changed: dict[str, Document | Helper | None] = {}
        self._state: dict[bytes, bytes | None] = {}
        self._appends: list[Outgoing] = []
        self._spans: list[Span] = []
        self._counts: dict[str, int] = {}

    @property
    def position(self) -> Position:
        """Where its commit leaves the partition."""
        return Position(self._offset, self._now_ms)

    def tell(self, now_ms: int) -> None:
        """The wall clock for what is decided from here on; never less than before."""
        self._now_ms = max(self._now_ms, now_ms)

    def records(self, records: Iterable[Record]) -> None:
        """Decides what has arrived, in order."""
        for record in records:
            self.count += 1
            self._offset = record.offset + 1
            if record.key and partition_of(record.key, self._setup.partitions) != self._owner.partition:
                self._forward(record)
                continue
            try:
                message = decode_input(record)
                entity = self._entity(message.instance)
            except BadRecord as error:
                self._dead(record, str(error))
                continue
            self._decide(message, entity, record)

    def messages(self, messages: Iterable[Message]) -> None:
        """Decides messages that the owner itself has for its instances."""
        for message in messages:
            self.count += 1
            self._decide(message, self._entity(message.instance), None)

    def timers(self, timers: Iterable[DueTimer]) -> None:
        """Decides timers that are due and still set; what was decided since they were indexed may have cleared them."""
        for due_ms, instance, timer in timers:
            entity = self._entity(instance)
            if entity is None or entity.timers.get(timer) != due_ms:
                continue
            self.count += 1
            message = TimerFired(
                id=f"{instance}/{timer}/{due_ms}",
                instance=instance,
                timer=timer,
                due_ms=due_ms,
                traceparent=entity.traceparent if isinstance(entity, Document) else None,
            )
            self._decide(message, entity, None)

    def batch(self) -> Batch:
        """Everything decided so far, for one commit."""
        return Batch(self._state, self._appends, self.position)

    def committed(self) -> None:
        """The batch is visible: its spans end, its counts count."""
        for span in self._spans:
            span.end()
        for name, count in self._counts.items():
            self._setup.metrics.add(name, count)

    def _entity(self, instance: str) -> Document | Helper | None:
        if instance in self.changed:
            return self.changed[instance]
        if instance in self._below:
            return self._below[instance]
        cached = self._documents.get(instance)
        if cached is not None:
            return cached
        stored = self._owner.get(instance.encode())
        if stored is None:
            return None
        return decode_helper(stored) if is_helper(instance) else decode_document(stored)

    def _definition(self, message: Message, document: Document | None) -> AnyDefinition | None:
        if document is not None:
            return self._setup.registry.deciding(document)
        if isinstance(message, Start):
            return self._setup.registry.find(message.definition, message.version)
        if isinstance(message, EventCame):
            return self._setup.registry.find(message.instance.partition("/")[0])
        return None

    def _decide(self, message: Message, entity: Document | Helper | None, record: Record | None) -> None:
        arrival = Arrival(message=message, now_ms=self._now_ms)
        span = self._span(message)
        if is_helper(message.instance):
            self._help(arrival, None if isinstance(entity, Document) else entity, record, span)
            return
        document = entity if isinstance(entity, Document) else None
        try:
            decision = decide(self._definition(message, document), document, arrival, self._setup.limits)
        except Exception as error:
            trace_id = trace_id_of(message.traceparent)
            _log.exception("decide failed", instance=message.instance, trace_id=trace_id, message_id=message.id)
            text = f"the engine failed on this message: {type(error).__name__}: {error}; look at its log, then retry"
            decision = self._instead(document, arrival, CauseKind.CODE, text)
        self._store(decision, document, arrival, record, span)

    def _help(self, arrival: Arrival, helper: Helper | None, record: Record | None, span: Span) -> None:
        """A helper entity's decision: stored as an instance's is."""
        message, unfit = arrival.message, ""
        subscribers: tuple[str, ...] = ()
        if isinstance(message, Published):
            try:
                subscribers = self._setup.registry.subscribers(message)
            except Exception as error:  # the author's model or key function: the others still get the event
                unfit = f"no process manager can take it: {type(error).__name__}: {error}"
        branches = self._setup.registry.tables.get(table_name(message.instance), ())
        answer = decide_helper(helper, arrival, self._setup.limits, subscribers, branches)
        if unfit and record is not None:
            self._dead(record, unfit)
        encoded = encode_helper(answer.entity) if answer.entity is not None else None
        if encoded is not None and len(encoded) > self._setup.max_value_bytes:
            text = f"{arrival.message.instance} would have {len(encoded):,} bytes; release or publish under other keys"
            answer = Answer(entity=helper, outcome=Outcome.REFUSED, actions=(DeadLetter(reason=text),), reason=text)
        if answer.entity is not helper:
            self.changed[arrival.message.instance] = answer.entity
            self._state[arrival.message.instance.encode()] = encoded
        self._appends += self._outgoing(answer.actions, span)
        self._bury(answer.actions, record)
        if answer.outcome in (Outcome.APPLIED, Outcome.REFUSED) or isinstance(arrival.message, Published | SetRules):
            self._history(answer, arrival, record, span)
        self._count(_DECIDED[answer.outcome])

    def _span(self, message: Message) -> Span:
        tracing = self._setup.tracing
        if not tracing.enabled:
            return tracing.start("decide", message.traceparent)
        name, attributes = f"decide {type(message).__name__}", {"sagaline.instance": message.instance}
        span = tracing.start(name, message.traceparent, kind=SpanKind.CONSUMER, attributes=attributes)
        self._spans.append(span)
        return span

    def _instead(self, document: Document | None, arrival: Arrival, kind: CauseKind, text: str) -> Decision:
        """The answer when the decision itself cannot be used."""
        if document is None or document.status.is_final:
            letter = (DeadLetter(reason=text),)
            return Decision(document=document, outcome=Outcome.REFUSED, actions=letter, reason=text)
        return block(document, arrival, kind, text)

    def _store(
        self, decision: Decision, before: Document | None, arrival: Arrival, record: Record | None, span: Span
    ) -> None:
        instance = arrival.message.instance
        after = decision.document
        encoded = encode_document(after) if after is not None and after is not before else None
        if encoded is not None and len(encoded) > self._setup.limits.document_bytes:
            text = (
                f"the document would have {len(encoded):,} bytes, the limit is "
                f"{self._setup.limits.document_bytes:,}; keep references instead of contents, then retry"
            )
            decision = self._instead(before, arrival, CauseKind.TOO_LARGE, text)
            after = decision.document
            encoded = encode_document(after) if after is not None and after is not before else None
        outgoing = self._outgoing(decision.actions, span)
        largest = max((len(out.value or b"") for out in outgoing), default=0)
        if largest > self._setup.max_value_bytes:
            text = (
                f"a message to another instance would have {largest:,} bytes, the limit is "
                f"{self._setup.max_value_bytes:,}; pass references instead of contents, then retry"
            )
            decision = self._instead(before, arrival, CauseKind.TOO_LARGE, text)
            after, outgoing = decision.document, self._outgoing(decision.actions, span)
            encoded = encode_document(after) if after is not None and after is not before else None
        if after is not before:
            self.changed[instance] = after
            self._state[instance.encode()] = encoded
        self._appends += outgoing
        self._bury(decision.actions, record)
        if after is not None and after.attention is not None and (before is None or before.attention is None):
            trace_id, attention = trace_id_of(span.traceparent), after.attention
            _log.warning("attention", instance=instance, trace_id=trace_id, kind=attention.kind, step=attention.step)
        if before is not None or after is not None or decision.outcome is not Outcome.IGNORED:
            self._history(decision, arrival, record, span)
        self._count(_DECIDED[decision.outcome])
        for change in decision.changes:
            if change.what == OVERDUE:
                self._count("steps.overdue")
        if self._setup.tracing.enabled:
            status = after.status.value if after else ""
            span.set({"sagaline.outcome": decision.outcome.value, "sagaline.status": status})

    def _outgoing(self, actions: Sequence[Action], span: Span) -> list[Outgoing]:
        """The records of what a decision sends."""
        found: list[Outgoing] = []
        inputs, now_ms, traceparent = self._setup.topics.inputs, self._now_ms, span.traceparent
        for action in actions:
            match action:
                case SendCommand():
                    reply_to = ReplyTo(topic=inputs, partition=self._owner.partition)
                    topic = self._setup.topics.commands(action.queue)
                    found.append(
                        encode_command(
                            topic, action, reply_to, source=self._source, now_ms=now_ms, traceparent=traceparent
                        )
                    )
                case Tell(message=Start() as start):
                    child = replace(start, traceparent=traceparent)
                    found.append(encode_request(inputs, child, source=self._source, now_ms=now_ms))
                case Tell(message=message):
                    found.append(
                        encode_entity(inputs, message, source=self._source, now_ms=now_ms, traceparent=traceparent)
                    )
                case Publish(event=event):
                    at, topic = self._owner.partition, self._setup.topics.events
                    found.append(encode_event(topic, event, at, source=self._source, now_ms=now_ms))
                case DeadLetter():
                    pass
                case _:
                    assert_never(action)
        return found

    def _bury(self, actions: Sequence[Action], record: Record | None) -> None:
        for action in actions:
            if isinstance(action, DeadLetter) and record is not None:
                self._dead(record, action.reason)

    def _history(self, decision: Decision | Answer, arrival: Arrival, record: Record | None, span: Span) -> None:
        message = arrival.message
        after = decision.document if isinstance(decision, Decision) else decision.entity
        entry = HistoryRecord(
            instance=message.instance,
            revision=after.revision if after else 0,
            at_ms=self._now_ms,
            outcome=decision.outcome,
            status=after.status if isinstance(after, Document) else None,
            message=message,
            changes=decision.changes if isinstance(decision, Decision) else (),
            sent=tuple(
                SentCommand(id=action.id, contract=action.contract, queue=action.queue)
                for action in decision.actions
                if isinstance(action, SendCommand)
            ),
            reason=decision.reason,
            traceparent=span.traceparent,
        )
        place = f"{self._owner.partition}/{record.offset}" if record else message.id
        encoded = self._encode_history(entry, place, message.id)
        if len(encoded.value or b"") > self._setup.max_value_bytes:
            too_large = replace(entry, message=None, reason=f"{entry.reason} (the message was too large to be kept)")
            encoded = self._encode_history(too_large, place, message.id)
        self._appends.append(encoded)

    def _encode_history(self, entry: HistoryRecord, place: str, request: str) -> Outgoing:
        return encode_history(
            self._setup.topics.history, self._owner.partition, entry, id=place, request=request, source=self._source
        )

    def _forward(self, record: Record) -> None:
        """A record that another partition owns is sent there, in the same commit, and counted."""
        self._appends.append(Outgoing(record.topic, record.key, record.value, record.headers))
        self._count("inputs.forwarded")

    def _dead(self, record: Record, reason: str) -> None:
        key = (record.key or b"").decode(errors="replace")
        place = f"{record.topic}/{record.partition}/{record.offset}"
        _log.warning("dead letter", instance=key, place=place, reason=reason)
        self._appends.append(dead_letter(self._setup.topics.dead, self._owner.partition, record, reason))
        self._count("inputs.dead")

    def _count(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
