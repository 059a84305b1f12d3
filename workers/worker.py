"""The declaration of a worker: a name and one handler per contract. Nothing runs here.

Every mistake in a declaration is raised at import; the message says what to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, Unpack, overload

from pydantic import BaseModel

from ..sagas import Contract, DefinitionError, Event, Rejected
from ..sagas.contract import check_name
from ..sagas.functions import check_function
from ..sagas.given import check_count, check_span, check_text
from .calls import Calls, Middleware
from .context import AnswerLater, Context
from .filters import Filter
from .inbox import Inbox
from .injection import Callee, callee_of, classes, hints_of, named
from .reads import JsonOf, Reads, reads_of
from .subscription import Given, Options, Subscription, Where, declare

__all__ = ["Declares", "Handler", "Worker"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)
T = TypeVar("T")
P = ParamSpec("P")
Answered: TypeAlias = R | Rejected | AnswerLater
Subscriber: TypeAlias = Callable[Concatenate[E, P], T]


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler and its contract."""

    contract: Contract[Any, Any]
    callee: Callee
    fair_by: Callable[[Any], object] | None = None
    circuit: bool = True


class Declares(Protocol, Generic[C, R]):
    """Declares a function as the handler of a contract, and returns it."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[C, P], Awaitable[Answered[R]]], /
    ) -> Callable[Concatenate[C, P], Awaitable[Answered[R]]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[C, P], Answered[R]], /
    ) -> Callable[Concatenate[C, P], Answered[R]]: ...


class Worker:
    """Handlers of commands, by contract.

    Args:
        name: the consumer group's name: workers of the same name share the commands of their queues.
        inbox: applies each effect once although its command may arrive twice; None: handlers must be idempotent.
        concurrency: how many handlers run at a time in one process, 1 or more.
        handler_timeout: the longest run of a handler, also when its command's deadline is later.
        grace: how long a stopping worker waits for running handlers before it cancels them.
        clock_skew: by how much this host's clock may differ from the engine's: a command whose deadline passed longer
            ago is not started. A small value skips more useless work after an outage, and needs synchronized clocks.

    Raises:
        DefinitionError: a name or number out of its range.
    """

    def __init__(
        self,
        name: str,
        *,
        inbox: Inbox | None = None,
        concurrency: int = 64,
        handler_timeout: timedelta = timedelta(minutes=5),
        grace: timedelta = timedelta(seconds=10),
        clock_skew: timedelta = timedelta(minutes=5),
    ) -> None:
        check_name("worker", name)
        check_count(f"worker {name!r}: concurrency", concurrency, 1)
        check_span(f"worker {name!r}: handler_timeout", handler_timeout)
        check_span(f"worker {name!r}: grace", grace, zero=True)
        check_span(f"worker {name!r}: clock_skew", clock_skew, zero=True)
        self.name, self.inbox, self.concurrency = name, inbox, concurrency
        self.handler_timeout, self.grace, self.clock_skew = handler_timeout, grace, clock_skew
        self._handlers: dict[str, Handler] = {}
        self._subscriptions: list[Subscription] = []
        self._middlewares: list[Middleware] = []
        self.dependency_overrides: dict[Callable[..., object], Callable[..., object]] = {}
        """For tests: what is called in place of a dependency, as ``worker.dependency_overrides[get_db] = fake_db``."""

    def __repr__(self) -> str:
        return f"Worker({self.name!r})"

    def handles(
        self, contract: Contract[C, R], *, fair_by: Callable[[C], object] | None = None, circuit: bool = True
    ) -> Declares[C, R]:
        """Declares the handler of a contract: ``async def handler(command: C, ctx: Context) -> R | Rejected``.

        ``ctx`` may be left out, and more parameters may be declared with ``Depends``. A handler that is not ``async``
        runs in a thread, which nothing can cancel.

        The handler returns its reply, or returns or raises ``Rejected`` for a business "no", or returns ``AnswerLater``
        when the answer comes from elsewhere. Any other exception is reported to the saga, which retries by its own
        policy: a handler must neither retry nor sleep. It may be cancelled at its deadline. The handler of an undo must
        accept that the step never happened.

        Args:
            contract: which commands it handles.
            fair_by: a function of the command, such as its tenant: when commands wait, the values take turns. It must
                not block. Commands for which it raises take turns as one value; the log says so once. None: first come,
                first served.
            circuit: while nearly all of the last 20 commands failed, only one a second is tried, until one succeeds;
                the others wait. False: all are tried.

        Raises:
            DefinitionError: not a contract, a second handler for it, a parameter that nothing fills, or annotated with
                another command, reply or context than the contract's; or a ``fair_by`` that is no plain function of the
                command.
        """
        if not isinstance(contract, Contract):
            raise DefinitionError(
                f"{self!r}.handles({contract!r}): not a Contract; give the contract that the saga's step names"
            )
        if contract.name in self._handlers:
            raise DefinitionError(f"{self!r} already has a handler for {contract.name!r}; remove one of the two")
        if fair_by is not None:
            check_function(f"{self!r}: fair_by of {contract.name!r}", fair_by, (contract.command,))

        def declare(function: Any, /) -> Any:
            callee = callee_of(f"{self!r}", function, contract.command, Context)
            _check_reply(f"{self!r}", contract, function)
            if contract.name in self._handlers:
                raise DefinitionError(f"{self!r} already has a handler for {contract.name!r}; remove one of the two")
            self._handlers[contract.name] = Handler(contract, callee, fair_by, circuit)
            return function

        return declare

    def subscribes(
        self,
        event: Event[E],
        *,
        where: Callable[[E], bool] | Filter | None = None,
        **options: Unpack[Given],
    ) -> Callable[[Subscriber[E, P, T]], Subscriber[E, P, T]]:
        """Declares a handler of an event: ``async def handler(body: E)``, or ``(body: E, message: Message)``.

        More parameters may be declared with ``Depends``.
        Every group gets every event; the processes of a group share them. A handler that raises is called again
        later, by ``retry``; until then the later events of the key wait, and other keys pass. A ``Rejected`` makes the
        event a dead letter at once. A handler that is not ``async`` runs in a thread.

        Args:
            event: its kind.
            where: only these events are handled: a function of the body that returns True, or a filter on headers in
                the dialects of CloudEvents, for which no body is read; see ``Options``.
            options: ``group`` (default: the worker's name), ``delivery``, ``order``, ``retry``, ``expires_after``,
                ``dedup``, ``start``: see ``Options``.

        Raises:
            DefinitionError: not an event, a second handler for it in the group, a function of other parameters, or an
                option out of its range.
        """
        if not isinstance(event, Event):
            raise DefinitionError(f"{self!r}.subscribes({event!r}): not an Event; to read a topic use consumes()")
        return self._subscribe(event, JsonOf(event.model), where, options)

    def consumes(
        self,
        topic: str,
        *,
        model: type[E] | Reads[E],
        where: Callable[[E], bool] | Filter | None = None,
        **options: Unpack[Given],
    ) -> Callable[[Subscriber[E, P, T]], Subscriber[E, P, T]]:
        """Declares a handler of a foreign topic's records, as ``subscribes`` does of events.

        Args:
            topic: its full name; it must exist.
            model: of the values, which are JSON; or what reads them, as ``shapes.Normalizer`` reads several formats. A
                value that it cannot read becomes a dead letter.
            where, options: as ``subscribes``.

        Raises:
            DefinitionError: as ``subscribes``.
        """
        check_text(f"{self!r}.consumes: topic", topic)
        return self._subscribe(topic, reads_of(f"{self!r}.consumes({topic!r})", model), where, options)

    def use(self, middleware: Middleware) -> Middleware:
        """Adds ``async def middleware(message: Delivery, call_next)`` round each handler, the first outermost.

        It stands round handlers of commands, undos included, and of subscriptions; ``message`` is a ``Context`` or a
        ``Message``. It runs when the handler would: not for a command that the inbox answers, or a message that a
        filter drops. What it raises counts as raised by the handler. It returns what ``await call_next()`` gave, or
        for a command another reply of the contract's type in its place; without that call the handler is not called.
        """
        self._middlewares.append(middleware)
        return middleware

    def _subscribe(
        self, of: Event[Any] | str, reads: Reads[BaseModel], where: Where | None, given: Given
    ) -> Callable[[Subscriber[E, P, T]], Subscriber[E, P, T]]:
        given.setdefault("group", self.name)
        options = Options(where=where, **given)

        def declared(function: Subscriber[E, P, T]) -> Subscriber[E, P, T]:
            found = declare(f"{self!r}", of, reads, function, options)
            for each in self._subscriptions:
                if (each.options.group, each.topic, each.event) == (options.group, found.topic, found.event):
                    raise DefinitionError(
                        f"{self!r} already has a handler for {found.name!r} in group {options.group!r}; remove one of "
                        "the two, or give one another group"
                    )
            self._subscriptions.append(found)
            return function

        return declared

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Its subscriptions, in the order of declaration."""
        return tuple(self._subscriptions)

    @property
    def calls(self) -> Calls:
        """Calls its handlers, with the middlewares that it has now."""
        return Calls(self._middlewares, self.dependency_overrides)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of its contracts with their lanes, sorted; empty if it only subscribes.

        Raises:
            DefinitionError: it handles nothing.
        """
        if not self._handlers and not self._subscriptions:
            raise DefinitionError(
                f"{self!r} handles nothing; decorate a function with @worker.handles(contract) or "
                "@worker.subscribes(event)"
            )
        return tuple(sorted({lane for handler in self._handlers.values() for lane in handler.contract.lanes}))

    @property
    def contracts(self) -> tuple[Contract[Any, Any], ...]:
        """The contracts that it handles, in the order of declaration."""
        return tuple(handler.contract for handler in self._handlers.values())

    def handler(self, contract: str) -> Handler | None:
        """The handler of the contract with that name; None: there is none."""
        return self._handlers.get(contract)


def _check_reply(at: str, contract: Contract[Any, Any], function: Callable[..., object]) -> None:
    """Raises DefinitionError when a handler says that it returns another class; only plain classes are checked."""
    fits, returned = (contract.reply, Rejected, AnswerLater), classes(hints_of(function)["return"])
    wrong = [each for each in returned if not issubclass(each, fits) and not issubclass(contract.reply, each)]
    if wrong:
        name, reply = getattr(function, "__qualname__", repr(function)), contract.reply.__name__
        raise DefinitionError(
            f"{at}: {name} returns {named(wrong)}, but {contract.name!r} must be answered with {reply}; "
            f"let it return {reply}, Rejected or AnswerLater"
        )
