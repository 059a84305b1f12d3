"""The inbox in the user's own database, by his own SQLAlchemy engine.

Rules:
- One row per effect key. It is locked before it is looked at, in every isolation level, so forward and undo of one key
  follow each other.
- An effect without a session (only ``ctx.execute``) shares a transaction with others, each behind a savepoint.
- An effect with a session is committed in the session's own transaction: the handler's work, the entry and the rows of
  the outbox together, or none of them.
- A session whose outcome is unknown is never used again: the entry says whether it was committed; if not, the handler
  runs again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.exc import IllegalStateChangeError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from ..errors import InboxUnavailable
from ..inbox import Applied, Effect, Found, Verdict
from .database import Database, in_transaction, is_away, to_its_end
from .statements import as_clause
from .tables import INBOX

__all__ = ["SqlInbox"]

T = TypeVar("T")

_CLOSE_SECONDS: Final = 0.05
_FIND_MAX: Final = 500
_NOTHING: Final = Found()
_REFUSED: Final = (SQLAlchemyError, ValueError, OverflowError, UnicodeError)
Makes = Engine | AsyncEngine | sessionmaker[Any] | async_sessionmaker[Any]


class SqlInbox:
    """The ``Inbox`` port on SQLite or PostgreSQL, with sessions for handlers (``ctx.session``).

    The tables must exist: include the migrations, or call ``create_tables``. The engine stays the caller's: close it
    after the worker. Its pool must hold a connection for each handler that runs at a time, and some more.

    Args:
        database: the engine, synchronous or asynchronous; or a sessionmaker that is bound to one, for sessions of your
            own class and options.
        retention: as for ``SqliteInbox``; None: entries are kept forever.
        deadline: the longest wait for one call.

    Raises:
        ValueError: not an engine for SQLite or PostgreSQL, or a sessionmaker without one.
    """

    def __init__(
        self,
        database: Makes,
        *,
        retention: timedelta | None = None,
        deadline: timedelta = timedelta(seconds=10),
    ) -> None:
        engine, self._make = _engine_of(database)
        self._deadline_seconds = deadline.total_seconds()
        self._database = Database(engine, self._deadline_seconds)
        self._retention_ms = None if retention is None else round(retention.total_seconds() * 1000)

    async def find(self, effect_keys: Sequence[str]) -> Mapping[str, Found]:
        """See ``Inbox.find``."""
        async with self._limited():
            return await self._database.run(lambda connection: _find(connection, effect_keys), writes=False)

    async def apply(self, effects: Sequence[Effect]) -> Sequence[Applied]:
        """See ``Inbox.apply``."""
        own = [effect for effect in effects if effect.unit is not None]
        shared = [effect for effect in effects if effect.unit is None]
        async with self._limited():
            verdicts = dict(zip(map(id, own), await asyncio.gather(*map(self._commit, own)), strict=True))
            if shared:
                verdicts |= zip(map(id, shared), await self._apply(shared), strict=True)
        return [verdicts[id(effect)] for effect in effects]

    async def forget(self, now_ms: int, *, limit: int) -> int:
        """See ``Inbox.forget``."""
        if self._retention_ms is None:
            return 0
        before_ms = now_ms - self._retention_ms
        oldest = select(INBOX.c.effect_key).where(INBOX.c.at_ms < before_ms).order_by(INBOX.c.at_ms).limit(limit)
        gone = delete(INBOX).where(INBOX.c.effect_key.in_(oldest), INBOX.c.at_ms < before_ms)
        async with self._limited():
            return await self._database.run(lambda connection: int(connection.execute(gone).rowcount))

    async def close(self) -> None:
        """See ``Inbox.close``. The engine stays open: it is its owner's. What was not answered in time is waited for,
        no longer than the deadline.
        """
        await self._database.drain()

    def unit(self, kind: type[object]) -> _Unit:
        """A session for one handler; see ``OpensUnits.unit``."""
        # Once closed it takes no more: a handler that was cancelled may have left a thread that goes on with it.
        unit = _Unit(self._make(close_resets_only=False), self._database)
        if not isinstance(unit.session, kind):
            is_async = isinstance(self._database.engine, AsyncEngine)
            raise TypeError(
                f"ctx.session({kind.__name__}): the inbox of this worker has "
                f"{'an asynchronous' if is_async else 'a synchronous'} engine; "
                f"ask for {type(unit.session).__name__}, or give SqlInbox another engine"
            )
        return unit

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Of one call.

        Raises:
            InboxUnavailable: the database failed, or gave no answer in time.
        """
        try:
            async with asyncio.timeout(self._deadline_seconds):
                yield
        except TimeoutError as error:
            raise InboxUnavailable(
                f"the inbox did not answer within {self._deadline_seconds:g} s; "
                "check whether another transaction holds its rows or its file"
            ) from error
        except SQLAlchemyError as error:
            raise InboxUnavailable(
                f"the inbox failed: {_said(error)}; check the database, and that its tables are there: "
                "run the migrations of sagaline.workers.sql, or create_tables(engine)"
            ) from error

    async def _apply(self, effects: Sequence[Effect]) -> Sequence[Applied]:
        """In order of their keys, so that two workers do not wait for each other."""
        order = sorted(range(len(effects)), key=lambda place: effects[place].effect_key)

        def settle(connection: Connection) -> list[Applied]:
            settled = _settle(connection, [effects[place] for place in order])
            try:
                connection.commit()
            except IntegrityError as error:  # a deferred constraint of the handlers' tables
                raise _Torn(_said(error)) from error
            return [applied for _, applied in sorted(zip(order, settled, strict=True))]

        try:
            return await self._database.run(settle)
        except _Torn as torn:
            if len(effects) == 1:
                return [Applied(Verdict.FAILED, error=str(torn))]
        return [(await self._apply([effect]))[0] for effect in effects]

    async def _commit(self, effect: Effect) -> Applied:
        """The verdict on an effect with a session, which is closed afterwards."""
        unit = effect.unit
        assert isinstance(unit, _Unit)
        if unit.spent:
            return await self._outcome(effect)
        try:
            return await unit.end(lambda session: self._keep(session, effect))
        except SQLAlchemyError as error:
            if is_away(error):
                raise
            return Applied(Verdict.FAILED, error=_said(error))
        except _REFUSED as error:
            return Applied(Verdict.FAILED, error=_said(error))

    def _keep(self, session: Session, effect: Effect) -> Applied:
        """The verdict on an effect with a session of its own; commits it."""
        connection = session.connection()
        self._database.limit(connection)
        session.flush()
        found = _lock(connection, [effect])
        if (decided := _decided(found[effect.effect_key], effect)) is not None:
            session.rollback()
            return decided
        _execute(connection, effect)
        _store(connection, [effect])
        session.commit()
        return Applied(Verdict.STORED)

    async def _outcome(self, effect: Effect) -> Applied:
        """What became of an effect whose session is gone: it took effect, or its handler must run again."""
        key = effect.effect_key
        found = await self._database.run(lambda connection: _find(connection, [key]), writes=False)
        return _decided(found.get(key, _NOTHING), effect) or Applied(Verdict.STALE)


