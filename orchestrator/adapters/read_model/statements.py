"""Every statement of the read model, as pure functions.

A list is one range of one index, read in the index's order; a test checks the plan of each on both databases. If a
second condition could make a planner choose another index, it is written so that it cannot use one (``_unindexed``);
only where the first condition leaves few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnCollection,
    ColumnElement,
    Delete,
    Insert,
    Integer,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    select,
    tuple_,
    type_coerce,
    union_all,
    update,
)

from ...messages.document import Status
from ...messages.schedules import SCHEDULE
from ...ports.read_model import (
    NEWEST_FIRST,
    EntityFilter,
    InstanceFilter,
    OperationFilter,
    Sort,
    SortBy,
    Span,
    WaitFilter,
    WaitKind,
)
from .columns import Whole, Words
from .cursors import Place
from .dialect import Dialect, Upsert
from .schema import DELETED, ENTITIES, HISTORY, INSTANCES, LETTERS, LOGS, POSITIONS, TERMS, WAITS
from .terms import LAST_CHARACTER, Range, is_never, ranges

__all__ = [
    "DROP_TERMS",
    "DROP_WAITS",
    "REMOVE",
    "REMOVE_ENTITY",
    "Writes",
    "clearing",
    "count",
    "count_values",
    "decisions",
    "delete_some",
    "fed",
    "forget_positions",
    "entities",
    "history",
    "instances",
    "may_walk",
    "operations",
    "positions",
    "prune",
    "sorted_by",
    "standing",
    "started",
    "tally",
    "waits",
]

Rows: TypeAlias = "Select[*tuple[Any, ...]]"
"""A query; its docstring names the columns."""

_WAIT_COLUMNS = ("kind", "step", "who", "definition", "at_ms", "wait")
_TERM_COLUMNS = ("term", "created_ms")
_KEPT = ("landmark", "digest", "timestamp_ms")


def _remove(table: Table) -> Delete:
    return delete(table).where(
        table.c.log == bindparam("of_log"), table.c.id == bindparam("entity"), table.c.sequence <= bindparam("at")
    )


REMOVE = _remove(INSTANCES)
REMOVE_ENTITY = _remove(ENTITIES)

_STANDS = exists().where(
    INSTANCES.c.log == bindparam("of_log", type_=Integer),
    INSTANCES.c.id == bindparam("entity", type_=Words),
)
_IS_OURS = _STANDS.where(INSTANCES.c.sequence == bindparam("at", type_=Whole))


def _drop(table: Table) -> Delete:
    """Deletes the rows of an instance, unless a later document is stored: its rows are current."""
    return delete(table).where(
        table.c.log == bindparam("of_log"), table.c.instance == bindparam("entity"), _IS_OURS | ~_STANDS
    )


DROP_WAITS, DROP_TERMS = _drop(WAITS), _drop(TERMS)


class Writes:
    """The statements that insert or update, in the dialect of one database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.upsert = self._newer(INSTANCES)
        self.upsert_entity = self._newer(ENTITIES)
        self.move = self._move()
        """Moves positions; a batch without records of a partition keeps its landmark."""
        self.remember = dialect.insert(HISTORY).on_conflict_do_nothing(
            index_elements=[HISTORY.c.log, HISTORY.c.instance, HISTORY.c.sequence]
        )
        self.bury = dialect.insert(LETTERS).on_conflict_do_nothing(
            index_elements=[LETTERS.c.log, LETTERS.c.part, LETTERS.c.place]
        )
        self.add_wait = self._ours(WAITS, _WAIT_COLUMNS)
        self.add_term = self._ours(TERMS, _TERM_COLUMNS)

    def registered(self, namespace: str) -> Insert:
        """Gives a namespace its number, unless it has one."""
        return (
            self._dialect.insert(LOGS)
            .values(log=self._dialect.fresh(), namespace=namespace, generation=0, clearing=0, fed_ms=0)
            .on_conflict_do_nothing(index_elements=[LOGS.c.namespace])
        )

    def _ours(self, table: Table, columns: tuple[str, ...]) -> Upsert:
        """Inserts a row of an instance, unless a later document is stored."""
        bound = (bindparam(name, type_=table.c[name].type) for name in columns)
        row = select(bindparam("of_log", type_=Integer), bindparam("entity", type_=Words), *bound).where(_IS_OURS)
        return self._dialect.insert(table).from_select(["log", "instance", *columns], row).on_conflict_do_nothing()

    def _newer(self, table: Table) -> Upsert:
        """Inserts, or updates if the place in the log, ``sequence``, is not smaller."""
        statement = self._dialect.insert(table)
        return statement.on_conflict_do_update(
            index_elements=[table.c.log, table.c.id],
            set_={name: statement.excluded[name] for name in table.c.keys() if name not in ("log", "id")},  # noqa: SIM118  # columns
            where=table.c.sequence <= statement.excluded.sequence,
        )

    def _move(self) -> Upsert:
        moved = self._dialect.insert(POSITIONS)
        return moved.on_conflict_do_update(
            index_elements=[POSITIONS.c.log, POSITIONS.c.topic, POSITIONS.c.part],
            set_={
                "next": moved.excluded.next,
                **{name: func.coalesce(moved.excluded[name], POSITIONS.c[name]) for name in _KEPT},
            },
            where=POSITIONS.c.next <= moved.excluded.next,
        )


