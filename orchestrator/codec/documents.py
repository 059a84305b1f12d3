"""Documents and history records: bytes <-> values, with upcasting of older formats."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from ..messages.document import FORMAT, Document
from ..messages.history import HistoryRecord
from ..messages.outputs import Outcome
from ..ports.log import Outgoing, Record
from .wire import BadRecord, envelope, header_map, sound, text

__all__ = [
    "DECIDED",
    "NewerFormat",
    "decode_document",
    "decode_history",
    "encode_document",
    "encode_history",
    "request_of",
]

DECIDED = "sagaline.decided"

_KIND_BY_FIELD = {
    "definition": "start",
    "act": "act",
    "reply": "completed",
    "code": "refused",
    "error": "failed",
    "timer": "timer",
}

_DOCUMENT: TypeAdapter[Document] = TypeAdapter(Document)
_HISTORY: TypeAdapter[HistoryRecord] = TypeAdapter(HistoryRecord)


class NewerFormat(BadRecord):
    """A document was written by a newer release than this one; a node that knows it must decide about it."""


def encode_document(document: Document) -> bytes:
    """The document as the state topic holds it.

    Raises:
        ValueError: it cannot be written, or could not be read back.
    """
    return sound(_DOCUMENT.dump_json(document))


def decode_document(value: bytes) -> Document:
    """The document of a record of the state topic.

    Raises:
        NewerFormat: its format number is above ours.
        BadRecord: it is not a document.
    """
    try:
        return _DOCUMENT.validate_json(_upcast(value))
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRecord(f"not a document: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _upcast(value: bytes) -> bytes:
    if value.startswith(b'{"format":%d,' % FORMAT):
        return value
    try:
        body = from_json(value)
    except ValueError as error:
        raise BadRecord(f"the document is not JSON: {error}") from error
    number = body.get("format") if isinstance(body, dict) else None
    if type(number) is not int or number < 1:
        raise BadRecord("the document has no format number")
    if number > FORMAT:
        raise NewerFormat(f"the document has format {number}, this release knows up to {FORMAT}; deploy the newer one")
    deferred = body.get("deferred")
    for message in deferred if isinstance(deferred, list) else ():
        _tell_kind(message)
    return to_json(body | {"format": FORMAT})


def _tell_kind(message: Any) -> None:
    """Format 1 did not say of which kind a message is; its fields tell."""
    if isinstance(message, dict) and "kind" not in message:
        message["kind"] = next((kind for field, kind in _KIND_BY_FIELD.items() if field in message), "unknown")


def encode_history(
    topic: str, partition: int, record: HistoryRecord, *, id: str, request: str, source: str
) -> Outgoing:
    """A history record; its headers alone tell a waiter whether it is the answer to its request.

    Raises:
        ValueError: it cannot be written, or could not be read back.
    """
    headers = envelope(
        DECIDED,
        id=id,
        source=source,
        subject=record.instance,
        now_ms=record.at_ms,
        traceparent=record.traceparent,
        extensions=(("requestid", request), ("outcome", record.outcome.value)),
    )
    return Outgoing(topic, record.instance.encode(), sound(_HISTORY.dump_json(record)), headers, partition)


def request_of(record: Record) -> tuple[str, Outcome] | None:
    """The request that a history record answers and how, from its headers alone; None: not a history record."""
    headers = header_map(record.headers)
    try:
        request, outcome = text(headers, "ce_requestid"), text(headers, "ce_outcome")
        return (request, Outcome(outcome)) if request and outcome else None
    except ValueError:
        return None


def decode_history(record: Record) -> HistoryRecord:
    """The value of a record of the history topic.

    Raises:
        BadRecord: it is not a history record.
    """
    if record.value is None:
        raise BadRecord("the history record has no value")
    try:
        return _HISTORY.validate_json(_with_kind(record.value))
    except ValidationError as error:
        first: Any = error.errors()[0]
        raise BadRecord(f"not a history record: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _with_kind(value: bytes) -> bytes:
    """The record as format 2 writes it: its message says of which kind it is."""
    if b'"kind":' in value or b'"message":null' in value:
        return value
    try:
        body = from_json(value)
    except ValueError:
        return value
    if isinstance(body, dict):
        _tell_kind(body.get("message"))
    return to_json(body)
