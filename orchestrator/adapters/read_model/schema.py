"""The tables of the read model. All names begin with ``read_``: in the embedded default they stand in the log's file.

- ``read_logs`` gives each namespace a number, ``log``, which is the first column of every key and index: what belongs
  to one namespace is one range of each table, and nothing of another is ever met. ``generation`` counts how often it
  was cleared; ``clearing`` is 1 while that is under way; ``fed_ms`` is when it was fed last.
- A document is one JSON text beside the columns that queries look at; nothing is taken from it in SQL.
- ``read_waits`` holds what waits for somebody to look, one row for each way of asking: an overdue step and a question
  once with an empty ``who``, and a question once more for everybody who may answer it. The first has all that a list
  shows, as JSON in ``wait``: no document is decoded for it. The others leave it out, however many may answer.
- Mailboxes, locks and tables stand in ``read_helpers``. ``sequence`` is the place of the record that was applied last.
- ``read_meta`` holds the schema version. Tables of another version are dropped and made anew: the log has everything.
- Every documented filter is one range of one index, in the order of the list (statements.py, held by a test that
  reads the plans of both databases). Texts compare by their bytes: on SQLite they do, on PostgreSQL by collation "C".
"""

from __future__ import annotations

import structlog
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Table, Text, inspect, select
from sqlalchemy.dialects import postgresql

__all__ = ["HELPERS", "HISTORY", "INSTANCES", "LOGS", "POSITIONS", "SCHEMA_VERSION", "TABLES", "WAITS", "prepare"]

_log = structlog.get_logger("sagaline.read_model")

SCHEMA_VERSION = 4

TABLES = MetaData()

_TEXT = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def _log_column() -> Column[int]:
    return Column("log", Integer, primary_key=True, autoincrement=False)


META = Table("read_meta", TABLES, Column("version", Integer, primary_key=True, autoincrement=False))

LOGS = Table(
    "read_logs",
    TABLES,
    Column("log", Integer, primary_key=True),
    Column("namespace", _TEXT, nullable=False, unique=True),
    Column("generation", BigInteger, nullable=False),
    Column("clearing", Integer, nullable=False),
    Column("fed_ms", BigInteger, nullable=False),
)

INSTANCES = Table(
    "read_instances",
    TABLES,
    _log_column(),
    Column("id", _TEXT, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("definition", _TEXT, nullable=False),
    Column("version", Integer, nullable=False),
    Column("key", _TEXT, nullable=False),
    Column("status", _TEXT, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
_I = INSTANCES.c
Index("read_instances_by_start", _I.log, _I.created_ms, _I.id)
Index("read_instances_by_status", _I.log, _I.status, _I.created_ms, _I.id)
Index("read_instances_by_definition", _I.log, _I.definition, _I.created_ms, _I.id)
Index("read_instances_by_definition_and_status", _I.log, _I.definition, _I.status, _I.created_ms, _I.id)
Index("read_instances_by_key", _I.log, _I.key, _I.created_ms, _I.id)

WAITS = Table(
    "read_waits",
    TABLES,
    _log_column(),
    Column("instance", _TEXT, primary_key=True),
    Column("kind", _TEXT, primary_key=True),
    Column("step", _TEXT, primary_key=True),
    Column("who", _TEXT, primary_key=True),
    Column("definition", _TEXT, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("wait", Text),
)
_W = WAITS.c
Index("read_waits_by_time", _W.log, _W.kind, _W.who, _W.at_ms, _W.instance, _W.step)
Index("read_waits_by_definition", _W.log, _W.kind, _W.who, _W.definition, _W.at_ms, _W.instance, _W.step)

HISTORY = Table(
    "read_history",
    TABLES,
    _log_column(),
    Column("instance", _TEXT, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)
Index("read_history_by_time", HISTORY.c.log, HISTORY.c.at_ms)

HELPERS = Table(
    "read_helpers",
    TABLES,
    _log_column(),
    Column("id", _TEXT, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("document", Text, nullable=False),
)
Index("read_helpers_by_waiting", HELPERS.c.log, HELPERS.c.waiting, HELPERS.c.id)

POSITIONS = Table(
    "read_positions",
    TABLES,
    _log_column(),
    Column("topic", _TEXT, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("next", BigInteger, nullable=False),
    Column("landmark", BigInteger),
    Column("digest", Text),
    Column("timestamp_ms", BigInteger),
)


def prepare(connection: Connection) -> None:
    """Makes the tables, and makes them anew where another version of them stands; idempotent, in one transaction."""
    present = set(inspect(connection).get_table_names())
    version = connection.scalar(select(META.c.version)) if META.name in present else None
    if version == SCHEMA_VERSION:
        return
    if version is not None:
        _log.warning(
            "the read model was written by another release and is rebuilt from the log",
            found=version,
            known=SCHEMA_VERSION,
        )
    TABLES.drop_all(connection)
    TABLES.create_all(connection)
    connection.execute(META.insert().values(version=SCHEMA_VERSION))
