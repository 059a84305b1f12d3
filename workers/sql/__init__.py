"""The user's own database: inbox, sessions of handlers, and the transactional outbox, by SQLAlchemy."""

from .inbox import SqlInbox
from .tables import create_tables, metadata

__all__ = ["SqlInbox", "create_tables", "metadata"]
