"""The tables of the file, opening connections, and translating SQLite's errors.

- A record's id is its partition's number and its offset in one integer. One b-tree has the whole log, a partition is a
  range of it, and reading from an offset is a range scan. The last record of a partition is never removed, so the next
  offset can always be read from the table.
- A document is a record of a compacted topic. Its owner removes the record that a new one replaces, in the same
  transaction. So a restore is a range scan of a state partition, and needs no second index.
- An epoch belongs to (group, partition); taking the partition increases it. Engines use the empty group, because an
  input partition has one owner whatever the name of their group.
- The schema version is in ``user_version``; another version is rejected.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import ConfigurationError, LogUnavailable, SagalineError

__all__ = [
    "OFFSET_BITS",
    "OFFSET_MASK",
    "connect",
    "first_id",
    "harms_all",
    "is_passing",
    "past_last_id",
    "prepare",
    "translate",
]

SCHEMA_VERSION = 1
APPLICATION_ID = 0x53616761
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1

_TABLES = """
CREATE TABLE topics (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
    first_part INTEGER NOT NULL UNIQUE, policy TEXT NOT NULL, retention_ms INTEGER);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, key BLOB, value BLOB, headers BLOB, timestamp_ms INTEGER NOT NULL);
CREATE INDEX tombstones ON records (id) WHERE value IS NULL;
CREATE TABLE epochs (
    grp TEXT NOT NULL, part INTEGER NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (grp, part)) WITHOUT ROWID;
CREATE TABLE positions (
    grp TEXT NOT NULL, part INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (grp, part)) WITHOUT ROWID;
CREATE TABLE members (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, grp TEXT NOT NULL, topic TEXT NOT NULL, member TEXT NOT NULL,
    seen_ms INTEGER NOT NULL, timeout_ms INTEGER NOT NULL, UNIQUE (grp, topic, member));
CREATE TABLE generation (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
INSERT INTO generation VALUES (1, 0);
"""

_PASSING = {"SQLITE_BUSY", "SQLITE_LOCKED"}
_REMEDIES = {
    "SQLITE_FULL": "the disk is full: free space on the disk that holds it",
    "SQLITE_IOERR": "the disk failed: check the system's log about it",
    "SQLITE_READONLY": "it is not writable: give this user write permission for the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened: check that the file and its folder still exist",
    "SQLITE_BUSY": "another process holds its lock: end that process or let it finish",
    "SQLITE_LOCKED": "another connection holds its lock: end its user or let it finish",
    "SQLITE_CORRUPT": "it is damaged: stop, keep a copy, and restore it from a backup",
    "SQLITE_NOTADB": "it is not a SQLite file: give another path",
}


def first_id(part: int) -> int:
    return part << OFFSET_BITS


def past_last_id(part: int) -> int:
    return (part + 1) << OFFSET_BITS


def connect(path: Path, *, read_only: bool = False, busy_ms: int = 0) -> sqlite3.Connection:
    """A connection in autocommit mode that several threads may use, one at a time."""
    connection = sqlite3.connect(
        path, timeout=busy_ms / 1000, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA synchronous = FULL")
            # Also for rows that are no secret: SQLite copies rows from page to page, and leaves the old bytes there.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA cache_size = -16000")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def prepare(path: Path, busy_ms: int) -> sqlite3.Connection:
    """Opens the file for writing and creates the tables if it is new.

    Raises:
        ConfigurationError: the path cannot be used, or the file is another program's or another version's.
        LogUnavailable: another process held its lock for the whole time.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path} cannot be used as a log: its folder does not exist; create {path.parent}")
    try:
        connection = connect(path, busy_ms=busy_ms)
        try:
            _make_ours(connection, path)
            connection.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        if is_passing(error):
            raise translate(error, path) from error
        raise ConfigurationError(str(translate(error, path))) from error
    return connection


def _make_ours(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise ConfigurationError(f"{path} cannot be used as a log: its file system does not support SQLite's WAL")
    if _is_ours(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    if not _is_ours(connection, path):
        for statement in _TABLES.strip().split(";\n"):
            connection.execute(statement.rstrip(";"))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """False: the file is new. Raises: ConfigurationError."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return False
    if application != APPLICATION_ID:
        raise ConfigurationError(f"{path} is a SQLite file of another program; give another path for the log")
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}: "
            "run the version of sagaline that wrote it, or give another path"
        )
    return True


def _name(error: sqlite3.Error) -> str:
    """The primary name of an error: SQLITE_BUSY for SQLITE_BUSY_SNAPSHOT and so on."""
    name: str = getattr(error, "sqlite_errorname", "") or ""
    return "_".join(name.split("_")[:2])


def is_passing(error: sqlite3.Error) -> bool:
    """True when the same statement may succeed a moment later, because it only failed on a lock."""
    return _name(error) in _PASSING


def harms_all(error: sqlite3.Error) -> bool:
    """True when the file or the disk is at fault, so that other operations would fail too."""
    return _name(error) in _REMEDIES


def translate(error: sqlite3.Error, path: Path) -> SagalineError:
    """The error as an error of the log port, with a remedy."""
    remedy = _REMEDIES.get(_name(error), "retry; if it fails again, resolve the cause named here")
    return LogUnavailable(f"the log {path} failed ({error}); {remedy}")
