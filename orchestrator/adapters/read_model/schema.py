"""The tables of the read model. All names begin with ``read_``: in the embedded default they stand in the log's file.

- A document is one JSON text beside the columns that queries look at; nothing is taken from it in SQL.
- Mailboxes, locks and tables stand in ``read_helpers``; ``sequence`` is the place of the record that was applied last.
- ``read_meta`` holds the schema version. Tables of another version are dropped and made anew: the log has everything.
- ``at_ms`` of a history row is there so that what the log itself would have dropped can be dropped here too.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Table, Text, inspect, select

__all__ = ["HELPERS", "HISTORY", "INSTANCES", "POSITIONS", "SCHEMA_VERSION", "prepare"]

SCHEMA_VERSION = 2

_TABLES = MetaData()

META = Table("read_meta", _TABLES, Column("version", Integer, primary_key=True, autoincrement=False))

INSTANCES = Table(
    "read_instances",
    _TABLES,
    Column("id", Text, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
Index("read_instances_by_change", INSTANCES.c.updated_ms, INSTANCES.c.id)
Index("read_instances_by_status", INSTANCES.c.status, INSTANCES.c.updated_ms, INSTANCES.c.id)
Index("read_instances_by_definition", INSTANCES.c.definition, INSTANCES.c.updated_ms, INSTANCES.c.id)
Index("read_instances_by_key", INSTANCES.c.key)

HISTORY = Table(
    "read_history",
    _TABLES,
    Column("instance", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)
Index("read_history_by_time", HISTORY.c.at_ms)

HELPERS = Table(
    "read_helpers",
    _TABLES,
    Column("id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("document", Text, nullable=False),
)

POSITIONS = Table(
    "read_positions",
    _TABLES,
    Column("topic", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("next", BigInteger, nullable=False),
)


def prepare(connection: Connection) -> None:
    """Makes the tables, and makes them anew where another version of them stands; idempotent, in one transaction."""
    present = set(inspect(connection).get_table_names())
    version = connection.scalar(select(META.c.version)) if META.name in present else None
    if version == SCHEMA_VERSION:
        return
    _TABLES.drop_all(connection)
    _TABLES.create_all(connection)
    connection.execute(META.insert().values(version=SCHEMA_VERSION))
