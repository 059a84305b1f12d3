"""The tables of the read model. All names begin with ``read_``, because by default they are in the embedded log's file.

- ``read_logs`` gives each namespace a number, ``log``, the first column of every key and index: a namespace is one
  range of each table. ``generation`` counts how often it was cleared; ``clearing`` is 1 during that; ``fed_ms``
  is the time of the last update. The number is random, so that a process that knew dropped tables notices new ones.
- **One order of locks**: a writer begins by updating its namespace's row in ``read_logs``, so writers of one namespace
  run one after the other and do not block those of another; dropping tables begins with ``read_logs`` too.
- A document is one JSON text beside the columns for queries; SQL never reads inside it.
- ``read_waits`` has overdue steps and open questions, one row per way to query them: each once with an empty ``who``,
  and a question once more for each person who may answer. The first row has the JSON for lists in ``wait``, so that no
  document is decoded; the others do not repeat it.
- ``read_terms`` has what instances can be found by besides their columns: searchable fields, flags, reason codes
  (terms.py). Name and value are one text, so that a planner's statistics count the pairs.
- ``read_letters`` has the dead letters. What was done with one is its mark in ``read_entities``, joined by ``id``: the
  two arrive in any order. Their topic and key come from outside and have any length: long ones are digests there.
- ``who`` and ``act`` of ``read_history`` are set for the requests of people: the operations log is those rows.
- All entities but instances are in ``read_entities``. ``sequence`` is the place of the last applied record.
- ``read_meta`` has the schema version. Tables of another version are dropped and created again: the log has all data.
- Every documented filter is one range of one index, in the order of the list (statements.py, checked by a test of the
  query plans of both databases). Texts compare by their bytes: by default on SQLite, by collation "C" on PostgreSQL.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import DDL, Column, Connection, Index, Integer, MetaData, Table, Text, event, inspect, select

from .columns import Short, Whole, Words
from .dialect import Dialect

__all__ = [
    "DELETED",
    "ENTITIES",
    "HISTORY",
    "INSTANCES",
    "LETTERS",
    "LOGS",
    "POSITIONS",
    "SCHEMA_VERSION",
    "TABLES",
    "TERMS",
    "WAITS",
    "prepare",
]

_log = structlog.get_logger("sagaline.read_model")

SCHEMA_VERSION = 14

TABLES = MetaData()


def _key(name: str, kind: type[Words | Whole | Integer] = Words) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _words(name: str, *, unique: bool = False) -> Column[str]:
    return Column(name, Words, nullable=False, unique=unique)


def _whole(name: str) -> Column[int]:
    return Column(name, Whole, nullable=False)


def _json(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


META = Table("read_meta", TABLES, _key("version", Integer))

LOGS = Table(
    "read_logs",
    TABLES,
    _key("log", Integer),
    _words("namespace", unique=True),
    _whole("generation"),
    _whole("clearing"),
    _whole("fed_ms"),
)

INSTANCES = Table(
    "read_instances",
    TABLES,
    _key("log", Integer),
    _key("id"),
    _whole("sequence"),
    _words("definition"),
    _whole("version"),
    _words("key"),
    _words("status"),
    _whole("revision"),
    _whole("created_ms"),
    _whole("updated_ms"),
    _json("document"),
)
_I = INSTANCES.c
Index("read_instances_by_start", _I.log, _I.created_ms, _I.id)
Index("read_instances_by_status", _I.log, _I.status, _I.created_ms, _I.id)
Index("read_instances_by_definition", _I.log, _I.definition, _I.created_ms, _I.id)
Index("read_instances_by_definition_and_status", _I.log, _I.definition, _I.status, _I.created_ms, _I.id)
Index("read_instances_by_key", _I.log, _I.key, _I.created_ms, _I.id)
Index("read_instances_by_version", _I.log, _I.definition, _I.version, _I.created_ms, _I.id)
Index("read_instances_by_update", _I.log, _I.updated_ms, _I.created_ms, _I.id)

TERMS = Table(
    "read_terms",
    TABLES,
    _key("log", Integer),
    _key("instance"),
    _key("term"),
    _whole("created_ms"),
)
_T = TERMS.c
Index("read_terms_by_term", _T.log, _T.term, _T.created_ms, _T.instance)
_PRECISE = DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy does not type it
    "ALTER TABLE read_terms ALTER COLUMN term SET STATISTICS 1000"
).execute_if(dialect="postgresql")
"""The terms of all fields share a histogram: its usual 100 parts do not tell how many instances a range has."""
event.listen(TERMS, "after_create", _PRECISE)

WAITS = Table(
    "read_waits",
    TABLES,
    _key("log", Integer),
    _key("instance"),
    _key("kind"),
    _key("step"),
    _key("who"),
    _words("definition"),
    _whole("at_ms"),
    _json("wait", nullable=True),
)
_W = WAITS.c
Index("read_waits_by_time", _W.log, _W.kind, _W.who, _W.at_ms, _W.instance, _W.step)
Index("read_waits_by_definition", _W.log, _W.kind, _W.who, _W.definition, _W.at_ms, _W.instance, _W.step)

HISTORY = Table(
    "read_history",
    TABLES,
    _key("log", Integer),
    _key("instance"),
    _key("sequence", Whole),
    Column("part", Integer, nullable=False),
    _whole("at_ms"),
    _json("record"),
    Column("who", Words),
    Column("act", Words),
)
_H = HISTORY.c
_BY_PERSONS: dict[str, Any] = {"sqlite_where": _H.who.is_not(None), "postgresql_where": _H.who.is_not(None)}
Index("read_history_by_operation", _H.log, _H.at_ms, _H.instance, _H.sequence, **_BY_PERSONS)
Index("read_history_by_who", _H.log, _H.who, _H.at_ms, _H.instance, _H.sequence, **_BY_PERSONS)
Index("read_history_by_target", _H.log, _H.instance, _H.at_ms, _H.sequence, **_BY_PERSONS)
Index("read_history_by_act", _H.log, _H.act, _H.at_ms, _H.instance, _H.sequence, **_BY_PERSONS)
Index("read_history_by_time", HISTORY.c.log, HISTORY.c.at_ms)
Index("read_history_by_place", HISTORY.c.log, HISTORY.c.part, HISTORY.c.sequence)

ENTITIES = Table(
    "read_entities",
    TABLES,
    _key("log", Integer),
    _key("id"),
    _whole("sequence"),
    _words("status"),
    _json("document"),
)
Index("read_entities_by_status", ENTITIES.c.log, ENTITIES.c.status, ENTITIES.c.id)
DELETED = "deleted"
"""Status of an entity that is in no list."""

LETTERS = Table(
    "read_letters",
    TABLES,
    _key("log", Integer),
    _key("part", Integer),
    _key("place", Whole),
    _words("id"),
    _whole("at_ms"),
    Column("topic", Short, nullable=False),
    Column("key", Short, nullable=False),
    _words("fingerprint"),
    _words("reason"),
    _json("letter"),
)
_L = LETTERS.c
Index("read_letters_by_time", _L.log, _L.at_ms, _L.part, _L.place)
Index("read_letters_by_fingerprint", _L.log, _L.fingerprint, _L.at_ms, _L.part, _L.place)
Index("read_letters_by_topic", _L.log, _L.topic, _L.at_ms, _L.part, _L.place)
Index("read_letters_by_key", _L.log, _L.key, _L.at_ms, _L.part, _L.place)

POSITIONS = Table(
    "read_positions",
    TABLES,
    _key("log", Integer),
    _key("topic"),
    _key("part", Integer),
    _whole("next"),
    Column("landmark", Whole),
    Column("digest", Text),
    Column("timestamp_ms", Whole),
)


def prepare(dialect: Dialect, connection: Connection) -> None:
    """Creates the tables; creates all of them again if one is missing or they have another version.

    Idempotent, in one transaction; of several concurrent callers one does it.
    """
    dialect.hold_tables(connection)
    present = set(inspect(connection).get_table_names())
    version = connection.scalar(select(META.c.version)) if META.name in present else None
    if version == SCHEMA_VERSION and TABLES.tables.keys() <= present:
        return
    if present & TABLES.tables.keys():
        _log.warning(
            "the read model is rebuilt from the log: its tables are incomplete or from another release",
            found=version,
            known=SCHEMA_VERSION,
        )
    LOGS.drop(connection, checkfirst=True)
    TABLES.drop_all(connection)
    TABLES.create_all(connection)
    connection.execute(META.insert().values(version=SCHEMA_VERSION))
