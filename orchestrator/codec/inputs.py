"""Messages of the ``inputs`` topic: bytes <-> ``Start``, replies and acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, assert_never

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from ...sagas.contract import is_name
from ..messages.inputs import Act, Completed, Conflict, Failed, Heartbeat, Message, Rejected, Reply, Start
from ..messages.keys import id_wrong, instance_wrong, key_wrong
from ..messages.parsing import parse_json
from ..messages.schedules import SCHEDULE as SCHEDULES
from ..messages.texts import end_of, storable
from ..messages.values import JsonObject, first_mistake
from ..ports.log import Outgoing, Record, size_bytes
from .entities import ENTITY, PUBLISHED, decode_entity_message
from .wire import (
    BODY_DEPTH_MAX,
    DEPTH_MAX,
    BadRecord,
    Unsound,
    check_envelope,
    entity_key,
    entity_of,
    envelope,
    finite,
    header_map,
    required,
    sound,
    text,
    too_deep,
    trace_context,
)

__all__ = [
    "ACT",
    "COMPLETED",
    "FAILED",
    "HEARTBEAT",
    "PROGRESS_BYTES_MAX",
    "REJECTED",
    "START",
    "decode_input",
    "encode_reply",
    "encode_request",
    "progress_json",
]

START = "sagaline.start"
ACT = "sagaline.act"
COMPLETED = "sagaline.reply.completed"
REJECTED = "sagaline.reply.rejected"
FAILED = "sagaline.reply.failed"
HEARTBEAT = "sagaline.heartbeat"

_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    START: TypeAdapter(Start),
    ACT: TypeAdapter(Act),
    COMPLETED: TypeAdapter(Completed),
    REJECTED: TypeAdapter(Rejected),
    FAILED: TypeAdapter(Failed),
    HEARTBEAT: TypeAdapter(Heartbeat),
}
_OUTSIDE = (COMPLETED, REJECTED, FAILED, HEARTBEAT, START, ACT, PUBLISHED)
"""Types that clients and workers write; the rest is written by the engine."""
_REPLIES = (COMPLETED, REJECTED, FAILED)
_TOO_DEEP = f"it has more than {BODY_DEPTH_MAX} levels of objects and lists; send it flatter"
_ERROR_CHARS = 1_000
_DETAIL_CHARS = 8_000
PROGRESS_BYTES_MAX = 4_096
"""Limit of the JSON of a heartbeat's progress."""


def decode_input(record: Record, bytes_max: int | None = None) -> Message:
    """The message of a record. An invalid reply becomes a failed attempt, if it names its command.

    Args:
        record: of the topic ``inputs``.
        bytes_max: the largest record of the log: a larger one could not be stored.

    Raises:
        BadRecord: no key, no type, unknown type, not JSON, too large or too deep, or a body that does not match.
    """
    try:
        return _decode(record, bytes_max)
    except BadRecord as error:
        failed = _failed(record, str(error))
        if failed is None:
            raise
        return failed


def _decode(record: Record, bytes_max: int | None) -> Message:
    check_envelope(record.headers)
    headers = header_map(record.headers)
    kind = required(headers, "ce_type")
    adapter = _ADAPTERS.get(kind)
    if adapter is None and not kind.startswith(ENTITY):
        raise BadRecord(f"ce_type {kind[:80]!r} is not known to this version")
    entity = entity_of(record.key)
    if bytes_max is not None and (size := size_bytes(record.key, record.value, record.headers)) > bytes_max:
        raise BadRecord(f"the record has {size:,} bytes, the limit is {bytes_max:,}; send a reference to the content")
    body = _body(kind, record)
    attributes: dict[str, str | None] = {"id": required(headers, "ce_id"), "traceparent": trace_context(headers)}
    if kind != START:
        attributes["instance"] = entity
    if adapter is None:
        return decode_entity_message(kind, body, attributes)
    if kind in (*_REPLIES, HEARTBEAT):
        attributes["command_id"] = required(headers, "ce_commandid")
    if kind == COMPLETED:
        attributes["forwarded"] = text(headers, "ce_forwarded") or ""
        return Completed(reply=body, **attributes)  # type: ignore[arg-type]  # required() gave text
    try:
        message: Message = adapter.validate_python(body | attributes)
    except ValidationError as error:
        raise BadRecord(f"{kind}: {': '.join(first_mistake(error))}") from error
    if isinstance(message, Heartbeat) and message.progress is not None:
        try:
            progress_json(message.progress)
        except ValueError as error:
            raise BadRecord(str(error)) from error
    _check_key(entity, message)
    return _storable(message)


def _body_depth_max(kind: str, body: Mapping[str, Any]) -> int:
    """The most levels of a body. A child or a fork begins with an instance's state, which may be deeper than input."""
    own = kind not in _OUTSIDE or (kind == START and (body.get("parent") or body.get("fork")))
    return DEPTH_MAX if own else BODY_DEPTH_MAX


def _failed(record: Record, why: str) -> Failed | None:
    """A failed attempt for a reply that cannot be read; None: it is not a reply, or does not name its command."""
    headers = header_map(record.headers)
    try:
        kind = headers.get("ce_type", b"").decode(errors="replace")
        if kind in (START, ACT, HEARTBEAT) or kind.startswith(ENTITY):
            return None
        instance, command_id = entity_of(record.key), required(headers, "ce_commandid")
    except BadRecord:
        return None
    error = storable(f"the worker's reply cannot be used: {why}", _ERROR_CHARS)
    trace = trace_context(headers)
    return Failed(id=f"{command_id}/reply", instance=instance, command_id=command_id, error=error, traceparent=trace)


