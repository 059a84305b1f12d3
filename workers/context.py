"""The context of a command in a handler: its ids, its deadline, and how the handler writes to the inbox's database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import JsonValue
from pydantic_core import from_json

from ..orchestrator.codec.commands import Command
from ..orchestrator.codec.inputs import progress_json
from ..orchestrator.messages.inputs import JsonObject
from ..orchestrator.messages.outputs import place_named
from ..orchestrator.ports.log import Record
from .delivery import Delivery
from .inbox import Found, Inbox, OpensUnits, SqlValue, Statement, Unit
from .pulse import Pulse

__all__ = ["AnswerLater", "Context"]

S = TypeVar("S")

_CHANGES = ("insert", "update", "delete", "replace", "with")


class AnswerLater:
    """Returned by a handler whose answer comes from elsewhere: by the client or over REST, for ``ctx.command_id``.

    The command counts as handled then. The step waits until it is answered, its attempt times out, or its deadline
    passes. A producer's request cannot be answered so: it times out. Nothing that was given to ``ctx.execute`` takes
    effect, and the inbox does not know the step.
    """


class Context(Delivery):
    """One delivery of a command. Valid until the handler returns."""

    __slots__ = ("_command", "_found", "_inbox", "_statements", "pulse", "unit")

    def __init__(
        self, record: Record, command: Command, found: Found, *, inbox: Inbox | None, traceparent: str | None
    ) -> None:
        super().__init__(
            record,
            id=command.id,
            name=command.contract,
            attempt=command.attempt,
            topic=record.topic,
            traceparent=traceparent,
        )
        self._command, self._found, self._inbox = command, found, inbox
        self._statements: list[Statement] = []
        self.pulse: Pulse | None = None
        """Of the runtime, while the handler runs."""
        self.unit: Unit | None = None
        """Of the inbox, once the handler has asked for its session."""

    @property
    def command_id(self) -> str:
        """The id of this attempt."""
        return self._command.id

    @property
    def effect_key(self) -> str:
        """The same for every attempt of a step and of its undo: use it as the idempotency key in calls to others."""
        return self._command.effect_key

    @property
    def instance(self) -> str:
        """The id of the instance that sent the command; of a producer's, ``@tell/{id}`` or ``@request/{id}``."""
        return self._command.instance

    @property
    def step(self) -> str:
        """The step that sent the command, or that is undone; in a loop with its round, as in ``saga show``.

        Of a producer's command the name of its contract.
        """
        return place_named(self.instance, self._command.effect_key)

    @property
    def contract(self) -> str:
        """The name of the contract that the command follows."""
        return self._command.contract

    @property
    def undo(self) -> bool:
        """True when the command undoes a step."""
        return self._command.undo

    @property
    def deadline_ms(self) -> int | None:
        """Milliseconds since epoch, by the engine's clock, after which the answer is not used any more.

        The handler is cancelled when the span of time in its command has passed, whatever this host's clock says.
        """
        return self._command.deadline_ms

    @property
    def progress(self) -> JsonObject | None:
        """What the last heartbeat of an earlier attempt said, in an undo also that of its step; None: nothing."""
        return self._command.progress

    def heartbeat(self, progress: Mapping[str, JsonValue] | None = None) -> None:
        """Says that the handler is at work: the attempt is not given up as silent (``Retry.attempt_timeout``), and
        ``handler_timeout`` begins anew. The step's timeout stays.

        Call it as often as you like, from any thread; few of them travel: the first one at once, then one per third of
        the attempt's timeout, at most every 10 s. The last progress goes with the reply of a handler that fails. A
        process that is killed loses what has not left. It is seen in the instance, and the next attempt, or the undo,
        finds it as ``ctx.progress``.

        Args:
            progress: how far it has come, a JSON object of at most 4,096 bytes; None: as said before.

        Raises:
            ValueError: the progress is no JSON object, or too large.
        """
        known = progress_json(progress) if progress is not None else None
        if self.pulse is not None:
            self.pulse.beat(known)

    @property
    def forward(self) -> JsonObject | None:
        """In an undo: the step's reply, or None when the step never took effect. Needs an inbox."""
        if self._found.forward is None:
            return None
        reply: JsonObject = from_json(self._found.forward)
        return reply

    @property
    def statements(self) -> Sequence[Statement]:
        """The statements added so far."""
        return self._statements

    def execute(self, sql: str, parameters: tuple[SqlValue, ...] = ()) -> None:
        """Adds a statement that is executed in the inbox's database, in one transaction with the reply.

        It is executed after the handler has returned its reply; never after ``Rejected`` or another exception. A
        statement that the database rejects (a constraint) fails only this attempt.

        Args:
            sql: one INSERT, UPDATE, DELETE or REPLACE, with or without WITH.
            parameters: the values of its question marks.

        Raises:
            ValueError: another kind of statement.
            RuntimeError: the worker has no inbox.
        """
        if self._inbox is None:
            raise RuntimeError(
                "ctx.execute needs an inbox: give the worker one, as in Worker(name, inbox=SqliteInbox(path))"
            )
        if not sql.lstrip().lower().startswith(_CHANGES):
            raise ValueError(
                f"ctx.execute takes {', '.join(w.upper() for w in _CHANGES)}; this is {sql.strip()[:40]!r}"
            )
        self._statements.append((sql, parameters))

    def session(self, kind: type[S]) -> S:
        """The handler's session in the inbox's database: ``ctx.session(AsyncSession)``, or ``Session`` when the inbox
        has a synchronous engine (use it from ``asyncio.to_thread``, it blocks). One per delivery.

        What is done with it is committed in one transaction with the reply, after the handler has returned it, and
        together with what was given to ``execute``. It is rolled back after ``Rejected``, ``AnswerLater`` or an
        exception. Do not commit or close it. It holds its locks until then; on SQLite from its first change the lock
        of the whole file, so call others before.

        Raises:
            RuntimeError: the worker's inbox has no sessions.
            TypeError: its sessions are of another kind.
        """
        if self.unit is None:
            if not isinstance(self._inbox, OpensUnits):
                raise RuntimeError(
                    "ctx.session needs an inbox on SQLAlchemy: Worker(name, inbox=SqlInbox(engine)), "
                    "from sagaline.workers.sql"
                )
            self.unit = self._inbox.unit(kind)
        session = self.unit.session
        if not isinstance(session, kind):
            raise TypeError(f"the session of this delivery is a {type(session).__name__}, not a {kind.__name__}")
        return session
