"""Converts a decision to records, encoded and within the log's size limit: the last step that can fail.

The records go into the batch unchanged, so a batch can only fail for reasons that no message has caused.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, assert_never

import structlog
from pydantic_core import to_json

from ..codec.commands import ReplyTo, encode_command
from ..codec.dead_letters import Why, dead_letter
from ..codec.documents import encode_archived, encode_document, encode_history
from ..codec.entities import encode_entity, encode_entity_message, encode_event
from ..codec.inputs import encode_request
from ..codec.rules import encode_rules
from ..kernel.places import name_of
from ..messages.dead import DeadRequest
from ..messages.document import Document, StepStatus
from ..messages.entities import Entity
from ..messages.entity_messages import Published, SetRules
from ..messages.history import HistoryRecord, SentCommand
from ..messages.inputs import Arrival, Start
from ..messages.outputs import (
    OVERDUE,
    Action,
    Announce,
    Answer,
    Archive,
    DeadLetter,
    Decision,
    Erase,
    Forward,
    Outcome,
    Publish,
    SendCommand,
    Tell,
)
from ..messages.parcels import Letter, ParcelRequest, from_base64
from ..messages.reasons import ReasonCode
from ..messages.schedules import ScheduleRequest
from ..messages.texts import storable
from ..ports.log import Outgoing, Record, size_bytes
from ..tracing import Span
from .destinations import Destination
from .metrics import OTHER
from .setup import Deciding
from .spans import Spans

__all__ = ["Came", "Unstorable", "Writer", "Writes", "say"]

_log = structlog.get_logger("sagaline.engine")
_KINDS = frozenset({"@mailbox", "@lock", "@table", "@parcel", "@dead", "@schedule"})
_ENDS = frozenset(status.value for status in StepStatus if status.ends_attempts)
"""Of a step, forward or backward: statuses that a duration is measured up to."""
_REASON_CHARS = 4_000


class Unstorable(Exception):
    """A part of a decision is too large to be stored; ``reason`` says which, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Came(NamedTuple):
    """A message with its record. ``record`` None: the message is from the owner itself."""

    arrival: Arrival
    record: Record | None
    span: Span


Measured = tuple[str, ...]
"""An instrument and its labels."""