def progress_json(progress: object) -> JsonObject:
    """A copy of a heartbeat's progress as JSON. It travels in a header of the next command, so it is small.

    Raises:
        ValueError: it is no JSON object, too deep or too large.
    """
    if not isinstance(progress, Mapping):
        raise ValueError(f"the progress is {type(progress).__name__}; give a dict that JSON can hold")
    try:
        value = sound(finite(to_json(progress)), BODY_DEPTH_MAX)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the progress cannot be written as JSON: {error}") from error
    if len(value) > PROGRESS_BYTES_MAX:
        raise ValueError(
            f"the progress has {len(value):,} bytes, the limit is {PROGRESS_BYTES_MAX:,}; "
            "keep a reference instead of the content"
        )
    found: JsonObject = from_json(value)
    return found


def _storable(message: Message) -> Message:
    """The message with its texts cut to a size that fits into the instance."""
    match message:
        case Rejected():
            reason, code = storable(message.reason, _ERROR_CHARS), storable(message.code, _ERROR_CHARS)
            return replace(message, reason=reason, code=code)
        case Failed():
            error, detail = storable(message.error, _ERROR_CHARS), end_of(message.detail, _DETAIL_CHARS)
            return replace(message, error=error, detail=detail)
        case _:
            return message


def _check_key(entity: str, message: Message) -> None:
    """Applies the rules of client requests to records that others write to ``inputs`` directly."""
    if isinstance(message, Act) and not entity.startswith("@") and (wrong := instance_wrong(entity)) is not None:
        raise BadRecord(f"the record's key is not an instance's id: it {wrong}")
    if not isinstance(message, Start):
        return
    if not is_name(message.definition):
        raise BadRecord(f"definition is {message.definition!r}, which is not a valid name")
    engine_made = message.parent is not None or message.fork is not None
    wrong = instance_wrong(message.instance) if engine_made else key_wrong(message.key)
    if wrong is not None:
        raise BadRecord(f"the key {wrong}")
    if message.schedule and (wrong := id_wrong(message.schedule) or _no_schedule(message.schedule)) is not None:
        raise BadRecord(f"its schedule {wrong}")
    if message.instance != entity:
        raise BadRecord(f"the record's key is {entity[:300]!r}, its body starts {message.instance[:300]!r}")


def _no_schedule(id: str) -> str | None:
    return None if id.startswith(SCHEDULES) else f"is {id[:80]!r}, which does not begin with {SCHEDULES}"


def encode_request(topic: str, request: Start | Act, *, source: str, now_ms: int) -> Outgoing:
    """A start or an act as a record for ``inputs``.

    Raises:
        ValueError: it cannot be written, or could not be read back.
    """
    body: dict[str, Any]
    match request:
        case Start():
            kind = START
            body = {
                "definition": request.definition,
                "key": request.key,
                "version": request.version,
                "input": request.input,
            }
            if request.parent is not None:
                body["parent"] = asdict(request.parent)
            if request.fork is not None:
                body["fork"] = asdict(request.fork)
            if request.schedule:
                body["schedule"] = request.schedule
            if request.conflict is not Conflict.REJECT:
                body["conflict"] = request.conflict.value
        case Act():
            kind = ACT
            body = {"act": request.act.value, "by": request.by, "reason": request.reason}
            if request.groups:
                body["groups"] = list(request.groups)
            if request.expected:
                body["expected"] = request.expected
            if request.step:
                body["step"] = request.step
            if request.step or request.value is not None:
                body["value"] = request.value
        case _:
            assert_never(request)
    headers = envelope(
        kind, id=request.id, source=source, subject=request.instance, now_ms=now_ms, traceparent=request.traceparent
    )
    value = sound(finite(to_json(body)), _body_depth_max(kind, body))
    return Outgoing(topic, entity_key(request.instance), value, headers)


def encode_reply(topic: str, partition: int | None, reply: Reply | Heartbeat, *, source: str, now_ms: int) -> Outgoing:
    """A worker's reply, or its heartbeat, as a record for the topic and partition that its command named.

    ``partition`` None: that of the instance.

    Raises:
        ValueError: it cannot be written, or not be read back.
    """
    extensions: tuple[tuple[str, str], ...] = (("commandid", reply.command_id),)
    if isinstance(reply, Completed) and reply.forwarded:
        extensions = (*extensions, ("forwarded", reply.forwarded))
    match reply:
        case Completed():
            kind, body = COMPLETED, to_json(reply.reply)
            if not body.startswith(b"{"):
                raise Unsound("it is not a JSON object")
        case Rejected():
            kind, body = REJECTED, to_json({"reason": reply.reason, "code": reply.code})
        case Failed():
            kind, body = FAILED, to_json({"error": reply.error, "detail": reply.detail})
        case Heartbeat():
            kind, body = HEARTBEAT, to_json({"progress": reply.progress})
        case _:
            assert_never(reply)
    headers = envelope(
        kind,
        id=reply.id,
        source=source,
        subject=reply.instance,
        now_ms=now_ms,
        traceparent=reply.traceparent,
        extensions=extensions,
    )
    return Outgoing(topic, reply.instance.encode(), sound(finite(body), BODY_DEPTH_MAX), headers, partition)


def _body(kind: str, record: Record) -> dict[str, Any]:
    if record.value is None:
        raise BadRecord("the record has no value")
    if too_deep(record.value, DEPTH_MAX):  # checked before parsing, since the parser has its own limit
        raise BadRecord(f"the value cannot be kept: {_TOO_DEEP}")
    try:
        body = parse_json(record.value)
    except ValueError as error:
        raise BadRecord(f"the value is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRecord("the value is not a JSON object")
    if too_deep(record.value, _body_depth_max(kind, body)):
        raise BadRecord(f"the value cannot be kept: {_TOO_DEEP}")
    return body
