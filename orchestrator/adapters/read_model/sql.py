"""``SqlReadModel``: SQLAlchemy Core in threads, one transaction per update.

- Writes run one at a time in one thread; reads run concurrently, each on its own snapshot.
- An update never goes backwards: a document is replaced only by one whose record is later in the log, a position only
  by a greater one. So several processes may feed the same tables, from any position: one writes at a time, and
  records before the stored positions are not written again, also those in an update that has later ones of another
  partition. No clock is involved.
- An update from before another process's ``clear`` is rejected (``generation``), so that a rebuild has no gaps.
  Concurrent clears share one clearing, and nothing is written until it has ended.
- A row that the database rejects is logged and omitted; it does not affect others.
- After a failure the next ``standing`` checks the tables, and creates them again if necessary.
- History outlives its instance and is kept as long as in the log: each update deletes some of the oldest rows, more
  than it adds. Their age is measured from the newest record or our clock, whichever is earlier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Executable, Select, Table, select

from ...codec.documents import decode_document
from ...codec.entities import decode_entity
from ...errors import ConfigurationError, InvalidRequest, ReadModelCleared, TransientError
from ...messages.document import Document, Status
from ...messages.entities import DeadMark, Entity
from ...ports.log import TopicPartition
from ...ports.read_model import (
    COUNT_MAX,
    NEWEST_FIRST,
    Count,
    Decisions,
    DocumentRow,
    EntityFilter,
    EntityPage,
    EntityRow,
    HistoryRow,
    InstanceFilter,
    Landmark,
    LetterFilter,
    LetterGroup,
    LetterGroups,
    LetterPage,
    LetterRow,
    OperationFilter,
    OperationPage,
    Page,
    Sort,
    Span,
    Standing,
    Tally,
    Update,
    WaitFilter,
    WaitPage,
    WaitRow,
)
from ...ports.topics import DEAD_RETENTION_MS
from . import letters, statements
from .addresses import dialect_of, shown
from .columns import Whole
from .cursors import decode_cursor, encode_cursor
from .decisions import read_decisions
from .dialect import Dialect
from .rows import HISTORY_JSON, WAIT_JSON, Rows, changes
from .schema import ENTITIES, HISTORY, INSTANCES, LETTERS, TERMS, WAITS, prepare
from .threads import Threads

__all__ = ["SqlReadModel"]

T = TypeVar("T")

_log = structlog.get_logger("sagaline.read_model")

_PREPARE_SECONDS = 120.0
_WRITE_SECONDS = 60.0
"""More than for a query: an interrupted write is repeated from the beginning."""
_CLEAR_ROWS = 2_000
_SORTED_MAX = 100_000
"""Keys that are sorted for a page of a prefix: some 30 ms."""
_BY_OPERATION, _BY_ID, _BY_TIME, _BY_PLACE, _BY_FIRST = "operation", "id", "time", "place", "first"


class SqlReadModel:
    """The read model port on a SQL database; create it with ``open``."""

    def __init__(self, dialect: Dialect, namespace: str, history_retention: timedelta, deadline: timedelta) -> None:
        self._dialect, self._namespace = dialect, namespace
        self._threads = Threads(dialect, deadline.total_seconds())
        self._writes = statements.Writes(dialect)
        self._history_retention_ms = round(history_retention.total_seconds() * 1000)
        self._number = 0
        self._suspect = True

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        namespace: str,
        history_retention: timedelta = timedelta(days=90),
        deadline: timedelta = timedelta(seconds=10),
    ) -> SqlReadModel:
        """Opens it and creates its tables; those of another schema version are dropped, to be rebuilt from the log.

        Args:
            url: SQLAlchemy's form: ``sqlite:////var/lib/shop/sagaline.db`` or ``postgresql://user:password@host/db``.
                For the embedded log's file, open the log first: it creates the file.
            namespace: of this read model; other namespaces in the same database are not touched.
            history_retention: history older than this is dropped.
            deadline: of every query; a longer one is interrupted.

        Raises:
            ConfigurationError: the address is malformed, its driver is not installed, or the database cannot be opened
                or written.
        """
        dialect = dialect_of(url)
        model = cls(dialect, namespace, history_retention, deadline)
        try:
            await model.standing()
        except ConfigurationError:
            await model.close()
            raise
        except TransientError as error:
            await model.close()
            raise ConfigurationError(
                f"the read model at {shown(url)} cannot be opened: {_said(error)}; {dialect.remedy}"
            ) from error
        return model

    async def apply(self, update: Update) -> None:
        """See the port."""
        # Prepared in the thread, before the transaction: neither the event loop nor the log's writer waits for it.
        number = self._number
        prepared = await self._threads.prepared(partial(changes, self._writes, number, update))
        prune = self._prune(number, update)

        def run(connection: Connection) -> None:
            if connection.execute(statements.fed(number, update.generation, update.now_ms)).rowcount == 0:
                raise ReadModelCleared(self._namespace)
            stand = _positions(connection, number)
            if _has_passed(stand, update.positions):
                return
            fresh = _fresh(stand, update)
            for statement, rows in prepared if fresh == update else changes(self._writes, number, fresh):
                if rows:
                    self._carry_out(connection, statement, rows)
            for statement in prune:
                connection.execute(statement)

        await self._write(run)

    async def standing(self) -> Standing:
        """See the port. Raises: TransientError."""
        if self._suspect:
            await self._write(partial(prepare, self._dialect), seconds=_PREPARE_SECONDS)
            await self._write(lambda connection: connection.execute(self._writes.registered(self._namespace)))
            self._suspect = False

        query = statements.standing(self._namespace)
        rows = await self._read(lambda connection: connection.execute(query).all())
        if not rows:
            self._suspect = True
            raise TransientError("the read model has lost its tables; retry, which creates them again")
        self._number, first = rows[0].log, rows[0]
        places = [(TopicPartition(row.topic, row.part), row) for row in rows if row.topic is not None]
        marks = {
            at: Landmark(row.landmark, row.digest, row.timestamp_ms) for at, row in places if row.landmark is not None
        }
        positions = {at: row.next for at, row in places}
        return Standing(positions, marks, first.fed_ms, first.generation, bool(first.clearing))

    async def get(self, instance: str) -> Document | None:
        """See the port. Raises: TransientError."""
        query = select(INSTANCES.c.document).where(INSTANCES.c.log == self._number, INSTANCES.c.id == instance)
        found = await self._rows(query, lambda row: decode_document(row.document.encode()))
        return found[0][1] if found else None

    async def list(
        self, where: InstanceFilter, *, limit: int, cursor: str | None = None, sort: Sort = NEWEST_FIRST
    ) -> Page:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        order = f"{'+' if sort.ascending else '-'}{sort.by}"
        types = [int if isinstance(column.type, Whole) else str for column in statements.sorted_by(sort)]
        after = decode_cursor(cursor, order, *types) if cursor is not None else None
        few = statements.may_walk(where, sort) and await self._has_few(where.key_prefix)
        query = statements.instances(self._number, where, after, _one_more(limit), sort, few=few)
        found = await self._rows(query, lambda row: decode_document(row.document.encode()))
        last = found[limit - 1][0] if len(found) > limit else None
        cursor = encode_cursor(order, tuple(last)[1:]) if last is not None else None
        return Page([document for _, document in found[:limit]], cursor)

    async def _has_few(self, prefix: str | None) -> bool:
        query = statements.count(self._number, InstanceFilter(key_prefix=prefix), _SORTED_MAX + 1)
        found: int = await self._read(lambda connection: connection.execute(query).scalar_one())
        return found <= _SORTED_MAX

    async def count(self, where: InstanceFilter) -> Count:
        """See the port. Raises: TransientError."""
        by_value = statements.count_values(self._number, where, COUNT_MAX + 1)
        if by_value is not None:
            values, found = await self._read(lambda connection: tuple(connection.execute(by_value).one()))
            if values <= COUNT_MAX or found > COUNT_MAX:
                return Count(min(found, COUNT_MAX), found <= COUNT_MAX)
        query = statements.count(self._number, where, COUNT_MAX + 1)
        found = await self._read(lambda connection: connection.execute(query).scalar_one())
        return Count(min(found, COUNT_MAX), found <= COUNT_MAX)

    async def started(self, spans: Sequence[Span], definition: str | None = None) -> Sequence[Mapping[Status, int]]:
        """See the port. Raises: TransientError."""
        query = statements.started(self._number, spans, definition)
        return [dict(zip(Status, row, strict=True)) for row, _ in await self._rows(query, lambda _: None)]

    async def waits(self, where: WaitFilter, *, limit: int, cursor: str | None = None) -> WaitPage:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        after = decode_cursor(cursor, where.kind.value, int, str, str) if cursor is not None else None
        query = statements.waits(self._number, where, after, _one_more(limit))
        read = WAIT_JSON[where.kind].validate_json
        found = await self._rows(query, lambda row: WaitRow(row.instance, *read(row.wait)))
        last = found[limit - 1][0] if len(found) > limit else None
        place = (last.at_ms, last.instance, last.step) if last is not None else ()
        return WaitPage([row for _, row in found[:limit]], encode_cursor(where.kind.value, place) if place else None)

    async def history(
        self, instance: str, *, after: int = -1, limit: int, newest_first: bool = False
    ) -> Sequence[HistoryRow]:
        """See the port. Raises: TransientError."""
        query = statements.history(self._number, instance, after, newest_first).limit(limit)
        found = await self._rows(query, lambda row: HistoryRow(row.sequence, HISTORY_JSON.validate_json(row.record)))
        return [row for _, row in found]

    async def decisions(self, after: Mapping[TopicPartition, int], *, limit: int) -> Decisions:
        """See the port. Raises: TransientError."""
        return await self._read(partial(read_decisions, log=self._number, after=after, limit=limit))

    async def operations(self, where: OperationFilter, *, limit: int, cursor: str | None = None) -> OperationPage:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        after = decode_cursor(cursor, _BY_OPERATION, int, str, int) if cursor is not None else None
        query = statements.operations(self._number, where, after, _one_more(limit))
        found = await self._rows(query, lambda row: HistoryRow(row.sequence, HISTORY_JSON.validate_json(row.record)))
        last = found[limit - 1][0] if len(found) > limit else None
        cursor = encode_cursor(_BY_OPERATION, tuple(last)[:3]) if last is not None else None
        return OperationPage([row for _, row in found[:limit]], cursor)

    async def entity(self, entity: str) -> Entity | None:
        """See the port. Raises: TransientError."""
        query = select(ENTITIES.c.document).where(ENTITIES.c.log == self._number, ENTITIES.c.id == entity)
        found = await self._rows(query, lambda row: decode_entity(row.document.encode()))
        return found[0][1] if found else None

    async def entities(self, where: EntityFilter, *, limit: int, cursor: str | None = None) -> EntityPage:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        after = decode_cursor(cursor, _BY_ID, str) if cursor is not None else None
        query = statements.entities(self._number, where, after, _one_more(limit))
        found = await self._rows(query, lambda row: decode_entity(row.document.encode()))
        cursor = encode_cursor(_BY_ID, (found[limit - 1][0].id,)) if len(found) > limit else None
        return EntityPage([entity for _, entity in found[:limit]], cursor)

    async def letter(self, partition: int, offset: int) -> LetterRow | None:
        """See the port. Raises: TransientError."""
        found = await self._rows(letters.letter(self._number, partition, offset), _letter)
        return found[0][1] if found else None

    async def letters(
        self, where: LetterFilter, *, limit: int, cursor: str | None = None, oldest_first: bool = False
    ) -> LetterPage:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        order, *types = (_BY_PLACE, int, int) if oldest_first else (_BY_TIME, int, int, int)
        after = decode_cursor(cursor, order, *types) if cursor is not None else None
        query = letters.letters(self._number, where, after, _one_more(limit), oldest_first=oldest_first)
        found = await self._rows(query, _letter)
        last = found[limit - 1][0] if len(found) > limit else None
        place = () if last is None else (last.part, last.place) if oldest_first else (last.at_ms, last.part, last.place)
        return LetterPage([each for _, each in found[:limit]], encode_cursor(order, place) if place else None)

    async def letter_count(self, where: LetterFilter) -> int:
        """See the port. Raises: TransientError."""
        query = letters.count(self._number, where)
        return await self._read(lambda connection: connection.execute(query).scalar_one())

    async def letter_groups(self, where: LetterFilter, *, limit: int, cursor: str | None = None) -> LetterGroups:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        after = decode_cursor(cursor, _BY_FIRST, int, str) if cursor is not None else None
        query = letters.groups(self._number, where, after, _one_more(limit))
        found = [each for _, each in await self._rows(query, lambda row: LetterGroup(*row))]
        last = found[limit - 1] if len(found) > limit else None
        cursor = encode_cursor(_BY_FIRST, (last.first_ms, last.fingerprint)) if last is not None else None
        return LetterGroups(found[:limit], cursor)

    async def tally(self) -> Mapping[str, Tally]:
        """See the port. Raises: TransientError."""
        query = statements.tally(self._number)
        found: dict[str, Counter[str]] = {}
        for definition, status, count in await self._read(lambda connection: connection.execute(query).all()):
            found.setdefault(definition, Counter())[status] = count
        return {name: Tally(of.total() - of["overdue"], of["attention"], of["overdue"]) for name, of in found.items()}

    async def clear(self) -> None:
        """See the port. In small transactions, so that the log's writer, which may share the file, never waits long.
        The next call continues an interrupted clearing (``Standing.clearing``).

        Raises:
            TransientError: it was not completed; call it again.
        """
        log = self._number

        def begin(connection: Connection) -> None:
            if connection.execute(statements.clearing(log, was=False, now=True)).rowcount:
                connection.execute(statements.forget_positions(log))

        def is_empty(connection: Connection, table: Table) -> bool:
            if connection.execute(statements.clearing(log, was=True, now=True)).rowcount == 0:
                return True  # another process has ended it
            return connection.execute(statements.delete_some(table, log, _CLEAR_ROWS)).rowcount < _CLEAR_ROWS

        await self._write(begin)
        for table in (WAITS, TERMS, INSTANCES, HISTORY, ENTITIES, LETTERS):
            while not await self._write(partial(is_empty, table=table)):
                pass
        await self._write(lambda connection: connection.execute(statements.clearing(log, was=True, now=False)))

    async def close(self) -> None:
        """See the port."""
        await self._threads.close()

    async def _rows(self, query: Select[*tuple[Any, ...]], decode: Callable[[Any], T]) -> Sequence[tuple[Any, T]]:
        """The rows of a query with their decoded values; decoding runs in the thread, not in the event loop."""
        return await self._read(lambda connection: [(row, decode(row)) for row in connection.execute(query)])

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._threads.read(work)
        except TransientError:
            self._suspect = True
            raise

    async def _write(self, work: Callable[[Connection], T], *, seconds: float = _WRITE_SECONDS) -> T:
        try:
            return await self._threads.write(work, seconds=seconds)
        except TransientError:
            self._suspect = True
            raise

    def _carry_out(self, connection: Connection, statement: Executable, rows: Rows) -> None:
        """Runs a statement for all rows at once, or one by one if the database rejects one of them."""
        try:
            with connection.begin_nested():
                connection.execute(statement, rows)
        except Exception as error:
            if not self._dialect.is_about_a_row(error):
                raise
            if len(rows) == 1:
                id = next((rows[0][name] for name in ("id", "entity", "instance") if name in rows[0]), "")
                _log.error("an entry that the database rejects is not shown", id=id, reason=_said(error))
                return
            for row in rows:
                self._carry_out(connection, statement, [row])

    def _prune(self, log: int, update: Update) -> Sequence[Executable]:
        found: list[Executable] = []
        if update.history:
            newest_ms = min(max(row.record.at_ms for row in update.history), update.now_ms)
            found.append(statements.prune(log, newest_ms - self._history_retention_ms, 2 * len(update.history)))
        if update.letters:
            newest_ms = min(max(each.at_ms for each in update.letters), update.now_ms)
            found.append(letters.prune_letters(log, newest_ms - DEAD_RETENTION_MS, 2 * len(update.letters)))
        return found


def _letter(row: Any) -> LetterRow:
    mark = decode_entity(row.document.encode()) if row.document is not None else None
    return LetterRow(letters.LETTER_JSON.validate_json(row.letter), mark if isinstance(mark, DeadMark) else None)


def _positions(connection: Connection, log: int) -> Mapping[TopicPartition, int]:
    return {TopicPartition(row.topic, row.part): row.next for row in connection.execute(statements.positions(log))}


def _has_passed(stand: Mapping[TopicPartition, int], positions: Mapping[TopicPartition, int]) -> bool:
    """True when another process has already written all of it."""
    return bool(positions) and all(stand.get(at, -1) >= following for at, following in positions.items())


def _fresh(stand: Mapping[TopicPartition, int], update: Update) -> Update:
    """Without what another process has already written: of what was removed since, no row is left to say so."""

    def is_fresh(row: DocumentRow | EntityRow) -> bool:
        return row.at is None or row.sequence >= stand.get(row.at, 0)

    return update._replace(
        documents={id: row for id, row in update.documents.items() if is_fresh(row)},
        entities={id: row for id, row in update.entities.items() if is_fresh(row)},
    )


def _said(error: BaseException) -> str:
    """The driver's message, in one line and without the statement."""
    return " ".join(str(error.__cause__ or error).split()).rstrip(".;")


def _one_more(limit: int) -> int:
    if limit < 1:
        raise InvalidRequest(f"the limit is {limit}; give 1 or more", field="limit")
    return limit + 1
