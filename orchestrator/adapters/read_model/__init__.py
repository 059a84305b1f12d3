"""The read model port on a SQL database: SQLite now, written so that PostgreSQL needs one dialect entry more."""

from .dialects import check_address, is_there, shown
from .sql import SqlReadModel

__all__ = ["SqlReadModel", "check_address", "is_there", "shown"]