_OF_ALL = WAITS.alias("of_all")
_WAIT = (
    select(_OF_ALL.c.wait)
    .where(*(_OF_ALL.c[name] == WAITS.c[name] for name in ("log", "instance", "kind", "step")), _OF_ALL.c.who == "")
    .correlate(WAITS)
    .scalar_subquery()
    .label("wait")
)
"""The ``wait`` of the row with an empty ``who``, found by its key: the range is read from the index alone."""


def standing(namespace: str) -> Rows:
    """The row of a namespace with each of its positions; with NULLs if there are none."""
    positions = [column for column in POSITIONS.c if column.name != "log"]
    joined = LOGS.outerjoin(POSITIONS, POSITIONS.c.log == LOGS.c.log)
    return select(LOGS, *positions).select_from(joined).where(LOGS.c.namespace == namespace)


def positions(log: int) -> Rows:
    """The positions of a log."""
    return select(POSITIONS.c.topic, POSITIONS.c.part, POSITIONS.c.next).where(POSITIONS.c.log == log)


def fed(log: int, generation: int, now_ms: int) -> Update:
    """Locks the namespace. Updates no row if the read model was cleared since, or is being cleared."""
    ours = (LOGS.c.log == log, LOGS.c.generation == generation, LOGS.c.clearing == 0)
    return update(LOGS).where(*ours).values(fed_ms=now_ms)


def clearing(log: int, *, was: bool, now: bool) -> Update:
    """Locks the namespace. Begins a clearing (and a generation), continues it, or ends it; updates no row if the
    current value is not ``was``.
    """
    begun = {"generation": LOGS.c.generation + 1, "fed_ms": 0} if now and not was else {}
    return update(LOGS).where(LOGS.c.log == log, LOGS.c.clearing == int(was)).values(clearing=int(now), **begun)


def forget_positions(log: int) -> Delete:
    """Deletes the positions: the next projector begins at the earliest record."""
    return delete(POSITIONS).where(POSITIONS.c.log == log)


_SORTED = {
    SortBy.CREATED: (),
    SortBy.UPDATED: (INSTANCES.c.updated_ms,),
    SortBy.DEFINITION: (INSTANCES.c.definition,),
    SortBy.VERSION: (INSTANCES.c.definition, INSTANCES.c.version),
    SortBy.KEY: (INSTANCES.c.key,),
    SortBy.STATUS: (INSTANCES.c.status,),
}
"""The columns before start and id. Each with them is the end of an index."""


def sorted_by(sort: Sort) -> tuple[ColumnElement[Any], ...]:
    """The columns of an order, which a cursor holds."""
    return (*_SORTED[sort.by], INSTANCES.c.created_ms, INSTANCES.c.id)


def instances(
    log: int, where: InstanceFilter, after: Place | None, limit: int, sort: Sort = NEWEST_FIRST, *, few: bool = False
) -> Rows:
    """In this order: (document, and the columns of the order). ``few``: so few keys have the prefix that they are
    sorted, and then their documents are read; the planner would rather walk all instances in the order.
    """
    query, driver = _matching(log, where)
    columns = sorted_by(sort)
    # A term's index is in the order of the start too.
    order = (driver.created_ms, driver.instance) if driver is not None and sort.by is SortBy.CREATED else columns
    if few:
        order = (_unindexed(order[0]), *order[1:])
    if after is not None:
        query = query.where(tuple_(*order) > after if sort.ascending else tuple_(*order) < after)
    query = query.order_by(*(each if sort.ascending else each.desc() for each in order)).limit(limit)
    if few:
        return _documents_of(log, query.with_only_columns(*columns), sort)
    return query.with_only_columns(INSTANCES.c.document, *columns)


def may_walk(where: InstanceFilter, sort: Sort) -> bool:
    """The planner may walk all instances in the order of the list, to find those whose keys have the prefix."""
    required = ranges(where)
    has_driver = bool(required) and required[0].end is None
    return where.key_prefix is not None and sort.by is not SortBy.KEY and not has_driver


