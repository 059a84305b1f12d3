"""Every statement of the read model, as a pure function of what is asked.

A list is one range of one index, read in the index's order; a test reads the plan of each on both databases. Where a
second condition could lead a planner to another index, it is written so that no index can serve it (``_unindexed``):
that is done only where the first condition leaves few rows.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Delete,
    Insert,
    Integer,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import Insert as Upsert

from ...ports.read_model import HelperFilter, InstanceFilter, WaitFilter
from .cursors import Place
from .dialects import insert
from .schema import HELPERS, HISTORY, INSTANCES, LOGS, POSITIONS, WAITS

__all__ = [
    "ADD_WAIT",
    "DROP_WAITS",
    "MOVE",
    "REMEMBER",
    "REMOVE",
    "REMOVE_HELPER",
    "UPSERT",
    "UPSERT_HELPER",
    "delete_some",
    "fed",
    "helpers",
    "history",
    "instances",
    "prune",
    "registered",
    "waits",
]

Rows: TypeAlias = "Select[*tuple[Any, ...]]"
"""A query; each row has the columns that its docstring names."""

_LAST_CHARACTER = "\U0010ffff"
"""No id has a greater one."""


def _newer(table: Table, keys: int, grows: str) -> Upsert:
    """Insert, or else update when ``grows`` has not shrunk; the first ``keys`` columns are the key."""
    statement = insert(table)
    columns = list(table.c)
    return statement.on_conflict_do_update(
        index_elements=columns[:keys],
        set_={column.name: statement.excluded[column.name] for column in columns[keys:]},
        where=table.c[grows] <= statement.excluded[grows],
    )


UPSERT = _newer(INSTANCES, 2, "sequence")
UPSERT_HELPER = _newer(HELPERS, 2, "sequence")
_MOVED = insert(POSITIONS)
_KEPT = ("landmark", "digest", "timestamp_ms")
MOVE = _MOVED.on_conflict_do_update(
    index_elements=[POSITIONS.c.log, POSITIONS.c.topic, POSITIONS.c.part],
    set_={
        "next": _MOVED.excluded.next,
        **{name: func.coalesce(_MOVED.excluded[name], POSITIONS.c[name]) for name in _KEPT},
    },
    where=POSITIONS.c.next <= _MOVED.excluded.next,
)
"""A batch without a record of a partition moves its position and keeps its landmark."""
REMEMBER = insert(HISTORY).on_conflict_do_nothing(
    index_elements=[HISTORY.c.log, HISTORY.c.instance, HISTORY.c.sequence]
)


def _remove(table: Table) -> Delete:
    return delete(table).where(
        table.c.log == bindparam("of_log"), table.c.id == bindparam("entity"), table.c.sequence <= bindparam("at")
    )


REMOVE = _remove(INSTANCES)
REMOVE_HELPER = _remove(HELPERS)

_STANDS = exists().where(
    INSTANCES.c.log == bindparam("of_log", type_=Integer),
    INSTANCES.c.id == bindparam("entity", type_=Text),
)
_IS_OURS = _STANDS.where(INSTANCES.c.sequence == bindparam("at", type_=BigInteger))

DROP_WAITS = delete(WAITS).where(
    WAITS.c.log == bindparam("of_log"), WAITS.c.instance == bindparam("entity"), _IS_OURS | ~_STANDS
)
"""What waited in an instance, unless a later document of it stands: then that one has said what waits."""

_WAIT_COLUMNS = ("kind", "step", "who", "definition", "at_ms", "wait")
ADD_WAIT = (
    insert(WAITS)
    .from_select(
        ["log", "instance", *_WAIT_COLUMNS],
        select(
            bindparam("of_log", type_=Integer),
            bindparam("entity", type_=Text),
            *(bindparam(name, type_=WAITS.c[name].type) for name in _WAIT_COLUMNS),
        ).where(_IS_OURS),
    )
    .on_conflict_do_nothing()
)


_OF_ALL = WAITS.alias("of_all")
_WAIT = (
    select(_OF_ALL.c.wait)
    .where(*(_OF_ALL.c[name] == WAITS.c[name] for name in ("log", "instance", "kind", "step")), _OF_ALL.c.who == "")
    .correlate(WAITS)
    .scalar_subquery()
    .label("wait")
)
"""What the row with an empty ``who`` says, found by its key: the range is read from the index alone."""


def registered(namespace: str) -> Insert:
    """Gives a namespace its number, unless it has one."""
    return (
        insert(LOGS)
        .values(namespace=namespace, generation=0, clearing=0, fed_ms=0)
        .on_conflict_do_nothing(index_elements=[LOGS.c.namespace])
    )


def fed(log: int, generation: int, now_ms: int) -> Update:
    """Touches no row when somebody has cleared the read model since."""
    return update(LOGS).where(LOGS.c.log == log, LOGS.c.generation == generation).values(fed_ms=now_ms)


def instances(log: int, where: InstanceFilter, after: Place | None, limit: int) -> Rows:
    """Newest start first: (id, start, document)."""
    table = INSTANCES.c
    status = where.status.value if where.status is not None else None
    query = select(table.id, table.created_ms, table.document).where(table.log == log)
    # Of one key there is at most one instance per definition.
    narrow = _unindexed if where.key is not None else _plain
    if where.key is not None:
        query = query.where(table.key == where.key)
    if where.definition is not None:
        query = query.where(narrow(table.definition) == where.definition)
    if status is not None:
        query = query.where(narrow(table.status) == status)
    if after is not None:
        query = query.where(tuple_(table.created_ms, table.id) < after)
    return query.order_by(table.created_ms.desc(), table.id.desc()).limit(limit)


def waits(log: int, where: WaitFilter, after: Place | None, limit: int) -> Rows:
    """Earliest first: (time, instance, step, wait)."""
    table = WAITS.c
    query = select(table.at_ms, table.instance, table.step, _WAIT).where(
        table.log == log, table.kind == where.kind.value, table.who == (where.who or "")
    )
    if where.definition is not None:
        query = query.where(table.definition == where.definition)
    if after is not None:
        query = query.where(tuple_(table.at_ms, table.instance, table.step) > after)
    return query.order_by(table.at_ms, table.instance, table.step).limit(limit)


def history(log: int, instance: str, after: int, limit: int) -> Rows:
    """Oldest first: (sequence, record)."""
    table = HISTORY.c
    query = select(table.sequence, table.record).where(
        table.log == log, table.instance == instance, table.sequence > after
    )
    return query.order_by(table.sequence).limit(limit)


def helpers(log: int, where: HelperFilter, after: Place | None, limit: int) -> Rows:
    """By id: (id, document)."""
    table = HELPERS.c
    query = select(table.id, table.document).where(table.log == log, table.id < where.prefix + _LAST_CHARACTER)
    if where.waiting:
        query = query.where(table.waiting == 1)
    first = table.id >= where.prefix if after is None else table.id > max(str(after[0]), where.prefix)
    return query.where(first).order_by(table.id).limit(limit)


def prune(log: int, before_ms: int, limit: int) -> Delete:
    """Removes the oldest rows of the history, a bounded number."""
    old = (
        select(HISTORY.c.instance, HISTORY.c.sequence)
        .where(HISTORY.c.log == log, HISTORY.c.at_ms < before_ms)
        .order_by(HISTORY.c.at_ms)
        .limit(limit)
    )
    return delete(HISTORY).where(HISTORY.c.log == log, tuple_(HISTORY.c.instance, HISTORY.c.sequence).in_(old))


def delete_some(table: Table, log: int, limit: int) -> Delete:
    """Removes rows of one log, a bounded number."""
    keys = [column for column in table.primary_key if column.name != "log"]
    some = select(*keys).where(table.c.log == log).limit(limit)
    chosen: ColumnElement[Any] = tuple_(*keys) if len(keys) > 1 else keys[0]
    return delete(table).where(and_(table.c.log == log, chosen.in_(some)))


def _plain(column: ColumnElement[str]) -> ColumnElement[str]:
    return column


def _unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    return column.concat(literal(""))
