"""``SqlReadModel``: SQLAlchemy Core in threads, one transaction per update.

- Writes go one at a time through one thread; reads run beside them (WAL gives each its own snapshot).
- An update never goes backwards: a document gives way only to one that changed later, a position only to a greater one.
  So a second process that feeds the same tables from an older place does no harm.
- History outlives its instance and is kept as long as the log keeps it: now and then the oldest rows are dropped,
  measured by the time of the newest, so that no clock is needed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, assert_never

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Engine, Executable, and_, bindparam, delete, or_, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from ...codec.documents import decode_document, encode_document
from ...codec.entities import decode_helper, encode_helper
from ...errors import ConfigurationError, InvalidRequest, TransientError
from ...messages.document import Document
from ...messages.helpers import Helper, Lock, Mailbox, Table
from ...messages.history import HistoryRecord
from ...ports.log import TopicPartition
from ...ports.read_model import HelperFilter, HelperPage, HistoryRow, InstanceFilter, Page, Update
from .cursors import Place, decode_cursor, encode_cursor
from .dialects import insert, open_engine
from .schema import HELPERS, HISTORY, INSTANCES, POSITIONS, prepare

__all__ = ["SqlReadModel"]

T = TypeVar("T")

_DEADLINE_SECONDS = 10.0
_PRUNE_EVERY = 64
_LAST_CHARACTER = "\U0010ffff"
"""No id has a greater one."""
_PRUNE_ROWS = 2_000
_HISTORY: TypeAdapter[HistoryRecord] = TypeAdapter(HistoryRecord)

_NEWER = insert(INSTANCES).excluded
_UPSERT = insert(INSTANCES).on_conflict_do_update(
    index_elements=[INSTANCES.c.id],
    set_={column.name: _NEWER[column.name] for column in INSTANCES.c if column.name != "id"},
    where=or_(
        INSTANCES.c.updated_ms < _NEWER.updated_ms,
        and_(INSTANCES.c.updated_ms == _NEWER.updated_ms, INSTANCES.c.revision <= _NEWER.revision),
    ),
)
_REMOVE = delete(INSTANCES).where(INSTANCES.c.id == bindparam("gone"))
_REMEMBER = insert(HISTORY).on_conflict_do_nothing(index_elements=[HISTORY.c.instance, HISTORY.c.sequence])
_NEWER_HELPER = insert(HELPERS).excluded
_UPSERT_HELPER = insert(HELPERS).on_conflict_do_update(
    index_elements=[HELPERS.c.id],
    set_={column.name: _NEWER_HELPER[column.name] for column in HELPERS.c if column.name != "id"},
    where=HELPERS.c.sequence <= _NEWER_HELPER.sequence,
)
_REMOVE_HELPER = delete(HELPERS).where(HELPERS.c.id == bindparam("gone"), HELPERS.c.sequence <= bindparam("at"))
_MOVE = insert(POSITIONS).on_conflict_do_update(
    index_elements=[POSITIONS.c.topic, POSITIONS.c.part],
    set_={"next": insert(POSITIONS).excluded.next},
    where=POSITIONS.c.next < insert(POSITIONS).excluded.next,
)


class SqlReadModel:
    """The read model port on a SQL database; made by ``open``."""

    def __init__(self, engine: Engine, history_retention: timedelta) -> None:
        self._engine = engine
        self._readings = engine.execution_options(reading=True)
        self._writer = ThreadPoolExecutor(1, "read-model-write")
        self._readers = ThreadPoolExecutor(4, "read-model-read")
        self._history_retention_ms = round(history_retention.total_seconds() * 1000)
        self._updates = 0
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, history_retention: timedelta = timedelta(days=90)) -> SqlReadModel:
        """Opens it and makes its tables; tables of another schema version are cleared, to be rebuilt from the log.

        Args:
            url: SQLAlchemy's form, such as ``sqlite:////var/lib/shop/sagaline.db``. Where it is the embedded log's
                file, open the log first: it makes the file.
            history_retention: history older than this, against the newest record, is dropped.

        Raises:
            ConfigurationError: the address is not understood, or the database cannot be opened or written.
        """
        model = cls(open_engine(url), history_retention)
        try:
            await model._write(prepare)
        except TransientError as error:
            await model.close()
            raise ConfigurationError(
                f"the read model at {url} cannot be opened: {error.__cause__ or error}; look at its folder and rights"
            ) from error
        return model

    async def apply(self, update: Update) -> None:
        """See the port. Raises: TransientError: the database did not take it; the same update may be repeated."""
        self._updates += 1
        prune_before = None
        if update.history and self._updates % _PRUNE_EVERY == 0:
            prune_before = max(row.record.at_ms for row in update.history) - self._history_retention_ms

        def prepare_rows() -> list[tuple[Executable, list[dict[str, Any]]]]:
            live = [_columns(document) for document in update.documents.values() if document is not None]
            gone = [{"gone": instance} for instance, document in update.documents.items() if document is None]
            rows = [_history_columns(row) for row in update.history]
            positions = [{"topic": at.topic, "part": at.partition, "next": n} for at, n in update.positions.items()]
            changes = [(_REMOVE, gone), (_UPSERT, live), *_helper_changes(update), (_REMEMBER, rows)]
            return [*changes, (_MOVE, positions)]

        # Made ready in the thread, before the transaction: neither the event loop nor the log's writer waits for it.
        statements = await self._in_thread(self._writer, prepare_rows)

        def run(connection: Connection) -> None:
            for statement, values in statements:
                if values:
                    connection.execute(statement, values)
            if prune_before is not None:
                _prune(connection, prune_before)

        await self._write(run)

    async def positions(self) -> Mapping[TopicPartition, int]:
        rows = await self._read(
            lambda connection: connection.execute(select(POSITIONS.c.topic, POSITIONS.c.part, POSITIONS.c.next)).all()
        )
        return {TopicPartition(topic, part): following for topic, part, following in rows}

    async def get(self, instance: str) -> Document | None:
        query = select(INSTANCES.c.document).where(INSTANCES.c.id == instance)
        text = await self._read(lambda connection: connection.scalar(query))
        return decode_document(text.encode()) if text is not None else None

    async def list(self, where: InstanceFilter, *, limit: int, cursor: str | None = None) -> Page:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        if limit < 1:
            raise InvalidRequest(f"the limit is {limit}; give 1 or more", field="limit")
        conditions = _conditions(where)
        if cursor is not None:
            conditions.append(tuple_(INSTANCES.c.updated_ms, INSTANCES.c.id) < decode_cursor(cursor))
        query = (
            select(INSTANCES.c.document)
            .where(*conditions)
            .order_by(INSTANCES.c.updated_ms.desc(), INSTANCES.c.id.desc())
            .limit(limit + 1)
        )
        texts: Sequence[str] = await self._read(lambda connection: connection.scalars(query).all())
        documents = [decode_document(text.encode()) for text in texts[:limit]]
        more = len(texts) > limit
        return Page(documents, encode_cursor(Place(documents[-1].updated_ms, documents[-1].id)) if more else None)

    async def history(self, instance: str, *, after: int = -1, limit: int) -> Sequence[HistoryRow]:
        query = (
            select(HISTORY.c.sequence, HISTORY.c.record)
            .where(HISTORY.c.instance == instance, HISTORY.c.sequence > after)
            .order_by(HISTORY.c.sequence)
            .limit(limit)
        )
        rows = await self._read(lambda connection: connection.execute(query).all())
        return [HistoryRow(row.sequence, _HISTORY.validate_json(row.record)) for row in rows]

    async def helper(self, entity: str) -> Helper | None:
        query = select(HELPERS.c.document).where(HELPERS.c.id == entity)
        text = await self._read(lambda connection: connection.scalar(query))
        return decode_helper(text.encode()) if text is not None else None

    async def helpers(self, where: HelperFilter, *, limit: int, cursor: str | None = None) -> HelperPage:
        """See the port. Raises: InvalidRequest: a foreign cursor, or a limit below 1."""
        if limit < 1:
            raise InvalidRequest(f"the limit is {limit}; give 1 or more", field="limit")
        query = (
            select(HELPERS.c.document)
            .where(HELPERS.c.id >= where.prefix, HELPERS.c.id < where.prefix + _LAST_CHARACTER)
            .order_by(HELPERS.c.id)
            .limit(limit + 1)
        )
        if where.waiting:
            query = query.where(HELPERS.c.waiting > 0)
        if cursor is not None:
            query = query.where(HELPERS.c.id > decode_cursor(cursor).id)
        texts: Sequence[str] = await self._read(lambda connection: connection.scalars(query).all())
        helpers = [decode_helper(text.encode()) for text in texts[:limit]]
        return HelperPage(helpers, encode_cursor(Place(0, helpers[-1].id)) if len(texts) > limit else None)

    async def clear(self) -> None:
        def run(connection: Connection) -> None:
            for table in (POSITIONS, HISTORY, INSTANCES, HELPERS):
                connection.execute(delete(table))

        await self._write(run)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.shutdown(wait=False)
        self._readers.shutdown(wait=False)
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS / 2):
                await asyncio.to_thread(self._end)
        except TimeoutError:
            # A statement hangs; its connection is dropped with the process, and nothing of it can be lost.
            return

    def _end(self) -> None:
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._in_thread(self._writer, partial(_transact, self._engine, work))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._in_thread(self._readers, partial(_transact, self._readings, work))

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closed:
            raise TransientError("the read model is closed; open it again")
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(threads, work)
        except TimeoutError:
            raise TransientError(f"the read model did not answer within {_DEADLINE_SECONDS:g} s; try again") from None
        except SQLAlchemyError as error:
            raise TransientError(f"the read model did not take it ({type(error).__name__}); try again") from error


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _columns(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "definition": document.definition,
        "version": document.version,
        "key": document.key,
        "status": document.status.value,
        "revision": document.revision,
        "created_ms": document.created_ms,
        "updated_ms": document.updated_ms,
        "document": encode_document(document).decode(),
    }


def _helper_changes(update: Update) -> list[tuple[Executable, list[dict[str, Any]]]]:
    gone = [{"gone": id, "at": row.sequence} for id, row in update.helpers.items() if row.helper is None]
    live = [
        {
            "id": id,
            "sequence": row.sequence,
            "waiting": _waiting_count(row.helper),
            "document": encode_helper(row.helper).decode(),
        }
        for id, row in update.helpers.items()
        if row.helper is not None
    ]
    return [(_REMOVE_HELPER, gone), (_UPSERT_HELPER, live)]


def _waiting_count(helper: Helper) -> int:
    match helper:
        case Mailbox():
            return len(helper.watchers)
        case Lock():
            return len(helper.waiting)
        case Table():
            return 0
        case _:
            assert_never(helper)


def _history_columns(row: HistoryRow) -> dict[str, Any]:
    return {
        "instance": row.record.instance,
        "sequence": row.sequence,
        "at_ms": row.record.at_ms,
        "record": _HISTORY.dump_json(row.record).decode(),
    }


def _conditions(where: InstanceFilter) -> list[ColumnElement[bool]]:
    asked = (
        (INSTANCES.c.definition, where.definition),
        (INSTANCES.c.status, where.status.value if where.status is not None else None),
        (INSTANCES.c.key, where.key),
    )
    return [column == value for column, value in asked if value is not None]


def _prune(connection: Connection, before_ms: int) -> None:
    old = (
        select(HISTORY.c.instance, HISTORY.c.sequence)
        .where(HISTORY.c.at_ms < before_ms)
        .order_by(HISTORY.c.at_ms)
        .limit(_PRUNE_ROWS)
    )
    connection.execute(delete(HISTORY).where(tuple_(HISTORY.c.instance, HISTORY.c.sequence).in_(old)))
