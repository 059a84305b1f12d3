"""The read model port on a SQL database: SQLite or PostgreSQL."""

from .addresses import check_address, is_there, shown
from .sql import SqlReadModel

__all__ = ["SqlReadModel", "check_address", "is_there", "shown"]
