"""SQLite: its own file, or the embedded log's."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, create_engine, event, func
from sqlalchemy.dialects import sqlite

from .dialect import CONNECTIONS_MAX, FRESH_MAX, WAIT_SECONDS, Dialect

__all__ = ["Sqlite"]

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -8000",
    "PRAGMA temp_store = MEMORY",
)
"""Durability is relaxed on purpose: data lost in a power cut is read from the log again."""


class Sqlite(Dialect):
    """See the module. WAL gives each reader its own snapshot."""

    remedy = "check its folder and permissions"

    def is_there(self) -> bool:
        return Path(str(self._url.database)).is_file()

    def engine(self, seconds: float) -> Engine:
        engine = create_engine(
            self._url,
            connect_args={"timeout": WAIT_SECONDS, "isolation_level": None, "check_same_thread": False},
            pool_size=CONNECTIONS_MAX,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare_connection)
        return engine

    def begin(self, seconds: float) -> str:
        return "BEGIN IMMEDIATE"

    def interrupt(self, connection: Any) -> None:
        assert isinstance(connection, sqlite3.Connection)
        connection.interrupt()

    def hold_tables(self, connection: Connection) -> None:
        """Nothing to do: writing transactions are exclusive."""

    def insert(self, table: Table) -> sqlite.Insert:
        return sqlite.insert(table)

    def fresh(self) -> ColumnElement[int]:
        return func.abs(func.random() % FRESH_MAX) + 1


def _prepare_connection(connection: sqlite3.Connection, _: object) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)
