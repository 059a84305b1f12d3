"""The user's own database: inbox, sessions of handlers, and the transactional outbox, by SQLAlchemy."""

from .inbox import SqlInbox
from .outbox import Outbox
from .relay import Relay
from .tables import create_tables, metadata

__all__ = ["Outbox", "Relay", "SqlInbox", "create_tables", "metadata"]
