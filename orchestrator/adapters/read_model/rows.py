"""What an update comes to in the tables: rows for each statement, without a connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_never

from pydantic import TypeAdapter
from pydantic_core import to_json
from sqlalchemy import Executable

from ...codec.documents import encode_document
from ...codec.entities import encode_helper
from ...kernel.waits import OpenQuestion, OverdueStep, open_questions, overdue_steps
from ...messages.document import Document
from ...messages.helpers import Helper, Lock, Mailbox, Table
from ...messages.history import HistoryRecord
from ...ports.read_model import DocumentRow, HelperRow, HistoryRow, Update, WaitKind
from .statements import ADD_WAIT, DROP_WAITS, MOVE, REMEMBER, REMOVE, REMOVE_HELPER, UPSERT, UPSERT_HELPER

__all__ = ["HISTORY_JSON", "WAIT_JSON", "Rows", "changes"]

Rows = list[dict[str, Any]]

HISTORY_JSON: TypeAdapter[HistoryRecord] = TypeAdapter(HistoryRecord)
WAIT_JSON: dict[WaitKind, TypeAdapter[Any]] = {
    WaitKind.OVERDUE: TypeAdapter(tuple[str, int, OverdueStep]),
    WaitKind.QUESTION: TypeAdapter(tuple[str, int, OpenQuestion]),
}
"""Definition, version and what waits."""

_WHO_CHARS_MAX = 256
"""Nobody with a longer name can be asked for."""


def changes(log: int, update: Update) -> list[tuple[Executable, Rows]]:
    """The statements of an update with their rows, in their order."""
    documents = update.documents
    gone = [_place(log, id, row) for id, row in documents.items() if row.document is None]
    live = [_instance(log, row.sequence, row.document) for row in documents.values() if row.document is not None]
    helpers = update.helpers
    return [
        (REMOVE, gone),
        (UPSERT, live),
        (DROP_WAITS, [_place(log, id, row) for id, row in documents.items()]),
        (ADD_WAIT, [wait for id, row in documents.items() for wait in _waits(_place(log, id, row), row.document)]),
        (REMOVE_HELPER, [_place(log, id, row) for id, row in helpers.items() if row.helper is None]),
        (UPSERT_HELPER, [_helper(log, row.sequence, row.helper) for row in helpers.values() if row.helper is not None]),
        (REMEMBER, [_history(log, row) for row in update.history]),
        (MOVE, _positions(log, update)),
    ]


def _place(log: int, id: str, row: DocumentRow | HelperRow) -> dict[str, Any]:
    return {"of_log": log, "entity": id, "at": row.sequence}


def _instance(log: int, sequence: int, document: Document) -> dict[str, Any]:
    return {
        "log": log,
        "id": document.id,
        "sequence": sequence,
        "definition": document.definition,
        "version": document.version,
        "key": document.key,
        "status": document.status.value,
        "revision": document.revision,
        "created_ms": document.created_ms,
        "updated_ms": document.updated_ms,
        "document": encode_document(document).decode(),
    }


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


def _helper(log: int, sequence: int, helper: Helper) -> dict[str, Any]:
    text = encode_helper(helper).decode()
    return {"log": log, "id": helper.id, "sequence": sequence, "waiting": int(_is_waited(helper)), "document": text}


def _is_waited(helper: Helper) -> bool:
    match helper:
        case Mailbox():
            return bool(helper.watchers)
        case Lock():
            return bool(helper.waiting)
        case Table():
            return False
        case _:
            assert_never(helper)


def _history(log: int, row: HistoryRow) -> dict[str, Any]:
    return {
        "log": log,
        "instance": row.record.instance,
        "sequence": row.sequence,
        "at_ms": row.record.at_ms,
        "record": HISTORY_JSON.dump_json(row.record).decode(),
    }


def _positions(log: int, update: Update) -> Rows:
    rows = []
    for at, following in update.positions.items():
        mark = update.landmarks.get(at)
        offset, digest, timestamp_ms = mark if mark is not None else (None, None, None)
        row = {"log": log, "topic": at.topic, "part": at.partition, "next": following}
        rows.append(row | {"landmark": offset, "digest": digest, "timestamp_ms": timestamp_ms})
    return rows
