"""Workers: handlers of commands, with an inbox that applies each effect once even if its command arrives twice."""

from .bus import CommandBus, EventBus
from .context import AnswerLater, Context
from .dedup import Dedup
from .delivery import Delivery
from .errors import WorkerCrashed
from .inbox import Inbox
from .injection import Depends
from .message import Message
from .runtime import WorkerRuntime
from .sqlite_inbox import SqliteInbox
from .worker import Worker

__all__ = [
    "AnswerLater",
    "CommandBus",
    "Context",
    "Dedup",
    "Delivery",
    "Depends",
    "EventBus",
    "Inbox",
    "Message",
    "SqliteInbox",
    "Worker",
    "WorkerCrashed",
    "WorkerRuntime",
]
