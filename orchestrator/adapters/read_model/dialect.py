"""``Dialect``: all that differs between the databases that can keep a read model. Nothing else asks which it is."""

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
"""Of one read model: the readers, and one that writes."""
WAIT_SECONDS: Final = 5.0
"""For a connection, and on SQLite for whoever writes to the same file."""
FRESH_MAX: Final = 2_147_483_646


class Dialect(ABC):
    """One database at one address, of which nothing is opened before ``engine``."""

    remedy: str
    """What to look at when it cannot be opened."""

    def __init__(self, url: URL) -> None:
        self._url = url

    @abstractmethod
    def is_there(self) -> bool:
        """Whether anything can be kept there already, as far as that is seen without opening it."""

    @abstractmethod
    def engine(self, seconds: float) -> Engine:
        """Its connections, at most ``CONNECTIONS_MAX``, on which each statement is a transaction of its own, and on a
        snapshot, unless there was a ``begin``. Where the database can, it ends such a statement soon after ``seconds``.

        Raises:
            ConfigurationError: the driver is not installed.
        """

    @abstractmethod
    def begin(self, seconds: float) -> str:
        """The SQL that begins a transaction which writes, so that it is not refused in its middle; ``seconds`` as of
        ``engine``.
        """

    @abstractmethod
    def interrupt(self, connection: Any) -> None:
        """Makes the statement fail that this driver's connection carries out now, if any. From another thread; never
        raises.
        """

    @abstractmethod
    def hold_tables(self, connection: Connection) -> None:
        """Returns when nobody else makes or drops tables until the transaction ends.

        Raises:
            ConfigurationError: tables in this database could not hold every text.
        """

    @abstractmethod
    def insert(self, table: Table) -> Upsert:
        """An insert for this database."""

    @abstractmethod
    def fresh(self) -> ColumnElement[int]:
        """A number from 1 to 2,147,483,647 at random, drawn by the database."""

    def is_about_a_row(self, error: Exception) -> bool:
        """Whether a statement failed because of a value in its rows, so that others may pass."""
        if isinstance(error, DBAPIError):
            return isinstance(error, DataError | IntegrityError)
        return isinstance(error, StatementError | ValueError | OverflowError)
