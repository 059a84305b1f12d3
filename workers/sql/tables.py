"""The tables of the inbox and the outbox in the user's own database.

The migrations in ``migrations/versions`` create the same tables; a test compares the two.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    event,
    insert,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement

__all__ = ["CHANNEL", "INBOX", "LANES", "LANE_COUNT", "OUTBOX", "WAKE", "create_tables", "metadata", "settled"]

CHANNEL: Final = "sagaline_outbox"
"""PostgreSQL's NOTIFY channel: a transaction that added rows to the outbox was committed."""
LANE_COUNT: Final = 64
"""Rows of the outbox are divided into so many lanes by topic and key; one relay at a time publishes a lane."""

metadata: Final = MetaData()
"""Of all tables of this package; give it to Alembic's ``target_metadata`` beside your own."""

_BIG: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column that is an INTEGER."""


class _Transaction(ColumnElement[int]):
    """The number of the current transaction; 0 on SQLite, which has one writer at a time."""

    type = BigInteger()
    inherit_cache = True


class _Settled(ColumnElement[bool]):
    """True for a row of the outbox before which no other row can become visible any more."""

    inherit_cache = True


@compiles(_Transaction, "postgresql")
def _transaction_on_postgresql(element: Any, compiler: Any, **_: Any) -> str:
    return "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"


@compiles(_Transaction)
def _transaction_elsewhere(element: Any, compiler: Any, **_: Any) -> str:
    return "0"


@compiles(_Settled, "postgresql")
def _settled_on_postgresql(element: Any, compiler: Any, **_: Any) -> str:
    # A number at or past the snapshot's end is of another server, from which the rows were restored.
    snapshot = "CAST(CAST(pg_snapshot_{}(pg_current_snapshot()) AS text) AS bigint)"
    column = f"{OUTBOX.name}.txid"
    return f"({column} < {snapshot.format('xmin')} OR {column} >= {snapshot.format('xmax')})"


@compiles(_Settled)
def _settled_elsewhere(element: Any, compiler: Any, **_: Any) -> str:
    return "1 = 1"


def settled() -> ColumnElement[bool]:
    """The condition that every transaction older than the one that wrote the row has ended."""
    return _Settled()


INBOX: Final = Table(
    "sagaline_inbox",
    metadata,
    Column("effect_key", Text, primary_key=True),
    Column("command_id", Text, nullable=False, default=""),
    Column("forward", LargeBinary),
    Column("undo", LargeBinary),
    Column("at_ms", BigInteger, nullable=False),
    Index("sagaline_inbox_at", "at_ms"),
)
"""One row per effect key, with the reply of each direction that took effect: its lock decides races between the two."""

OUTBOX: Final = Table(
    "sagaline_outbox",
    metadata,
    # AUTOINCREMENT: an id that was published must never be used again, a late relay could delete its new row.
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("txid", BigInteger, nullable=False, default=_Transaction()),
    Column("lane", Integer, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("error", Text),
    Index("sagaline_outbox_lane", "lane", "id"),
    sqlite_autoincrement=True,
)
"""Encoded records that were not published yet. ``error``: why a row can never be published; relays leave it out."""

LANES: Final = Table(
    "sagaline_outbox_lanes",
    metadata,
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False, default=""),
    Column("until_ms", BigInteger, nullable=False, default=0),
    Column("turn", BigInteger, nullable=False, default=0),
)
"""Which relay has a lane, and until when; the lane that waited longest has the smallest ``turn``."""

WAKE: Final = (
    f"""
    CREATE OR REPLACE FUNCTION sagaline_outbox_wake() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('{CHANNEL}', '');
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER sagaline_outbox_wake AFTER INSERT ON sagaline_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION sagaline_outbox_wake()
    """,
)
"""PostgreSQL itself tells relays of new rows, from any writer."""


def _after_create(target: Table, connection: Connection, **_: Any) -> None:
    connection.execute(insert(LANES), [{"lane": lane} for lane in range(LANE_COUNT)])


event.listen(LANES, "after_create", _after_create)
for _statement in WAKE:
    event.listen(OUTBOX, "after_create", DDL(_statement).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]


def create_tables(bind: Engine | Connection) -> None:
    """Creates the tables that are missing: for applications without Alembic. Existing tables are not changed.

    With an ``AsyncEngine``: ``async with engine.begin() as connection: await connection.run_sync(create_tables)``.

    Raises:
        ValueError: neither SQLite nor PostgreSQL.
        DBAPIError: the database refused; the owner of the database must act.
    """
    check_dialect(bind.dialect)
    metadata.create_all(bind)


def check_dialect(dialect: Dialect) -> None:
    """Raises: ValueError, for a database that this package does not know."""
    if dialect.name not in ("sqlite", "postgresql"):
        raise ValueError(
            f"sagaline.workers.sql works on SQLite and PostgreSQL, this engine is for {dialect.name!r}; "
            "keep inbox and outbox in one of the two"
        )
