"""The log port on one SQLite file: no server, one writer per process, every acknowledgement on disk."""

from .log import SqliteLog

__all__ = ["SqliteLog"]
