"""Messages of the ``inputs`` topic: bytes <-> ``Start``, replies and acts."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, assert_never

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from ..messages.inputs import Act, Completed, Failed, Message, Refused, Reply, Start
from ..ports.log import Outgoing, Record
from .entities import ENTITY, decode_entity
from .wire import BadRecord, envelope, header_map, required, text, trace_context

__all__ = ["ACT", "COMPLETED", "FAILED", "REFUSED", "START", "decode_input", "encode_reply", "encode_request"]

START = "sagaline.start"
ACT = "sagaline.act"
COMPLETED = "sagaline.reply.completed"
REFUSED = "sagaline.reply.refused"
FAILED = "sagaline.reply.failed"

_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    START: TypeAdapter(Start),
    ACT: TypeAdapter(Act),
    COMPLETED: TypeAdapter(Completed),
    REFUSED: TypeAdapter(Refused),
    FAILED: TypeAdapter(Failed),
}
_MAX_ID_CHARS = 1024
_MAX_KEY_BYTES = 2048
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def decode_input(record: Record) -> Message:
    """The message of a record.

    Raises:
        BadRecord: no key, no type, unknown type, not JSON, or a body of another shape.
    """
    headers = header_map(record.headers)
    kind = required(headers, "ce_type")
    adapter = _ADAPTERS.get(kind)
    if adapter is None and not kind.startswith(ENTITY):
        raise BadRecord(f"ce_type {kind!r} is not known to this version")
    body, entity = _body(record), _entity(record)
    attributes: dict[str, str | None] = {
        "id": required(headers, "ce_id")[:_MAX_ID_CHARS],
        "traceparent": trace_context(headers),
    }
    if kind != START:
        attributes["instance"] = entity
    if adapter is None:
        return decode_entity(kind, body, attributes)
    if kind in (COMPLETED, REFUSED, FAILED):
        attributes["command_id"] = required(headers, "ce_commandid")
    if kind == COMPLETED:
        attributes["forwarded"] = text(headers, "ce_forwarded") or ""
        return Completed(reply=body, **attributes)  # type: ignore[arg-type]  # required() gave text
    try:
        message: Message = adapter.validate_python(body | attributes)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRecord(f"{kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if isinstance(message, Start) and message.instance != entity:
        raise BadRecord(f"the record's key is {entity!r}, its body starts {message.instance!r}")
    return message


def encode_request(topic: str, request: Start | Act, *, source: str, now_ms: int) -> Outgoing:
    """A start or an act as a record for ``inputs``."""
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
        case Act():
            kind = ACT
            body = {"act": request.act.value, "by": request.by, "reason": request.reason}
            if request.step:
                body["step"] = request.step
            if request.step or request.value is not None:
                body["value"] = request.value
        case _:
            assert_never(request)
    headers = envelope(
        kind, id=request.id, source=source, subject=request.instance, now_ms=now_ms, traceparent=request.traceparent
    )
    return Outgoing(topic, request.instance.encode(), to_json(body), headers)


def encode_reply(topic: str, partition: int, reply: Reply, *, source: str, now_ms: int) -> Outgoing:
    """A worker's reply as a record for the topic and partition that its command named."""
    extensions: tuple[tuple[str, str], ...] = (("commandid", reply.command_id),)
    if isinstance(reply, Completed) and reply.forwarded:
        extensions = (*extensions, ("forwarded", reply.forwarded))
    match reply:
        case Completed():
            kind, body = COMPLETED, to_json(reply.reply)
        case Refused():
            kind, body = REFUSED, to_json({"reason": reply.reason, "code": reply.code})
        case Failed():
            kind, body = FAILED, to_json({"error": reply.error, "detail": reply.detail})
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
    return Outgoing(topic, reply.instance.encode(), body, headers, partition)


def _entity(record: Record) -> str:
    if not record.key:
        raise BadRecord("the record has no key; the key is the instance's id")
    if len(record.key) > _MAX_KEY_BYTES:
        raise BadRecord(f"the record's key has {len(record.key):,} bytes, the limit is {_MAX_KEY_BYTES:,}")
    try:
        entity = record.key.decode()
    except UnicodeDecodeError as error:
        raise BadRecord("the record's key is not UTF-8") from error
    if _CONTROL.search(entity):
        raise BadRecord("the record's key holds control characters")
    return entity


def _body(record: Record) -> dict[str, Any]:
    if record.value is None:
        raise BadRecord("the record has no value")
    try:
        body = from_json(record.value, allow_inf_nan=False)
    except ValueError as error:
        raise BadRecord(f"the value is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRecord("the value is not a JSON object")
    return body
