"""PostgreSQL through psycopg 3: a database that several API nodes share.

- The server limits the time of a statement, and ends a transaction when this process stops responding during it: a
  frozen node does not keep its locks.
- A query is one round trip: there is no BEGIN, COMMIT or connection test around it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Integer, Table, create_engine, event, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from ...errors import ConfigurationError
from .dialect import CONNECTIONS_MAX, FRESH_MAX, WAIT_SECONDS, Dialect

__all__ = ["Postgresql"]

_DEFAULTS: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "client_encoding": "UTF8",
    "application_name": "sagaline",
}
"""libpq parameters, unless the address sets them: a server that stops responding is noticed within 30 s."""
_CANCEL_SECONDS: Final = 2.0
_LATER_SECONDS: Final = 1.0
"""The server's timeout comes this much after ours: it is for a process that can no longer interrupt."""
_IDLE_SECONDS: Final = 30
_RANDOM_PAGE_COST: Final = 1.1
"""What a page costs by its number, against one in sequence: the default, 4, is that of disks that turn. With it the
planner reads a whole range of a second index where a few look-ups by key would do.
"""
_TABLES_LOCK: Final = 5_344_782_419_846_373_746
"""The key of our advisory lock."""
_LIMIT_EXCEEDED: Final = "54"
"""The class of SQLSTATEs for a value that is too large for an index."""


class Postgresql(Dialect):
    """See the module."""

    remedy = (
        "check host, port, user, password, database and sslmode of its address, and that the user may create tables "
        "there"
    )

    def is_there(self) -> bool:
        return True

    def engine(self, seconds: float) -> Engine:
        try:
            import psycopg
        except ImportError as error:
            raise ConfigurationError(
                f"a read model on PostgreSQL needs the driver psycopg 3, which cannot be loaded ({error}); "
                "install it: pip install 'sagaline[postgresql]'"
            ) from None
        engine = create_engine(
            self._url.set(query={**_DEFAULTS, **self._url.query}),
            isolation_level="AUTOCOMMIT",
            pool_size=CONNECTIONS_MAX,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            hide_parameters=True,
        )

        def limit(connection: psycopg.Connection, _: object) -> None:
            connection.autocommit = True
            settings = (
                f"SET {_timeout(seconds)}; SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'; "
                f"SET random_page_cost = {_RANDOM_PAGE_COST}; SET plan_cache_mode = force_custom_plan"
            )
            connection.execute(settings.encode())

        event.listen(engine, "connect", limit)
        return engine

    def begin(self, seconds: float) -> str:
        return f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL {_timeout(seconds)}"

    def interrupt(self, connection: Any) -> None:
        import psycopg

        assert isinstance(connection, psycopg.Connection)
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=_CANCEL_SECONDS)

    def hold_tables(self, connection: Connection) -> None:
        connection.execute(select(func.pg_advisory_xact_lock(_TABLES_LOCK)))
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise ConfigurationError(
                f"the read model's database {self._url.database} has the encoding {encoding}, which cannot store every "
                "text; create one with ENCODING 'UTF8'"
            )

    def insert(self, table: Table) -> postgresql.Insert:
        return postgresql.insert(table)

    def fresh(self) -> ColumnElement[int]:
        return func.floor(func.random() * FRESH_MAX).cast(Integer) + 1

    def is_about_a_row(self, error: Exception) -> bool:
        if isinstance(error, DBAPIError) and str(getattr(error.orig, "sqlstate", "")).startswith(_LIMIT_EXCEEDED):
            return True
        return super().is_about_a_row(error)


def _timeout(seconds: float) -> str:
    return f"statement_timeout = {round((seconds + _LATER_SECONDS) * 1000)}"