def _documents_of(log: int, found: Rows, sort: Sort) -> Rows:
    """The documents of a page, whose other columns are found in an index."""
    page = found.subquery("page")
    columns = [page.c[each.name] for each in sorted_by(sort)]
    query = select(INSTANCES.c.document, *columns).where(INSTANCES.c.log == log, INSTANCES.c.id == page.c.id)
    return query.order_by(*(each if sort.ascending else each.desc() for each in columns))


_NO_COLUMNS = InstanceFilter()
_OF_TERMS = ("attributes", "code", "is_overdue", "is_paused")
"""The conditions of a filter that are terms."""


def count(log: int, where: InstanceFilter, limit: int) -> Rows:
    """How many match, at most ``limit``."""
    terms = _by_terms(log, where)
    query = terms if terms is not None else _matching(log, where)[0]
    return select(func.count()).select_from(query.with_only_columns(literal(1)).limit(limit).subquery())


def started(log: int, spans: Sequence[Span], definition: str | None) -> Rows:
    """For each span a row: how many instances of each status started in it.

    Each number is a range of its own: to group one range of all spans takes several times as long on SQLite, which
    sorts for it.
    """
    asked = union_all(*(_numbered(number, span) for number, span in enumerate(spans))).cte("spans")
    table, since, until = INSTANCES.c, asked.c.since_ms, asked.c.until_ms
    counted = select(func.count()).where(table.log == log, table.created_ms >= since, table.created_ms < until)
    if definition is not None:
        counted = counted.where(table.definition == definition)
    counts = [counted.where(table.status == each.value).correlate(asked).scalar_subquery() for each in Status]
    return select(*counts).select_from(asked).order_by(asked.c.number)


def _numbered(number: int, span: Span) -> Rows:
    since, until = literal(span.since_ms, Whole), literal(span.until_ms, Whole)
    return select(literal(number).label("number"), since.label("since_ms"), until.label("until_ms"))


def count_values(log: int, where: InstanceFilter, limit: int) -> Rows | None:
    """Of a filter that is one range of values: how many are in it, at most ``limit``, and how many instances have them.
    None: it is another filter.
    """
    bounds = ranges(where)
    if len(bounds) != 1 or bounds[0].end is None or where != InstanceFilter(attributes=where.attributes):
        return None
    terms = TERMS.c
    query = select(terms.instance).where(terms.log == log, terms.term >= bounds[0].first, terms.term < bounds[0].end)
    values = query.limit(limit).subquery()
    return select(func.count(), func.count(values.c.instance.distinct())).select_from(values)


def _by_terms(log: int, where: InstanceFilter) -> Rows | None:
    """The instances that match a filter of terms alone, without a look at the instances; None: it has other conditions,
    or no term that all of them have.
    """
    first, *others = ranges(where) or [Range("", "")]
    if first.end is not None or where != _NO_COLUMNS._replace(**{name: getattr(where, name) for name in _OF_TERMS}):
        return None
    driver = TERMS.alias("driver").c
    query = select(driver.instance).where(driver.log == log, driver.term == first.first)
    query = query.where(*(_has(log, driver.instance, each) for each in others))
    return query.where(*(~_has(log, driver.instance, Range(each)) for each in is_never(where)))


def _matching(log: int, where: InstanceFilter) -> tuple[Rows, ColumnCollection[str, Any] | None]:
    """The instances that match a filter, and the columns of the term that leads to them, if one does."""
    table = INSTANCES.c
    required = ranges(where)
    driver = TERMS.alias("driver").c if required and required[0].end is None else None
    query = select(table.id).where(table.log == log)
    if driver is not None:
        query = query.where(table.id == driver.instance, driver.log == log, driver.term == required.pop(0).first)
    # There is at most one instance per key and definition.
    narrow = _unindexed if where.key is not None else _plain
    if where.key is not None:
        query = query.where(table.key == where.key)
    if where.definition is not None:
        query = query.where(narrow(table.definition) == where.definition)
    if where.statuses:
        names = [status.value for status in where.statuses]
        query = query.where(narrow(table.status) == names[0] if len(names) == 1 else table.status.in_(names))
    if where.version is not None:
        query = query.where(table.version == where.version)
    if where.key_prefix is not None:
        query = query.where(table.key >= where.key_prefix, table.key < where.key_prefix + LAST_CHARACTER)
    query = query.where(*_within(table.created_ms, where.started), *_within(table.updated_ms, where.updated))
    query = query.where(*(_has(log, table.id, each) for each in required))
    return query.where(*(~_has(log, table.id, Range(each)) for each in is_never(where))), driver