class _Unit:
    """The session of one handler and its transaction."""

    def __init__(self, session: Session | AsyncSession, database: Database) -> None:
        self.session, self._database = session, database
        self.spent = False

    async def end(self, work: Callable[[Session], T]) -> T:
        """The last that is done with the session, which is closed behind it.

        Raises:
            TimeoutError: not in time.
        """
        self.spent = True
        return await self._database.within(self._end(work))

    async def discard(self) -> None:
        self.spent = True
        with suppress(SQLAlchemyError, TimeoutError):
            await self._database.within(to_its_end(self._close()))

    async def _end(self, work: Callable[[Session], T]) -> T:
        try:
            return await self._used(work)
        finally:
            await to_its_end(self._close())

    async def _close(self) -> None:
        while True:
            try:
                return await self._used(Session.close)
            except IllegalStateChangeError:  # a handler that was cancelled has left a thread that connects it
                await asyncio.sleep(_CLOSE_SECONDS)
            except SQLAlchemyError:  # a lost connection: its transaction is gone with it
                return None

    async def _used(self, work: Callable[[Session], T]) -> T:
        if isinstance(self.session, AsyncSession):
            return await self._database.by_coroutine(self.session.run_sync(work))
        return await self._database.in_thread(partial(work, self.session))


class _Torn(Exception):
    """A statement ended the transaction that it shared with others."""


