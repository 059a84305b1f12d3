"""Converts an update to rows for each statement, without a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, assert_never

import structlog
from pydantic import TypeAdapter
from pydantic_core import to_json
from sqlalchemy import Executable

from ...codec.documents import encode_document
from ...codec.entities import encode_entity
from ...kernel.waits import OpenQuestion, OverdueStep, open_questions, overdue_steps
from ...messages.document import Document
from ...messages.entities import DeadMark, DeletedSchedule, Entity, Lock, Mailbox, Parcel, Schedule, Table
from ...messages.history import HistoryRecord
from ...messages.operations import act_of, operation_of
from ...ports.read_model import WAITED, DocumentRow, EntityRow, HistoryRow, Update, WaitKind
from . import letters
from .schema import DELETED
from .statements import DROP_TERMS, DROP_WAITS, REMOVE, REMOVE_ENTITY, Writes
from .terms import terms_of

__all__ = ["HISTORY_JSON", "WAIT_JSON", "Rows", "changes"]

_log = structlog.get_logger("sagaline.read_model")

Rows = list[dict[str, Any]]
R = TypeVar("R")

HISTORY_JSON: TypeAdapter[HistoryRecord] = TypeAdapter(HistoryRecord)
WAIT_JSON: dict[WaitKind, TypeAdapter[Any]] = {
    WaitKind.OVERDUE: TypeAdapter(tuple[str, int, OverdueStep]),
    WaitKind.QUESTION: TypeAdapter(tuple[str, int, OpenQuestion]),
}
"""Definition, version and the wait."""

_WHO_CHARS_MAX = 256
"""Longer names cannot be searched for."""


def changes(writes: Writes, log: int, update: Update) -> list[tuple[Executable, Rows]]:
    """The statements of an update with their rows, in order. Rows that cannot be written are logged and omitted."""
    documents, entities = update.documents.items(), update.entities.items()
    live = _each(documents, lambda id, row: _instance(log, id, row))
    written = {row["id"] for row in live}
    waiting = [(id, row) for id, row in documents if row.document is None or id in written]
    return [
        (REMOVE, [_place(log, id, row) for id, row in documents if row.document is None]),
        (writes.upsert, live),
        (DROP_WAITS, [_place(log, id, row) for id, row in waiting]),
        (writes.add_wait, _each(waiting, lambda id, row: _waits(_place(log, id, row), row.document))),
        (DROP_TERMS, [_place(log, id, row) for id, row in waiting]),
        (writes.add_term, _each(waiting, lambda id, row: _terms(_place(log, id, row), row))),
        (REMOVE_ENTITY, [_place(log, id, row) for id, row in entities if row.entity is None]),
        (writes.upsert_entity, _each(entities, lambda id, row: _entity(log, row))),
        (
            writes.remember,
            _each(((row.record.instance, row) for row in update.history), lambda _, row: _history(log, row)),
        ),
        (writes.bury, _each(((each.id, each) for each in update.letters), lambda _, each: letters.row(log, each))),
        (writes.move, _positions(log, update)),
    ]


def _each(found: Iterable[tuple[str, R]], rows_of: Callable[[str, R], Iterable[dict[str, Any]]]) -> Rows:
    """The rows of all; one that cannot be written does not affect the others."""
    rows: Rows = []
    for id, row in found:
        try:
            rows += list(rows_of(id, row))
        except Exception as error:
            _log.error("an entry that cannot be written is not shown", id=id, reason=str(error))
    return rows


def _place(log: int, id: str, row: DocumentRow | EntityRow) -> dict[str, Any]:
    return {"of_log": log, "entity": id, "at": row.sequence}


def _instance(log: int, id: str, row: DocumentRow) -> Iterator[dict[str, Any]]:
    document = row.document
    if document is None:
        return
    yield {
        "log": log,
        "id": id,
        "sequence": row.sequence,
        "definition": document.definition,
        "version": document.version,
        "key": document.key,
        "status": document.status.value,
        "revision": document.revision,
        "created_ms": document.created_ms,
        "updated_ms": document.updated_ms,
        "document": encode_document(document).decode(),
    }


def _terms(place: dict[str, Any], row: DocumentRow) -> Iterator[dict[str, Any]]:
    if row.document is None:
        return
    created = {"created_ms": row.document.created_ms}
    yield from (place | created | {"term": term} for term in terms_of(row.document, row.attributes))


def _waits(place: dict[str, Any], document: Document | None) -> Iterator[dict[str, Any]]:
    if document is None:
        return
    for step in overdue_steps(document):
        yield place | _wait(document, WaitKind.OVERDUE, step, step.overdue_ms)
    for question in open_questions(document):
        asked = place | _wait(document, WaitKind.QUESTION, question, question.due_ms)
        yield asked
        may_answer = {who for who in question.may_answer if 0 < len(who) <= _WHO_CHARS_MAX}
        yield from (asked | {"who": who, "wait": None} for who in may_answer)


def _wait(document: Document, kind: WaitKind, wait: OverdueStep | OpenQuestion, at_ms: int) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "step": wait.step,
        "who": "",
        "definition": document.definition,
        "at_ms": at_ms,
        "wait": to_json((document.definition, document.version, wait)).decode(),
    }


def _entity(log: int, row: EntityRow) -> Iterator[dict[str, Any]]:
    entity = row.entity
    if entity is None:
        return
    text = encode_entity(entity).decode()
    yield {"log": log, "id": entity.id, "sequence": row.sequence, "status": _status(entity), "document": text}


def _status(entity: Entity) -> str:
    """The status by which it can be found; empty: it has none."""
    match entity:
        case Mailbox():
            return WAITED if entity.watchers else ""
        case Lock():
            return WAITED if entity.waiting else ""
        case Table():
            return ""
        case Parcel() | DeadMark():
            return entity.status.value
        case Schedule():
            return "paused" if entity.paused else "active"
        case DeletedSchedule():
            return DELETED
        case _:
            assert_never(entity)


def _history(log: int, row: HistoryRow) -> Iterator[dict[str, Any]]:
    operation = operation_of(row.record)
    yield {
        "log": log,
        "instance": row.record.instance,
        "sequence": row.sequence,
        "part": row.partition,
        "at_ms": row.record.at_ms,
        "record": HISTORY_JSON.dump_json(row.record).decode(),
        "who": operation.by if operation is not None else None,
        "act": act_of(operation) if operation is not None else None,
    }


def _positions(log: int, update: Update) -> Rows:
    rows = []
    for at, following in update.positions.items():
        mark = update.landmarks.get(at)
        offset, digest, timestamp_ms = mark if mark is not None else (None, None, None)
        row = {"log": log, "topic": at.topic, "part": at.partition, "next": following}
        rows.append(row | {"landmark": offset, "digest": digest, "timestamp_ms": timestamp_ms})
    return rows