def _within(column: ColumnElement[int], span: Span) -> list[ColumnElement[bool]]:
    since = [column >= span.since_ms] if span.since_ms is not None else []
    return since + ([column < span.until_ms] if span.until_ms is not None else [])


def _has(log: int, instance: ColumnElement[str], range: Range) -> ColumnElement[bool]:
    """The instance has a term in the range."""
    terms = TERMS.alias().c
    bounds = (terms.term == range.first,) if range.end is None else (terms.term >= range.first, terms.term < range.end)
    # Not of all columns: on SQLite only the other index has them all, and would be walked for each instance.
    return exists(select(literal(1)).where(terms.log == log, terms.instance == instance, *bounds))


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


def history(log: int, instance: str, after: int, newest_first: bool) -> Rows:
    """By sequence: (sequence, record)."""
    table = HISTORY.c
    query = select(table.sequence, table.record).where(table.log == log, table.instance == instance)
    if not newest_first:
        return query.where(table.sequence > after).order_by(table.sequence)
    return (query.where(table.sequence < after) if after >= 0 else query).order_by(table.sequence.desc())


def decisions(log: int, part: int, start: int, limit: int) -> Rows:
    """By offset: (offset, instance, time, record)."""
    table = HISTORY.c
    query = select(table.sequence, table.instance, table.at_ms, table.record).where(
        table.log == log, table.part == part, table.sequence >= start
    )
    return query.order_by(table.sequence).limit(limit)


def operations(log: int, where: OperationFilter, after: Place | None, limit: int) -> Rows:
    """Newest first: (time, instance, sequence, partition, record)."""
    table = HISTORY.c
    place = (table.at_ms, table.instance, table.sequence)
    query = select(*place, table.part, table.record).where(table.log == log, table.who.is_not(None))
    equal = ((table.who, where.who), (table.instance, where.target), (table.act, where.act))
    query = query.where(*(column == value for column, value in equal if value is not None))
    query = query.where(*_within(table.at_ms, where.at))
    if after is not None:
        query = query.where(tuple_(*place) < after)
    return query.order_by(*(each.desc() for each in place)).limit(limit)


def entities(log: int, where: EntityFilter, after: Place | None, limit: int) -> Rows:
    """By id: (id, document)."""
    table = ENTITIES.c
    query = select(table.id, table.document).where(table.log == log, table.id < where.prefix + LAST_CHARACTER)
    if where.status is not None:
        query = query.where(table.status == where.status)
    elif where.prefix == SCHEDULE:  # only schedules leave a mark when they are deleted
        query = query.where(table.status != DELETED)
    first = table.id >= where.prefix if after is None else table.id > max(str(after[0]), where.prefix)
    return query.where(first).order_by(table.id).limit(limit)


def tally(log: int) -> Rows:
    """Instances that have not ended: (definition, status, count); overdue ones under the status ``overdue``."""
    table, waits = INSTANCES.c, WAITS.c
    open_ = [status.value for status in Status if not status.is_final]
    standing = (
        select(table.definition, table.status, func.count().label("count"))
        .where(table.log == log, table.status.in_(open_))
        .group_by(table.definition, table.status)
    )
    late = (
        select(waits.definition, literal("overdue"), func.count(waits.instance.distinct()))
        .where(waits.log == log, waits.kind == WaitKind.OVERDUE.value, waits.who == "")
        .group_by(waits.definition)
    )
    return standing.union_all(late)  # type: ignore[return-value]  # a union is read like a query


def prune(log: int, before_ms: int, limit: int) -> Delete:
    """Removes a limited number of the oldest rows of the history."""
    old = (
        select(HISTORY.c.instance, HISTORY.c.sequence)
        .where(HISTORY.c.log == log, HISTORY.c.at_ms < before_ms)
        .order_by(HISTORY.c.at_ms)
        .limit(limit)
    )
    return delete(HISTORY).where(HISTORY.c.log == log, tuple_(HISTORY.c.instance, HISTORY.c.sequence).in_(old))


def delete_some(table: Table, log: int, limit: int) -> Delete:
    """Removes a limited number of rows of one log."""
    keys = [column for column in table.primary_key if column.name != "log"]
    some = select(*keys).where(table.c.log == log).limit(limit)
    chosen: ColumnElement[Any] = tuple_(*keys) if len(keys) > 1 else keys[0]
    return delete(table).where(and_(table.c.log == log, chosen.in_(some)))


def _plain(column: ColumnElement[str]) -> ColumnElement[str]:
    return column


def _unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    same = column + 0 if isinstance(column.type, Whole) else column.concat(literal(""))
    return type_coerce(same, column.type)
