"""The one place that knows which database it is: how it is opened and interrupted, and its "insert, or else update".

An address may hold a password: show one only by ``shown``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ...errors import ConfigurationError

__all__ = ["READERS_MAX", "check_address", "insert", "interruptible", "is_there", "open_engine", "shown"]

_BUSY_SECONDS = 5.0
READERS_MAX = 4
_ASK_EVERY = 20_000
"""Steps of SQLite's machine, a fraction of a millisecond."""
_FORM = "write sqlite:///path/to/file.db"
_PRAGMAS = (
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA cache_size = -8000",
    "PRAGMA temp_store = MEMORY",
)


def shown(url: str) -> str:
    """An address as people may see it: without its password and without what stands behind a ``?``."""
    try:
        return _parsed(url).set(query={}).render_as_string(hide_password=True)
    except ConfigurationError:
        return "(not understood)"


def check_address(url: str) -> None:
    """Returns if a read model can be kept there, without opening anything.

    Raises:
        ConfigurationError: the address is not understood, of a database that is not supported, or in a folder that
            is not there.
    """
    _checked(url)


def is_there(url: str) -> bool:
    """Whether anything is kept at an address that ``check_address`` has passed."""
    return Path(str(_checked(url).database)).is_file()


def open_engine(url: str) -> Engine:
    """An engine whose transactions take the write lock at their begin, so that none is refused in its middle.

    Durability is relaxed on purpose: what a power cut takes away is read from the log again.

    Raises:
        ConfigurationError: as ``check_address``.
    """
    engine = create_engine(
        _checked(url),
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        pool_size=READERS_MAX + 1,
        max_overflow=0,
        pool_timeout=_BUSY_SECONDS,
    )
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(_begin(connection)))
    return engine


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # Neither the address nor what the parser says of it: a password may stand in both.
        raise ConfigurationError(f"the read model's address is not understood; {_FORM}") from None


def _checked(url: str) -> URL:
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite" or parsed.get_driver_name() not in ("", "pysqlite"):
        raise ConfigurationError(f"the read model cannot be kept in {parsed.drivername!r}; {_FORM}")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigurationError(f"the read model needs a file of its own or the log's; {_FORM}")
    folder = Path(str(parsed.database)).parent
    if not folder.is_dir():
        raise ConfigurationError(
            f"the read model cannot be kept at {shown(url)}: there is no folder {folder}; create it, or name another"
        )
    return parsed


def _begin(connection: Any) -> str:
    return "BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE"


def _prepare_connection(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    for pragma in _PRAGMAS:
        connection.execute(pragma)


@contextmanager
def interruptible(connection: Any, given_up: Callable[[], bool]) -> Iterator[None]:
    """Inside the block a statement of this driver's connection fails soon after ``given_up`` says so.

    SQLite asks while it works. Its ``interrupt`` would do nothing when it comes a moment before the statement begins.
    """
    assert isinstance(connection, sqlite3.Connection)
    connection.set_progress_handler(given_up, _ASK_EVERY)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def insert(table: Table) -> sqlite.Insert:
    """An insert that knows ``on_conflict_do_update`` and ``on_conflict_do_nothing``, as PostgreSQL's does."""
    return sqlite.insert(table)