def _engine_of(database: Makes) -> tuple[Engine | AsyncEngine, Callable[..., Session | AsyncSession]]:
    match database:
        case Engine():
            return database, sessionmaker(database, expire_on_commit=False)
        case AsyncEngine():
            return database, async_sessionmaker(database, expire_on_commit=False)
        case sessionmaker() | async_sessionmaker():
            engine = database.kw.get("bind")
            if isinstance(engine, Engine | AsyncEngine):
                return engine, database
    raise ValueError(f"SqlInbox({database!r}): give an Engine, an AsyncEngine, or a sessionmaker with bind=engine")


def _find(connection: Connection, effect_keys: Sequence[str]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    columns = select(INBOX.c.effect_key, INBOX.c.forward, INBOX.c.undo)
    for start in range(0, max(1, len(effect_keys)), _FIND_MAX):
        rows = connection.execute(columns.where(INBOX.c.effect_key.in_(effect_keys[start : start + _FIND_MAX])))
        found |= {key: Found(forward, undo) for key, forward, undo in rows}
    return found


def _decided(found: Found, effect: Effect) -> Applied | None:
    """The verdict that the stored entries give; None: the effect may be stored."""
    if effect.undo:
        if found.undo is not None:
            return Applied(Verdict.REPEATED, found.undo)
        return Applied(Verdict.STALE) if (found.forward is not None) is not effect.forward_seen else None
    if found.undo is not None:
        return Applied(Verdict.FENCED)
    return Applied(Verdict.REPEATED, found.forward) if found.forward is not None else None


def _lock(connection: Connection, effects: Sequence[Effect]) -> dict[str, Found]:
    """The entries of the effects' keys, locked in this order until the transaction ends."""
    insert = insert_postgresql if connection.dialect.name == "postgresql" else insert_sqlite
    row = insert(INBOX).on_conflict_do_update(index_elements=[INBOX.c.effect_key], set_={"at_ms": INBOX.c.at_ms})
    rows = {each.effect_key: {"effect_key": each.effect_key, "at_ms": each.at_ms} for each in effects}
    locked = row.returning(INBOX.c.effect_key, INBOX.c.forward, INBOX.c.undo)
    return {key: Found(forward, undo) for key, forward, undo in connection.execute(locked, list(rows.values()))}


def _store(connection: Connection, effects: Sequence[Effect]) -> None:
    """Their entries."""
    for undo in (False, True):
        rows = [
            {"of": each.effect_key, "command": each.command_id, "reply": each.reply, "at": each.at_ms}
            for each in effects
            if each.undo is undo
        ]
        if rows:
            entry = update(INBOX).where(INBOX.c.effect_key == bindparam("of"))
            values: dict[str, Any] = {"undo" if undo else "forward": bindparam("reply")}
            connection.execute(
                entry.values(values | {"command_id": bindparam("command"), "at_ms": bindparam("at")}), rows
            )


def _execute(connection: Connection, effect: Effect) -> None:
    """The statements of ``ctx.execute``."""
    for statement in effect.statements:
        clause, parameters = as_clause(statement)
        connection.execute(clause, parameters).close()


def _settle(connection: Connection, effects: Sequence[Effect]) -> list[Applied]:
    """The verdicts on effects that share a transaction."""
    found = _lock(connection, effects)
    settled: list[Applied] = []
    for effect in effects:
        decided = _decided(found[effect.effect_key], effect)
        if decided is None and effect.statements:
            decided = _behind_savepoint(connection, effect)
        if decided is None:
            field = "undo" if effect.undo else "forward"
            found[effect.effect_key] = found[effect.effect_key]._replace(**{field: effect.reply})
        settled.append(decided or Applied(Verdict.STORED))
    _store(connection, [each for each, one in zip(effects, settled, strict=True) if one.verdict is Verdict.STORED])
    if empty := [key for key, entries in found.items() if entries == _NOTHING]:
        connection.execute(delete(INBOX).where(INBOX.c.effect_key.in_(empty)))
    return settled


def _behind_savepoint(connection: Connection, effect: Effect) -> Applied | None:
    """Executes the effect's statements; None: none was refused."""
    savepoint = connection.begin_nested()
    try:
        _execute(connection, effect)
        savepoint.commit()
    except _REFUSED as error:
        if isinstance(error, SQLAlchemyError) and is_away(error):
            raise
        if connection.dialect.name == "sqlite" and not in_transaction(connection):
            raise _Torn(_said(error)) from error
        savepoint.rollback()
        return Applied(Verdict.FAILED, error=_said(error))
    return None


def _said(error: BaseException) -> str:
    """The database's own words, without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:500]}"
