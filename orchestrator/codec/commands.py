"""Commands: what an engine publishes and a worker consumes."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from ..messages.outputs import SendCommand
from ..messages.parsing import parse_json
from ..messages.slips import Slip
from ..messages.values import JsonObject, first_mistake
from ..ports.log import Headers, Outgoing, Record
from .wire import (
    BadRecord,
    Unsound,
    check_envelope,
    envelope,
    header_map,
    required,
    sound,
    text,
    trace_context,
    written_ms,
)

__all__ = ["Command", "ReplyTo", "decode_command", "encode_command", "encode_sent"]

_MAX_DIGITS = 18
_NAME_BYTES_MAX = 4_096
"""Limit of a command's id and its other names. The reply's id is longer and must be readable too."""
_SLIP: TypeAdapter[Slip] = TypeAdapter(Slip)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo:
    """Where the reply goes, as the command says; workers never compute it."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command as a worker receives it. ``payload``: JSON, not parsed; ``deadline_ms`` None: no deadline.

    ``reply_to`` None: nobody waits for an answer, so none is written.
    ``written_ms``: when it was written, by the same clock as ``deadline_ms``; None: unknown. ``slip``: the routing slip
    that the worker forwards. ``attempt_timeout_ms``: an attempt without a heartbeat for so long fails; None: only the
    deadline counts. ``progress``: the progress in the last heartbeat of an earlier attempt.
    """

    id: str
    contract: str
    instance: str
    effect_key: str
    undo: bool
    attempt: int
    payload: bytes
    reply_to: ReplyTo | None
    written_ms: int | None = None
    deadline_ms: int | None = None
    slip: Slip | None = None
    attempt_timeout_ms: int | None = None
    progress: JsonObject | None = None
    traceparent: str | None = None

    @property
    def span_ms(self) -> int | None:
        """How long after it was written a reply is accepted, by one clock; None: unknown."""
        if self.deadline_ms is None or self.written_ms is None:
            return None
        return self.deadline_ms - self.written_ms


def encode_command(
    topic: str, command: SendCommand, reply_to: ReplyTo, *, source: str, now_ms: int, traceparent: str | None
) -> Outgoing:
    """A command as a record for its queue's topic, on the partition of its instance.

    Raises:
        ValueError: it cannot be written, or no worker could read it.
    """
    headers = _headers(command, reply_to, source=source, now_ms=now_ms, traceparent=traceparent)
    return Outgoing(topic, command.instance.encode(), sound(command.payload), headers, reply_to.partition)


def encode_sent(topic: str, command: Command, key: str, *, source: str, now_ms: int) -> Outgoing:
    """A command that no saga sends, as a record for its queue's topic, on the partition of ``key``.

    Raises:
        ValueError: it cannot be written, or no worker could read it.
    """
    headers = _headers(command, command.reply_to, source=source, now_ms=now_ms, traceparent=command.traceparent)
    return Outgoing(topic, key.encode(), sound(command.payload), headers)


def _headers(
    command: SendCommand | Command, reply_to: ReplyTo | None, *, source: str, now_ms: int, traceparent: str | None
) -> Headers:
    if len(command.id.encode()) > _NAME_BYTES_MAX:
        raise Unsound(f"the command's id {command.id[:80]}… has more than {_NAME_BYTES_MAX:,} bytes; use shorter keys")
    answered = () if reply_to is None else (("replytopic", reply_to.topic), ("replypartition", str(reply_to.partition)))
    return envelope(
        command.contract,
        id=command.id,
        source=source,
        subject=command.instance,
        now_ms=now_ms,
        traceparent=traceparent,
        extensions=(
            ("effectkey", command.effect_key),
            ("direction", "undo" if command.undo else "do"),
            ("attempt", str(command.attempt)),
            *((("deadline", str(command.deadline_ms)),) if command.deadline_ms is not None else ()),
            *answered,
            *((("attempttimeout", str(command.attempt_timeout_ms)),) if command.attempt_timeout_ms is not None else ()),
            *((("progress", sound(to_json(command.progress)).decode()),) if command.progress is not None else ()),
            *((("slip", sound(_SLIP.dump_json(command.slip)).decode()),) if command.slip is not None else ()),
        ),
    )


def decode_command(record: Record) -> Command:
    """The command of a record.

    Raises:
        BadRecord: an attribute is missing or malformed; the message names it.
    """
    check_envelope(record.headers)
    headers = header_map(record.headers)
    if record.value is None:
        raise BadRecord("the record has no value")
    deadline, silence = text(headers, "ce_deadline"), text(headers, "ce_attempttimeout")
    return Command(
        id=_name(headers, "ce_id"),
        contract=_name(headers, "ce_type"),
        instance=_name(headers, "ce_subject"),
        effect_key=_name(headers, "ce_effectkey"),
        undo=_is_undo(_name(headers, "ce_direction")),
        attempt=_number("ce_attempt", _name(headers, "ce_attempt")),
        payload=record.value,
        reply_to=_reply_to(headers),
        written_ms=written_ms(headers),
        deadline_ms=_number("ce_deadline", deadline) if deadline is not None else None,
        slip=_slip(headers.get("ce_slip")),
        attempt_timeout_ms=_number("ce_attempttimeout", silence) if silence is not None else None,
        progress=_progress(headers.get("ce_progress")),
        traceparent=trace_context(headers),
    )


def _name(headers: dict[str, bytes], name: str) -> str:
    return required(headers, name, _NAME_BYTES_MAX)


def _reply_to(headers: dict[str, bytes]) -> ReplyTo | None:
    if "ce_replytopic" not in headers and "ce_replypartition" not in headers:
        return None
    topic, partition = _name(headers, "ce_replytopic"), _name(headers, "ce_replypartition")
    return ReplyTo(topic=topic, partition=_number("ce_replypartition", partition))


def _is_undo(direction: str) -> bool:
    if direction not in ("do", "undo"):
        raise BadRecord(f"header ce_direction is {direction[:32]!r}, neither 'do' nor 'undo'")
    return direction == "undo"


def _slip(raw: bytes | None) -> Slip | None:
    if raw is None:
        return None
    try:
        return _SLIP.validate_json(raw)
    except ValidationError as error:
        raise BadRecord(f"header ce_slip is not a routing slip: {': '.join(first_mistake(error))}") from error


def _progress(raw: bytes | None) -> JsonObject | None:
    if raw is None:
        return None
    try:
        found = parse_json(raw)
    except ValueError as error:
        raise BadRecord(f"header ce_progress is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRecord("header ce_progress is not a JSON object")
    return found


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > _MAX_DIGITS:
        raise BadRecord(f"header {name} is {value[:32]!r}, not a number")
    return int(value)
