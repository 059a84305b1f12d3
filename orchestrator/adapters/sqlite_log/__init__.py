"""The log port on one SQLite file: no server, one writer per process; acknowledged writes are on disk."""

from .log import SqliteLog

__all__ = ["SqliteLog"]
