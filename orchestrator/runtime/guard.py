"""The guard around one message: decodes, decides and encodes it, so that a failure affects only its own instance.

The result is written as a whole. If a step fails, the next one is tried:

1. The decision.
2. The instance is put into attention in its state before the message, with the reason. Without a live instance the
   message is denied and becomes a dead letter, and an entity that waits for its outcome is told.
3. The message is denied, and the instance does not change.
4. A dead letter, cut to fit, and a line in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ...sagas.definition import AnyDefinition
from ..codec.dead_letters import Why
from ..codec.documents import dated
from ..codec.inputs import decode_input
from ..codec.wire import BadRecord
from ..kernel import decide, decide_entity, decline, deny, deny_entity, names_instance, runs_again
from ..messages.document import Document
from ..messages.entities import Entity, Mailbox
from ..messages.entity_messages import EventDelivered, Published, table_name
from ..messages.inputs import Arrival, Message, Start, TimerFired
from ..messages.outputs import DeadLetter, Forward, Outcome
from ..messages.partitioning import partition_of
from ..messages.reasons import Reason, ReasonCode
from ..messages.texts import said, storable, trace_of
from ..ports.log import Record
from ..tracing import trace_id_of
from .destinations import Destination
from .setup import Deciding
from .spans import Spans
from .writes import Came, Unstorable, Writer, Writes, say

__all__ = ["Guard", "Ready", "Stored"]

_ERROR_CHARS, _DETAIL_CHARS = 1_000, 8_000
_READY_BYTES = 5_000
"""Memory of a decision that waits, beside the values of its records: with ten headers 4,500 were measured."""

Stored = Document | Entity | None


class Ready(NamedTuple):
    """The writes of a timer that is not due yet; the last of their records is that of the history.

    ``size_bytes``: of memory, about.
    """

    message: TimerFired
    writes: Writes
    size_bytes: int


class Guard:
    """Turns one message at a time into its writes. Never raises because of a message's content or effect.

    Args:
        setup: what decisions need.
        partition: of the owner.
        find: returns the current entity; raises BadRecord if its document cannot be read.
    """

    def __init__(self, setup: Deciding, partition: int, find: Callable[[str], Stored]) -> None:
        self._setup, self._partition, self._find = setup, partition, find
        self._spans = Spans(setup, partition)
        self._writer = Writer(setup, partition, self._spans)

    def record(self, record: Record, now_ms: int) -> Writes:
        """The writes of a record of ``inputs``."""
        try:
            if record.key and partition_of(record.key, self._setup.partitions) != self._partition:
                return self._writer.forward(record)
            message = decode_input(record, self._setup.max_value_bytes)
        except (BadRecord, Unstorable) as error:
            return self._writer.dead(record, Why(str(error), ReasonCode.UNREADABLE))
        except Exception as error:
            return self._writer.dead(record, Why(_failure(error, record.key), ReasonCode.ENGINE_FAILED))
        return self.message(message, record, now_ms)

    def message(self, message: Message, record: Record | None, now_ms: int) -> Writes:
        """The writes of a message, from a record or from the owner itself."""
        entity, fault = self._found(message.instance)
        arrival = self._spans.traced(Arrival(message=message, now_ms=now_ms), entity)
        came = Came(arrival, record, self._spans.decision(arrival, record, entity))
        writes = self._guarded(entity, fault, came)
        if self._spans.enabled:
            writes.spans.append(came.span)
        return writes

    def ahead(self, timer: TimerFired) -> Ready | None:
        """What a timer will do when it is due; None: it cannot be said now."""
        entity, _ = self._found(timer.instance)
        if entity is None or isinstance(entity, Document) or entity.timers.get(timer.timer) != timer.due_ms:
            return None
        arrival = Arrival(message=timer, now_ms=timer.due_ms)
        try:
            answer = decide_entity(entity, arrival, self._setup.limits)
            to = [Destination(each.topic, each.partition) for each in answer.actions if isinstance(each, Forward)]
            if answer.entity is not None or not self._can_reach(to):
                return None  # a document that stays may be large, and what cannot be forwarded may be by then
            writes = self._writer.answer(answer, entity, Came(arrival, None, self._spans.placeholder()))
        except Exception:
            return None  # it fails again when it is due
        if not writes.appends or writes.appends[-1].topic != self._setup.topics.history:
            return None
        return Ready(timer, writes, _READY_BYTES + sum([len(each.value or b"") for each in writes.appends]))

    def fire(self, ready: Ready, now_ms: int) -> Writes | None:
        """The writes of a timer that was decided ahead; its document has not changed since. None: decide it again."""
        writes, arrival = ready.writes, Arrival(message=ready.message, now_ms=now_ms)
        if not self._can_reach(writes.forwards):
            return None
        span = self._spans.decision(arrival, None, None)
        *others, history = writes.appends
        writes.appends = [*others, dated(history, now_ms, span.traceparent)]
        if self._spans.enabled:
            span.set({"sagaline.outcome": Outcome.APPLIED.value})
            writes.spans.append(span)
        return writes

    def _can_reach(self, wanted: Iterable[Destination]) -> bool:
        topics, destinations = self._setup.topics, self._setup.destinations
        return not any(destinations.wrong(to, topics) for to in wanted)

    def _found(self, instance: str) -> tuple[Stored, Exception | None]:
        """The entity of the message, or the error if it cannot be read."""
        try:
            return self._find(instance), None
        except Exception as error:
            return None, error

    def _guarded(self, entity: Stored, fault: Exception | None, came: Came) -> Writes:
        message = came.arrival.message
        try:
            if fault is not None:
                raise fault
            return self._decided(entity, came)
        except BadRecord as error:  # of the stored document
            return self._unread(came, str(error))
        except Unstorable as error:
            reason = Reason(ReasonCode.TOO_LARGE, error.reason)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # anything an author's code raises concerns only this message
            text = _failure(error, message.instance, trace_id=trace_id_of(came.span.traceparent), message_id=message.id)
            reason = Reason(ReasonCode.ENGINE_FAILED, text)
        return self._otherwise(entity, came, reason)

    def _decided(self, entity: Stored, came: Came) -> Writes:
        message, limits = came.arrival.message, self._setup.limits
        if not names_instance(message.instance):
            return self._helped(None if isinstance(entity, Document) else entity, came)
        document = entity if isinstance(entity, Document) else None
        decision = decide(self._definition(message, document), document, came.arrival, limits)
        most = limits.document_bytes if decision.document is None else limits.document_bytes_of(decision.document)
        return self._noted(document, self._writer.decision(decision, document, came, most), came)

    def _helped(self, entity: Entity | None, came: Came) -> Writes:
        message, unfit = came.arrival.message, ""
        subscribers: tuple[str, ...] = ()
        if isinstance(message, Published):
            found, unfit = self._setup.registry.subscribers(message)
            subscribers = tuple(dict.fromkeys((*found, *message.to)))  # a newer sender may know more of them
        branches = self._setup.registry.tables.get(table_name(message.instance), ())
        answer = decide_entity(entity, came.arrival, self._setup.limits, subscribers, branches)
        if unfit:
            answer = replace(
                answer, actions=(*answer.actions, DeadLetter(reason=f"some process managers cannot take it: {unfit}"))
            )
        if isinstance(entity, Mailbox) and isinstance(answer.entity, Mailbox) and isinstance(message, Published):
            for watcher in entity.watchers:  # watchers that got the event have their own traces
                if watcher not in answer.entity.watchers:
                    came.span.link(watcher.traceparent)
        return self._writer.answer(answer, entity, came)

    def _definition(self, message: Message, document: Document | None) -> AnyDefinition | None:
        registry = self._setup.registry
        if isinstance(message, Start) and (document is None or runs_again(None, document, message)):
            return registry.starting(message.definition, message.version)
        if document is not None:
            return registry.deciding(document, message)
        return registry.find(message.instance.partition("/")[0]) if isinstance(message, EventDelivered) else None

    # When the decision cannot be used

    def _otherwise(self, entity: Stored, came: Came, reason: Reason) -> Writes:
        """Steps 2 to 4 of the module's docstring."""
        for rung in self._ladder(entity, came, reason):
            try:
                return self._noted(entity, rung(), came)
            except Exception as error:
                _failure(error, came.arrival.message.instance)
        return self._last(came, reason)

    def _ladder(self, entity: Stored, came: Came, reason: Reason) -> Iterator[Callable[[], Writes]]:
        message, most = came.arrival.message, self._setup.max_value_bytes
        if not names_instance(message.instance):
            entity = None if isinstance(entity, Document) else entity
            yield lambda: self._writer.answer(deny_entity(entity, message, reason), entity, came)
        else:
            document = entity if isinstance(entity, Document) else None
            yield lambda: self._writer.decision(decline(document, came.arrival, reason), document, came, most)
            yield lambda: self._writer.decision(deny(document, message, reason), document, came, most)

    def _unread(self, came: Came, reason: str) -> Writes:
        """The entity's document cannot be read, so nothing is written about the entity itself."""
        unread = Reason(ReasonCode.UNREADABLE, reason)
        try:
            return self._writer.sent(deny(None, came.arrival.message, unread).actions, came)
        except Exception as error:
            _failure(error, came.arrival.message.instance)
        return self._last(came, unread)

    def _last(self, came: Came, reason: Reason) -> Writes:
        if came.record is not None:
            return self._writer.dead(came.record, Why(reason.text, reason.code))
        return Writes(counts=[("decisions.lost",)])

    def _noted(self, before: Stored, writes: Writes, came: Came) -> Writes:
        """Logs when an instance begins to need attention."""
        instance = came.arrival.message.instance
        after = writes.changed.get(instance)
        stood = isinstance(before, Document) and before.attention is not None
        if isinstance(after, Document) and (attention := after.attention) is not None and not stood:
            trace_id = trace_id_of(came.span.traceparent)
            say("attention", instance=instance, trace_id=trace_id, kind=attention.kind, step=attention.step)
        return writes


def _failure(error: BaseException, instance: object, **more: object) -> str:
    """Logs the error; returns the text for the instance."""
    say("decide failed", instance=instance, error=said(error), detail=trace_of(error, _DETAIL_CHARS), **more)
    return (
        f"the engine failed on this message: {storable(said(error), _ERROR_CHARS)}; read the engine's log, then retry"
    )
