"""One command in a worker."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..orchestrator.codec.commands import Command
from ..orchestrator.messages.inputs import JsonObject, Reply
from ..orchestrator.messages.texts import NOTHING_HIDDEN
from ..orchestrator.ports.log import Outgoing, Record
from ..orchestrator.tracing import Span
from ..sagas.contract import Priority, priority_of
from .context import Context
from .inbox import Found
from .offsets import Mark
from .stage import until_done
from .worker import Handler

__all__ = ["Answer", "Work"]

NOTHING_FOUND = Found()


class Work:
    """A decoded command, its record, and its state in the worker."""

    __slots__ = (
        "begun",
        "came",
        "command",
        "context",
        "flow",
        "found",
        "handler",
        "hidden",
        "key",
        "late",
        "mark",
        "priority",
        "record",
        "reruns",
        "sending",
        "span",
        "unsent",
    )

    def __init__(self, record: Record, mark: Mark, command: Command, handler: Handler | None, came: float) -> None:
        self.record, self.mark, self.command, self.handler = record, mark, command, handler
        self.came, self.begun, self.late = came, False, False
        """When it was polled, by the monotonic clock; whether its handler was begun; whether its deadline passed before
        that was done."""
        self.priority: Priority = priority_of(record.topic)
        key = record.key if record.key is not None else (record.topic, record.partition)
        self.key: object = (self.priority, key)
        """Commands of one key and priority are handled one after the other, in order of arrival."""
        self.flow: Hashable = command.contract
        """Commands of one flow and priority begin in order of arrival; flows take turns."""
        self.found = NOTHING_FOUND
        self.reruns = 0
        self.context: Context | None = None
        self.span: Span | None = None
        self.sending: Span | None = None
        """Of its reply, until that is durable."""
        self.hidden = NOTHING_HIDDEN
        """Personal texts that its handler can read, and no error of it may say."""
        self.unsent: JsonObject | None = None
        """Progress that no heartbeat has carried yet; it goes with the reply."""

    @property
    def name(self) -> str:
        return self.command.contract

    async def discard(self, ends: Callable[[BaseException], bool]) -> None:
        """Rolls back the handler's own transaction, if it has one; ``ends`` as in ``until_done``."""
        if self.context is not None and (unit := self.context.unit) is not None:
            await until_done("inbox.discard", lambda _: unit.discard(), [self], ends)


class Answer:
    """What is appended for a record before it is finished; ``reply`` None: a dead letter. ``outgoing`` None: nothing,
    since nobody waits for the answer.

    ``ahead``: a last heartbeat, appended before the reply. ``onward``: the next command of a routing slip, appended
    after it. ``span`` ends when all of it is durable.
    """

    __slots__ = ("ahead", "mark", "onward", "outgoing", "record", "reply", "span")

    def __init__(self, record: Record, mark: Mark, outgoing: Outgoing | None, reply: Reply | None) -> None:
        self.record, self.mark, self.outgoing, self.reply = record, mark, outgoing, reply
        self.ahead: Outgoing | None = None
        self.onward: Outgoing | None = None
        self.span: Span | None = None

    @property
    def records(self) -> list[Outgoing]:
        """All records to append, in order."""
        return [each for each in (self.ahead, self.outgoing, self.onward) if each is not None]
