"""``SqlReadModel``: SQLAlchemy Core in threads, one transaction per update.

- Writes go one at a time through one thread; reads run beside them (WAL gives each its own snapshot).
- An update never goes backwards: a document gives way only to one whose record came later in the log, a position only
  to a greater one. So a second process that feeds the same tables from an older place does no harm. No clock is asked.
- Who has been overtaken by a ``clear`` of somebody else is refused (``generation``), so that what is rebuilt has no
  holes.
- History outlives its instance and is kept as long as the log keeps it: each update drops some of the oldest rows, more
  than it brings, measured by the newest record or by our clock, whichever is earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Select, Table, delete, select, update

from ...codec.documents import decode_document
from ...codec.entities import decode_helper
from ...errors import ConfigurationError, InvalidRequest, ReadModelCleared, TransientError
from ...messages.document import Document
from ...messages.helpers import Helper
from ...ports.log import TopicPartition
from ...ports.read_model import (
    HelperFilter,
    HelperPage,
    HistoryRow,
    InstanceFilter,
    Landmark,
    Page,
    Standing,
    Update,
    WaitFilter,
    WaitPage,
    WaitRow,
)
from . import statements
from .cursors import decode_cursor, encode_cursor
from .dialects import open_engine, shown
from .rows import HISTORY_JSON, WAIT_JSON, Rows, changes
from .schema import HELPERS, HISTORY, INSTANCES, LOGS, POSITIONS, WAITS, prepare
from .threads import Threads

__all__ = ["SqlReadModel"]

T = TypeVar("T")

_PREPARE_SECONDS = 120.0
_WRITE_SECONDS = 60.0
"""More than a query has: what is given up here is done again from its beginning."""
_CLEAR_ROWS = 2_000
_BY_START, _BY_ID = "start", "id"


class SqlReadModel:
    """The read model port on a SQL database; made by ``open``."""

    def __init__(self, threads: Threads, namespace: str, history_retention: timedelta) -> None:
        self._threads, self._namespace = threads, namespace
        self._history_retention_ms = round(history_retention.total_seconds() * 1000)
        self._number = 0

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        namespace: str,
        history_retention: timedelta = timedelta(days=90),
        deadline: timedelta = timedelta(seconds=10),
    ) -> SqlReadModel:
        """Opens it and makes its tables; tables of another schema version are cleared, to be rebuilt from the log.

        Args:
            url: SQLAlchemy's form, such as ``sqlite:////var/lib/shop/sagaline.db``. Where it is the embedded log's
                file, open the log first: it makes the file.
            namespace: whose read model it is; that of another namespace in the same database is left alone.
            history_retention: history older than this is dropped.
            deadline: of every query; what takes longer is interrupted.

        Raises:
            ConfigurationError: the address is not understood, or the database cannot be opened or written.
        """
        model = cls(Threads(open_engine(url), deadline.total_seconds()), namespace, history_retention)
        try:
            await model._threads.write(prepare, seconds=_PREPARE_SECONDS)
            await model._threads.write(lambda connection: connection.execute(statements.registered(namespace)))
            await model.standing()
        except TransientError as error:
            await model.close()
            raise ConfigurationError(
                f"the read model at {shown(url)} cannot be opened: {error.__cause__ or error}; "
                "look at its folder and rights"
            ) from error
        return model

    async def apply(self, update: Update) -> None:
        """See the port."""
        # Made ready in the thread, before the transaction: neither the event loop nor the log's writer waits for it.
        prepared = await self._threads.prepared(partial(changes, self._number, update))
        prune = self._prune(self._number, update)

        def run(connection: Connection) -> None:
            if connection.execute(statements.fed(self._number, update.generation, update.now_ms)).rowcount == 0:
                raise ReadModelCleared(self._namespace)
            _carry_out(connection, prepared)
            if prune is not None:
                connection.execute(prune)

        await self._threads.write(run, seconds=_WRITE_SECONDS)

    async def standing(self) -> Standing:
        """See the port. Raises: TransientError."""

        def run(connection: Connection) -> tuple[int, Standing]:
            found = connection.execute(select(LOGS).where(LOGS.c.namespace == self._namespace)).one()
            rows = connection.execute(select(POSITIONS).where(POSITIONS.c.log == found.log)).all()
            places = [(TopicPartition(row.topic, row.part), row) for row in rows]
            marks = {
                at: Landmark(row.landmark, row.digest, row.timestamp_ms)
                for at, row in places
                if row.landmark is not None
            }
            positions = {at: row.next for at, row in places}
            clearing = bool(found.clearing)
            return found.log, Standing(positions, marks, found.fed_ms, found.generation, clearing)

        self._number, standing = await self._threads.read(run)
        return standing

    async def get(self, instance: str) -> Document | None:
        """See the port. Raises: TransientError."""
        query = select(INSTANCES.c.document).where(INSTANCES.c.log == self._number, INSTANCES.c.id == instance)
        found = await self._rows(query, lambda row: decode_document(row.document.encode()))
        return found[0][1] if found else None

    async def list(self, where: InstanceFilter, *, limit: int, cursor: str | None = None) -> Page:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        after = decode_cursor(cursor, _BY_START, int, str) if cursor is not None else None
        query = statements.instances(self._number, where, after, _one_more(limit))
        found = await self._rows(query, lambda row: decode_document(row.document.encode()))
        last = found[limit - 1][0] if len(found) > limit else None
        cursor = encode_cursor(_BY_START, (last.created_ms, last.id)) if last is not None else None
        return Page([document for _, document in found[:limit]], cursor)

    async def waits(self, where: WaitFilter, *, limit: int, cursor: str | None = None) -> WaitPage:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        after = decode_cursor(cursor, where.kind.value, int, str, str) if cursor is not None else None
        query = statements.waits(self._number, where, after, _one_more(limit))
        read = WAIT_JSON[where.kind].validate_json
        found = await self._rows(query, lambda row: WaitRow(row.instance, *read(row.wait)))
        last = found[limit - 1][0] if len(found) > limit else None
        place = (last.at_ms, last.instance, last.step) if last is not None else ()
        return WaitPage([row for _, row in found[:limit]], encode_cursor(where.kind.value, place) if place else None)

    async def history(self, instance: str, *, after: int = -1, limit: int) -> Sequence[HistoryRow]:
        """See the port. Raises: TransientError."""
        query = statements.history(self._number, instance, after, limit)
        found = await self._rows(query, lambda row: HistoryRow(row.sequence, HISTORY_JSON.validate_json(row.record)))
        return [row for _, row in found]

    async def helper(self, entity: str) -> Helper | None:
        """See the port. Raises: TransientError."""
        query = select(HELPERS.c.document).where(HELPERS.c.log == self._number, HELPERS.c.id == entity)
        found = await self._rows(query, lambda row: decode_helper(row.document.encode()))
        return found[0][1] if found else None

    async def helpers(self, where: HelperFilter, *, limit: int, cursor: str | None = None) -> HelperPage:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        after = decode_cursor(cursor, _BY_ID, str) if cursor is not None else None
        query = statements.helpers(self._number, where, after, _one_more(limit))
        found = await self._rows(query, lambda row: decode_helper(row.document.encode()))
        cursor = encode_cursor(_BY_ID, (found[limit - 1][0].id,)) if len(found) > limit else None
        return HelperPage([helper for _, helper in found[:limit]], cursor)

    async def clear(self) -> None:
        """See the port. In small transactions, so that the log's writer, which may share the file, never waits long;
        what is interrupted is found by the next (``Standing.clearing``).

        Raises:
            TransientError: it was not done to its end; begin again.
        """
        log = self._number

        def mark(connection: Connection, *, begins: bool) -> None:
            changed = {"generation": LOGS.c.generation + 1, "fed_ms": 0} if begins else {}
            connection.execute(update(LOGS).where(LOGS.c.log == log).values(clearing=int(begins), **changed))
            if begins:
                connection.execute(delete(POSITIONS).where(POSITIONS.c.log == log))

        def empty(connection: Connection, table: Table) -> bool:
            return connection.execute(statements.delete_some(table, log, _CLEAR_ROWS)).rowcount < _CLEAR_ROWS

        await self._threads.write(partial(mark, begins=True), seconds=_WRITE_SECONDS)
        for table in (WAITS, INSTANCES, HISTORY, HELPERS):
            while not await self._threads.write(partial(empty, table=table), seconds=_WRITE_SECONDS):
                pass
        await self._threads.write(partial(mark, begins=False), seconds=_WRITE_SECONDS)

    async def close(self) -> None:
        """See the port."""
        await self._threads.close()

    async def _rows(self, query: Select[*tuple[Any, ...]], decode: Callable[[Any], T]) -> Sequence[tuple[Any, T]]:
        """The rows of a query with what they hold, decoded in the thread: the event loop has others to serve."""
        return await self._threads.read(lambda connection: [(row, decode(row)) for row in connection.execute(query)])

    def _prune(self, log: int, update: Update) -> Executable | None:
        if not update.history:
            return None
        newest_ms = min(max(row.record.at_ms for row in update.history), update.now_ms)
        return statements.prune(log, newest_ms - self._history_retention_ms, 2 * len(update.history))


def _carry_out(connection: Connection, prepared: Sequence[tuple[Executable, Rows]]) -> None:
    for statement, rows in prepared:
        if rows:
            connection.execute(statement, rows)


def _one_more(limit: int) -> int:
    if limit < 1:
        raise InvalidRequest(f"the limit is {limit}; give 1 or more", field="limit")
    return limit + 1
