"""The one place that knows which database it is: how it is opened, and how it writes "insert, or else update"."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Engine, Table, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ...errors import ConfigurationError

__all__ = ["insert", "open_engine"]

_BUSY_SECONDS = 5.0
_READERS_MAX = 4
_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -8000",
    "PRAGMA temp_store = MEMORY",
)


def open_engine(url: str) -> Engine:
    """An engine whose transactions take the write lock at their begin, so that none is refused in its middle.

    Durability is relaxed on purpose: what a power cut takes away is read from the log again.

    Raises:
        ConfigurationError: the address is not understood, or of a database that is not supported.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(
            f"the read model's address {url!r} is not understood; write sqlite:///path/to/file.db"
        ) from error
    if parsed.get_backend_name() != "sqlite":
        raise ConfigurationError(
            f"the read model cannot be kept in {parsed.get_backend_name()!r}; write sqlite:///path/to/file.db"
        )
    if parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("the read model needs a file of its own or the log's; write sqlite:///path/to/file.db")
    try:
        engine = create_engine(
            parsed,
            connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
            pool_size=_READERS_MAX + 1,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS,
        )
    except (NoSuchModuleError, ArgumentError) as error:
        raise ConfigurationError(f"the read model's address {url!r} cannot be opened: {error}") from error
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(_begin(connection)))
    return engine


def _begin(connection: Any) -> str:
    return "BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE"


def _prepare_connection(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def insert(table: Table) -> sqlite.Insert:
    """An insert that knows ``on_conflict_do_update`` and ``on_conflict_do_nothing``, as PostgreSQL's does."""
    return sqlite.insert(table)
