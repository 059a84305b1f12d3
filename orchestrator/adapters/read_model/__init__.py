"""The read model port on a SQL database: SQLite now, written so that PostgreSQL needs one dialect entry more."""

from .sql import SqlReadModel

__all__ = ["SqlReadModel"]