@dataclass(slots=True)
class Writes:
    """The writes of one message. ``changed`` and ``state`` have at most the one entity that it was for.

    ``spans`` end with the commit. ``forwards``: where records are forwarded to; ``missing``: topics where they cannot.
    """

    changed: dict[str, Document | Entity | None] = field(default_factory=dict)
    state: dict[bytes, bytes | None] = field(default_factory=dict)
    appends: list[Outgoing] = field(default_factory=list)
    counts: list[Measured] = field(default_factory=list)
    durations: list[tuple[Measured, float]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    forwards: list[Destination] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Writer:
    """Converts the decisions of one partition.

    Args:
        setup: names of topics, limits.
        partition: of the decisions.
        spans: of the same partition.
    """

    def __init__(self, setup: Deciding, partition: int, spans: Spans) -> None:
        self._setup, self._partition, self._spans = setup, partition, spans
        self._source = f"/{setup.topics.namespace}"

    def decision(self, decision: Decision, before: Document | None, came: Came, document_bytes_max: int) -> Writes:
        """A decision about an instance.

        Raises:
            Unstorable: the document or a message that it sends is too large.
            ValueError: one of them cannot be encoded.
        """
        writes, after = Writes(), decision.document
        instance = came.arrival.message.instance
        if after is not before:
            encoded = encode_document(after) if after is not None else None
            if encoded is not None and after is not None and len(encoded) > document_bytes_max:
                raise Unstorable(_too_large(after, len(encoded), document_bytes_max))
            self._keep(writes, instance, after, encoded)
        self._send(writes, decision.actions, came, decision.code)
        if before is not None or after is not None or decision.outcome is not Outcome.IGNORED:
            self._tell_history(writes, decision, came)
        was_open = before is None or not before.status.is_final
        ended = after if after is not None and after.status.is_final and was_open else None
        self._measure(writes, decision, before, ended, came.arrival)
        if self._spans.enabled:
            status = after.status.value if after else ""
            came.span.set({"sagaline.outcome": decision.outcome.value, "sagaline.status": status})
            if ended is not None and (span := self._spans.run(ended)) is not None:
                writes.spans.append(span)
        return writes

    def answer(self, answer: Answer, before: Entity | None, came: Came) -> Writes:
        """A decision about an entity other than an instance.

        Raises:
            Unstorable, ValueError: as ``decision``.
        """
        writes, message = Writes(), came.arrival.message
        if answer.entity is not before:
            encoded = encode_entity(answer.entity) if answer.entity is not None else None
            self._keep(writes, message.instance, answer.entity, encoded)
        self._send(writes, answer.actions, came, answer.code)
        if answer.outcome in (Outcome.APPLIED, Outcome.DENIED) or isinstance(
            message, Published | SetRules | ParcelRequest | DeadRequest | ScheduleRequest
        ):
            self._tell_history(writes, answer, came)
        kind = message.instance.partition("/")[0]
        writes.counts.append(("decisions", kind if kind in _KINDS else OTHER, answer.outcome.value))
        if self._spans.enabled:
            came.span.set({"sagaline.outcome": answer.outcome.value})
        return writes

    def sent(self, actions: Sequence[Action], came: Came) -> Writes:
        """The messages of a decision, without its entity and history.

        Raises:
            Unstorable, ValueError: as ``decision``.
        """
        writes = Writes()
        self._send(writes, actions, came)
        return writes

    def forward(self, record: Record) -> Writes:
        """Forwards a record to the partition that owns it, and counts it.

        Raises:
            Unstorable: it does not fit.
        """
        forwarded = Outgoing(record.topic, record.key, record.value, record.headers)
        return Writes(appends=[self._fitting(forwarded)], counts=[("inputs.forwarded",)])

    def dead(self, record: Record, why: Why) -> Writes:
        """Writes a dead letter. Never raises."""
        place = f"{record.topic}/{record.partition}/{record.offset}"
        say("dead letter", instance=(record.key or b"")[:300].decode(errors="replace"), place=place, reason=why.reason)
        topic, most = self._setup.topics.dead, self._setup.max_value_bytes
        return Writes(
            appends=[dead_letter(topic, self._partition, record, why, most)], counts=[("dead_letters", "inputs")]
        )

    def _measure(
        self, writes: Writes, decision: Decision, before: Document | None, ended: Document | None, arrival: Arrival
    ) -> None:
        """What a decision counts as, and how long what it ends has taken."""
        definition, now_ms = arrival.message.instance.partition("/")[0], arrival.now_ms
        if self._setup.registry.find(definition) is None:
            definition = OTHER
        writes.counts.append(("decisions", definition, decision.outcome.value))
        steps = before.steps if before is not None else {}
        for change in decision.changes:
            if change.what == OVERDUE:
                writes.counts.append(("steps.overdue", definition))
            elif change.after in _ENDS and (begun := steps.get(change.what)) is not None:
                labels = ("steps.duration", definition, name_of(change.what), change.after)
                writes.durations.append((labels, (now_ms - begun.at_ms) / 1000))
        if ended is not None:
            seconds = (now_ms - ended.created_ms) / 1000
            writes.durations.append((("runs.duration", definition, ended.status.value), seconds))

    def _keep(self, writes: Writes, instance: str, after: Document | Entity | None, encoded: bytes | None) -> None:
        key, most = instance.encode(), self._setup.max_value_bytes
        if encoded is not None and (size := size_bytes(key, encoded)) > most:
            raise Unstorable(
                f"{instance} would have {size:,} bytes, the limit of the log is {most:,}; keep less in it, then retry",
            )
        writes.changed[instance] = after
        writes.state[key] = encoded

    def _send(self, writes: Writes, actions: Sequence[Action], came: Came, code: ReasonCode | None = None) -> None:
        """The records of a decision's messages, and the dead letter if its message becomes one."""
        for action in actions:
            if isinstance(action, Forward):
                self._forward(writes, action, came)
            elif not isinstance(action, DeadLetter):
                writes.appends.append(self._fitting(self._outgoing(action, came, writes.spans)))
            else:
                letter, why = action.letter, Why(action.reason, code or "", detail=action.detail)
                record = self._buried(action, came)
                if record is not None:
                    self._bury(writes, record, why if letter is None else why._replace(group=_group_of(letter)))

    def _buried(self, action: DeadLetter, came: Came) -> Record | None:
        """The record that becomes a dead letter; None: the message is from the owner itself."""
        if action.letter is not None:
            return _record_of(action.letter, came.arrival.now_ms)
        kept = action.message
        if kept is None or kept.id == came.arrival.message.id:
            return came.record
        now_ms, topic = came.arrival.now_ms, self._setup.topics.inputs
        out = encode_entity_message(topic, kept, source=self._source, now_ms=now_ms, traceparent=kept.traceparent)
        return Record(topic, self._partition, -1, out.key, out.value, out.headers, now_ms)

    def _forward(self, writes: Writes, action: Forward, came: Came) -> None:
        """The record as it is; a dead letter if its topic is known to be missing."""
        to = Destination(action.topic, action.partition)
        wrong = self._setup.destinations.wrong(to, self._setup.topics)
        if wrong is None:
            out = Outgoing(action.topic, action.key, action.value, action.headers, action.partition)
            writes.appends.append(self._fitting(out))
            writes.forwards.append(to)
            return
        partition = -1 if action.partition is None else action.partition
        now_ms = came.arrival.now_ms
        never = Record(action.topic, partition, -1, action.key, action.value, action.headers, now_ms)
        self._bury(writes, never, Why(wrong, "no-topic"))
        writes.missing.append(action.topic)

    def _bury(self, writes: Writes, record: Record, why: Why) -> None:
        dead = self.dead(record, why)
        writes.appends += dead.appends
        writes.counts += dead.counts

    def _outgoing(
        self, action: SendCommand | Tell | Publish | Announce | Erase | Archive, came: Came, spans: list[Span]
    ) -> Outgoing:
        topics, now_ms, source = self._setup.topics, came.arrival.now_ms, self._source
        traceparent = came.span.traceparent
        match action:
            case SendCommand():
                reply_to, topic = ReplyTo(topic=topics.inputs, partition=self._partition), topics.commands(action.queue)
                span = self._spans.command(action, came.span)
                encoded = encode_command(
                    topic, action, reply_to, source=source, now_ms=now_ms, traceparent=span.traceparent
                )
            case Announce():
                return encode_rules(topics.rules, action)
            case Erase():
                return Outgoing(topics.personal, f"{action.subject}/{action.key}".encode(), None, (), 0)
            case Archive(document=last):
                return encode_archived(topics.archive, self._partition, last, source=source, now_ms=now_ms)
            case Publish(event=event):
                span = self._spans.event(event, came.span, leaves=True)
                traced = replace(event, traceparent=span.traceparent)
                encoded = encode_event(topics.events, traced, self._partition, source=source, now_ms=now_ms)
            case Tell(message=Published() as event):
                span = self._spans.event(event, came.span, leaves=False)
                named = self._to_subscribers(event)
                encoded = encode_entity_message(
                    topics.inputs, named, source=source, now_ms=now_ms, traceparent=span.traceparent
                )
            case Tell(message=Start() as start):
                return encode_request(
                    topics.inputs, replace(start, traceparent=traceparent), source=source, now_ms=now_ms
                )
            case Tell(message=message):
                cause = message.traceparent or traceparent
                return encode_entity_message(topics.inputs, message, source=source, now_ms=now_ms, traceparent=cause)
            case _:
                assert_never(action)
        if self._spans.enabled:
            spans.append(span)
        return encoded

    def _to_subscribers(self, event: Published) -> Published:
        """Adds the process managers that listen, as known here: the owner of the event's mailbox may be older."""
        found, _ = self._setup.registry.subscribers(event)  # the mailbox's decision reports the faults
        return replace(event, to=found)

    def _fitting(self, out: Outgoing) -> Outgoing:
        size, most = size_bytes(out.key, out.value, out.headers), self._setup.max_value_bytes
        if size > most:
            raise Unstorable(
                f"a message to {out.topic} would have {size:,} bytes, the limit is {most:,}; "
                "pass references instead of contents, then retry",
            )
        return out

    def _tell_history(self, writes: Writes, decision: Decision | Answer, came: Came) -> None:
        message = came.arrival.message
        after = decision.document if isinstance(decision, Decision) else decision.entity
        entry = HistoryRecord(
            instance=message.instance,
            revision=after.revision if after else 0,
            at_ms=came.arrival.now_ms,
            outcome=decision.outcome,
            status=after.status if isinstance(after, Document) else None,
            message=message,
            changes=decision.changes if isinstance(decision, Decision) else (),
            sent=tuple(
                SentCommand(id=action.id, contract=action.contract, queue=action.queue)
                for action in decision.actions
                if isinstance(action, SendCommand)
            ),
            code=decision.code,
            reason=storable(decision.reason, _REASON_CHARS),
            traceparent=came.span.traceparent,
        )
        place = f"{self._partition}/{came.record.offset}" if came.record else message.id
        try:
            record = self._history(entry, place, message.id)
        except (Unstorable, ValueError):
            reason = f"{entry.reason} (the message could not be kept: too large, too deep or not JSON)"
            record = self._history(replace(entry, message=None, reason=reason), place, message.id)
        writes.appends.append(record)

    def _history(self, entry: HistoryRecord, place: str, request: str) -> Outgoing:
        topic, source = self._setup.topics.history, self._source
        return self._fitting(encode_history(topic, self._partition, entry, id=place, request=request, source=source))


def _record_of(letter: Letter, now_ms: int) -> Record | None:
    """The record that a group has read; None: a delayed message, whose record the topic of inputs has."""
    if (source := letter.source) is None:
        return None
    key, value = from_base64(letter.key), from_base64(letter.value)
    return Record(source.topic, source.partition, source.offset, key, value, letter.raw_headers, now_ms)


def _group_of(letter: Letter) -> str:
    """The group whose message it is, by the letter's id."""
    return letter.id.removesuffix(f"/{letter.source}") if letter.source is not None else ""


def say(event: str, **values: object) -> None:
    """Logs a warning. A value that cannot be printed must not stop a partition."""
    with suppress(Exception):
        _log.warning(event, **{name: storable(v) if isinstance(v, str) else v for name, v in values.items()})


def _too_large(document: Document, size: int, most: int) -> str:
    """The message for a document that is too large: what fills it, and what to do."""
    state, steps = len(to_json(document.state)), len(document.steps)
    text = f"the document would have {size:,} bytes, the limit is {most:,}: {state:,} of them are the state, and"
    text += f" {steps:,} steps are on record; keep references instead of contents"
    if any("@" in place for place in document.steps):
        text += ", and run the body of a long loop as a child saga, of which only the end is kept here"
    if document.backward:
        return text
    return f"{text}; then retry{'' if document.pivot_passed else ', or cancel: there is room for the undos'}"
