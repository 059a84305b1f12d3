"""``Dialect``: all differences between the databases that can keep a read model. No other code depends on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

__all__ = ["CONNECTIONS_MAX", "READERS_MAX", "WAIT_SECONDS", "Dialect", "Upsert"]

Upsert = sqlite.Insert | postgresql.Insert
"""An insert that knows ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""

READERS_MAX: Final = 4
CONNECTIONS_MAX: Final = READERS_MAX + 1
"""Most connections of one read model: the readers, and one writer."""
WAIT_SECONDS: Final = 5.0
"""Wait for a free connection, and on SQLite for another writer of the same file."""
FRESH_MAX: Final = 2_147_483_646


class Dialect(ABC):
    """One database at one address; nothing is opened before ``engine``."""

    remedy: str
    """What to check when it cannot be opened."""

    def __init__(self, url: URL) -> None:
        self._url = url

    @abstractmethod
    def is_there(self) -> bool:
        """True when a read model may exist there, as far as that shows without opening it."""

    @abstractmethod
    def engine(self, seconds: float) -> Engine:
        """Its connections, at most ``CONNECTIONS_MAX``. Each statement is its own transaction on a snapshot, unless
        there was a ``begin``. If the database can, it ends a statement soon after ``seconds``.

        Raises:
            ConfigurationError: the driver is not installed.
        """

    @abstractmethod
    def begin(self, seconds: float) -> str:
        """The SQL that begins a writing transaction, so that it cannot fail on a lock later; ``seconds`` as in
        ``engine``.
        """

    @abstractmethod
    def interrupt(self, connection: Any) -> None:
        """Makes the current statement of a driver connection fail, if there is one. Called from another thread; never
        raises.
        """

    @abstractmethod
    def hold_tables(self, connection: Connection) -> None:
        """Returns when no other process can create or drop tables until the transaction ends.

        Raises:
            ConfigurationError: tables in this database cannot store every text.
        """

    @abstractmethod
    def insert(self, table: Table) -> Upsert:
        """An insert for this database."""

    @abstractmethod
    def fresh(self) -> ColumnElement[int]:
        """A random number from 1 to 2,147,483,647, drawn by the database."""

    def is_about_a_row(self, error: Exception) -> bool:
        """True when a statement failed because of a value in its rows, so that other rows may succeed."""
        if isinstance(error, DBAPIError):
            return isinstance(error, DataError | IntegrityError)
        return isinstance(error, StatementError | ValueError | OverflowError)
