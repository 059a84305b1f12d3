"""Statements and rows of dead letters. The state of a letter is that of its mark, joined from ``read_entities``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Delete, Select, and_, case, delete, func, select, tuple_

from ...messages.dead import DeadRecord
from ...messages.entities import DeadStatus
from ...messages.parcels import from_base64
from ...ports.read_model import LetterFilter
from .cursors import Place
from .schema import ENTITIES, LETTERS

__all__ = ["LETTER_JSON", "count", "groups", "letter", "letters", "prune_letters", "row"]

LETTER_JSON: TypeAdapter[DeadRecord] = TypeAdapter(DeadRecord)

Rows: TypeAlias = "Select[*tuple[Any, ...]]"
"""A query; its docstring names the columns."""

_L = LETTERS.c
_MARKED = LETTERS.outerjoin(ENTITIES, and_(ENTITIES.c.log == _L.log, ENTITIES.c.id == _L.id))
_state = func.coalesce(ENTITIES.c.status, DeadStatus.OPEN.value)


def row(log: int, record: DeadRecord) -> Iterator[dict[str, Any]]:
    """The row of a dead letter."""
    yield {
        "log": log,
        "part": record.partition,
        "place": record.offset,
        "id": record.id,
        "at_ms": record.at_ms,
        "topic": record.topic,
        "key": _text(record.key),
        "fingerprint": record.fingerprint,
        "reason": record.reason,
        "letter": LETTER_JSON.dump_json(record).decode(),
    }


def _text(coded: str | None) -> str:
    """A key as people give it: its text, or base64 of bytes that are not UTF-8."""
    try:
        return (from_base64(coded) or b"").decode()
    except UnicodeDecodeError:
        return coded or ""


def letter(log: int, part: int, place: int) -> Rows:
    """One of them: (letter, document of its mark)."""
    return (
        select(_L.letter, ENTITIES.c.document)
        .select_from(_MARKED)
        .where(_L.log == log, _L.part == part, _L.place == place)
    )


def letters(log: int, where: LetterFilter, after: Place | None, limit: int, *, oldest_first: bool) -> Rows:
    """Newest first, or in the order of the topic: (time, partition, offset, letter, document of its mark)."""
    query = select(_L.at_ms, _L.part, _L.place, _L.letter, ENTITIES.c.document).select_from(_MARKED)
    query = query.where(*_conditions(log, where))
    if oldest_first:
        if after is not None:
            query = query.where(tuple_(_L.part, _L.place) > after)
        return query.order_by(_L.part, _L.place).limit(limit)
    if after is not None:
        query = query.where(tuple_(_L.at_ms, _L.part, _L.place) < after)
    return query.order_by(_L.at_ms.desc(), _L.part.desc(), _L.place.desc()).limit(limit)


def count(log: int, where: LetterFilter) -> Rows:
    """How many there are."""
    return select(func.count()).select_from(_MARKED).where(*_conditions(log, where))


def groups(log: int, where: LetterFilter, after: Place | None, limit: int) -> Rows:
    """The newest first by the first letter of each: (fingerprint, count, open, first, last, reason)."""
    is_open = case((_state == DeadStatus.OPEN.value, 1), else_=0)
    first = func.min(_L.at_ms).label("first_ms")
    query = (
        select(
            _L.fingerprint,
            func.count().label("count_"),
            func.sum(is_open).label("open_count"),
            first,
            func.max(_L.at_ms).label("last_ms"),
            func.max(_L.reason).label("reason"),
        )
        .select_from(_MARKED)
        .where(*_conditions(log, where))
        .group_by(_L.fingerprint)
    )
    if after is not None:
        query = query.having(tuple_(func.min(_L.at_ms), _L.fingerprint) < after)
    return query.order_by(first.desc(), _L.fingerprint.desc()).limit(limit)


def prune_letters(log: int, before_ms: int, limit: int) -> Delete:
    """Removes a limited number of letters that the log no longer has to keep."""
    old = select(_L.part, _L.place).where(_L.log == log, _L.at_ms < before_ms).order_by(_L.at_ms).limit(limit)
    return delete(LETTERS).where(_L.log == log, tuple_(_L.part, _L.place).in_(old))


def _conditions(log: int, where: LetterFilter) -> list[ColumnElement[bool]]:
    found = [_L.log == log]
    equal = ((_L.topic, where.topic), (_L.key, where.key), (_L.fingerprint, where.fingerprint))
    found += [column == value for column, value in equal if value is not None]
    if where.reason is not None:
        found.append(_L.reason.icontains(where.reason, autoescape=True))
    if where.since_ms is not None:
        found.append(_L.at_ms >= where.since_ms)
    if where.until_ms is not None:
        found.append(_L.at_ms < where.until_ms)
    if where.state is not None:
        found.append(_state == where.state.value)
    return found
