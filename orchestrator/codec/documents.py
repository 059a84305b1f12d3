"""Documents and history records: bytes <-> values."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from ..messages.document import FORMAT, Document
from ..messages.history import HistoryRecord
from ..messages.outputs import Outcome
from ..messages.values import first_mistake
from ..ports.log import Outgoing, Record
from .formats import Upcasts, upcast
from .wire import BadRecord, envelope, header_map, redated, sound, text, with_pieces

__all__ = [
    "ARCHIVED",
    "DECIDED",
    "dated",
    "decode_document",
    "decode_history",
    "encode_archived",
    "encode_document",
    "encode_history",
    "request_of",
]

ARCHIVED = "sagaline.archived"
DECIDED = "sagaline.decided"

_UPCASTS: Upcasts = {}
_DOCUMENT: TypeAdapter[Document] = TypeAdapter(Document)
_HISTORY: TypeAdapter[HistoryRecord] = TypeAdapter(HistoryRecord)


def encode_document(document: Document) -> bytes:
    """The document as a value of the state topic.

    Raises:
        ValueError: it cannot be written, or not be read back.
    """
    if document.managed is not None and document.managed.early:
        frame = sound(_DOCUMENT.dump_json(document, exclude={"managed": {"early"}}))
        return with_pieces(frame, "early", document.managed.early, levels=2)
    return sound(_DOCUMENT.dump_json(document))


def encode_archived(topic: str, partition: int, document: Document, *, source: str, now_ms: int) -> Outgoing:
    """A record with the last document of a run; its id is the instance with the incarnation, so it differs by run.

    Raises:
        ValueError: as ``encode_document``.
    """
    headers = envelope(
        ARCHIVED,
        id=f"{document.id}~{document.incarnation}",
        source=source,
        subject=document.id,
        now_ms=now_ms,
        traceparent=document.traceparent,
    )
    return Outgoing(topic, document.id.encode(), encode_document(document), headers, partition)


def decode_document(value: bytes) -> Document:
    """The document of a record of the state topic.

    Raises:
        NewerFormat: its format number is above ours.
        BadRecord: it is not a document.
    """
    try:
        return _DOCUMENT.validate_json(upcast(value, FORMAT, _UPCASTS))
    except ValidationError as error:
        raise BadRecord(f"not a document: {': '.join(first_mistake(error))}") from error


def encode_history(
    topic: str, partition: int, record: HistoryRecord, *, id: str, request: str, source: str
) -> Outgoing:
    """A history record; its headers alone say which request it answers.

    Raises:
        ValueError: it cannot be written, or not be read back.
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


def dated(history: Outgoing, at_ms: int, traceparent: str | None) -> Outgoing:
    """A history record that was encoded before its decision took effect, with another time and another trace.

    Args:
        history: the result of ``encode_history``. It has a trace if and only if ``traceparent`` is one.
        at_ms: the time of the decision.
        traceparent: of the decision.
    """
    value = history.value or b""
    rest = value[value.index(b',"instance":') :]  # the two fields before it have neither quotes nor escapes in them
    fields = b'{"at_ms":%d,"traceparent":%s' % (at_ms, to_json(traceparent))
    return history._replace(value=fields + rest, headers=redated(history.headers, at_ms, traceparent))


def request_of(record: Record) -> tuple[str, Outcome] | None:
    """The request that a history record answers, and the outcome, from its headers; None: not a history record."""
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
        return _HISTORY.validate_json(record.value)
    except ValidationError as error:
        raise BadRecord(f"not a history record: {': '.join(first_mistake(error))}") from error
