"""The worker as its author declares it: a name and one handler per contract. Nothing runs here.

Everything that is wrong with a declaration is raised at import, with the way out.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from ..sagas import Contract, DefinitionError, Rejected
from ..sagas.contract import check_name
from ..sagas.given import check_count, check_span
from .context import AnswerLater, Context
from .inbox import Inbox

__all__ = ["Handler", "Worker"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
Answered: TypeAlias = R | Rejected | AnswerLater


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler and the contract that it serves."""

    contract: Contract[Any, Any]
    function: Callable[[Any, Context], Awaitable[Answered[BaseModel]]]


class Worker:
    """Handlers of commands, by contract.

    Args:
        name: names the consumer group: workers of one name share the commands of their queues.
        inbox: makes an effect happen once although its command may come twice; None: handlers must see to it.
        concurrency: how many handlers run at a time in one process, 1 or more.
        handler_timeout: longest run of a handler, also when its command's deadline is later.
        grace: how long a stopping worker waits for running handlers before it cancels them.
        clock_skew: by how much this host's clock may differ from the engines': a command whose deadline passed longer
            ago is not begun. Small spans skip more of what nobody waits for after a standstill, and need good clocks.

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

    def __repr__(self) -> str:
        return f"Worker({self.name!r})"

    def handles(
        self, contract: Contract[C, R]
    ) -> Callable[
        [Callable[[C, Context], Awaitable[Answered[R]]]],
        Callable[[C, Context], Awaitable[Answered[R]]],
    ]:
        """Declares who serves a contract; decorates ``async def handler(command: C, ctx: Context) -> R | Rejected``.

        The handler returns its reply, or returns or raises ``Rejected`` for a business "no", or returns ``AnswerLater``
        where the answer comes from elsewhere. Any other exception is
        reported to the saga, which retries by its own policy: a handler neither retries nor sleeps. It may be
        cancelled at its deadline.
        The handler of an undo accepts that the step never happened.

        Raises:
            DefinitionError: not a contract, a second handler for it, not an ``async def`` of two parameters, or
                annotated with another command, reply or context than the contract's.
        """
        if not isinstance(contract, Contract):
            raise DefinitionError(
                f"{self!r}.handles({contract!r}): not a Contract; give the contract that the saga's step names"
            )
        if contract.name in self._handlers:
            raise DefinitionError(f"{self!r} has a handler for {contract.name!r} already; remove one of the two")

        def declare(
            function: Callable[[C, Context], Awaitable[Answered[R]]],
        ) -> Callable[[C, Context], Awaitable[Answered[R]]]:
            _check(self, contract, function)
            if contract.name in self._handlers:
                raise DefinitionError(f"{self!r} has a handler for {contract.name!r} already; remove one of the two")
            self._handlers[contract.name] = Handler(contract, function)
            return function

        return declare

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of its contracts, sorted.

        Raises:
            DefinitionError: it handles nothing.
        """
        if not self._handlers:
            raise DefinitionError(f"{self!r} handles nothing; decorate a function with @worker.handles(contract)")
        return tuple(sorted({handler.contract.queue for handler in self._handlers.values()}))

    def handler(self, contract: str) -> Handler | None:
        """The handler of the contract of that name; None: nobody declared one."""
        return self._handlers.get(contract)


def _check(worker: Worker, contract: Contract[Any, Any], function: Callable[..., object]) -> None:
    name = getattr(function, "__qualname__", repr(function))
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if not inspect.iscoroutinefunction(call):
        raise DefinitionError(
            f"{worker!r}: {name} serves {contract.name!r} and is not async; declare it with async def "
            "(and call what blocks through asyncio.to_thread)"
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise DefinitionError(
            f"{worker!r}: {name} cannot be called with (command, ctx): {error}; give it these two parameters"
        ) from error
    _check_annotations(f"{worker!r}: {name}", contract, function if inspect.isroutine(function) else call)


def _check_annotations(at: str, contract: Contract[Any, Any], function: Callable[..., object]) -> None:
    """Raises DefinitionError where an annotation names another class; what is no plain class is not looked at."""
    try:
        hints = typing.get_type_hints(function)
        parameters = list(inspect.signature(function).parameters)
    except Exception:  # names that exist only for type checkers, and whatever else an annotation may hold
        return
    offered: tuple[type, ...] = (contract.command, Context)
    for parameter, given in zip(parameters, offered, strict=False):
        takes = _classes(hints.get(parameter))
        if takes and not issubclass(given, takes):
            raise DefinitionError(
                f"{at} takes {_names(takes)} as {parameter!r}, and {contract.name!r} gives it {given.__name__}; "
                f"annotate it with {given.__name__}"
            )
    fits, returned = (contract.reply, Rejected, AnswerLater), _classes(hints.get("return"))
    wrong = [each for each in returned if not issubclass(each, fits) and not issubclass(contract.reply, each)]
    if wrong:
        reply = contract.reply.__name__
        raise DefinitionError(
            f"{at} returns {_names(wrong)}, and {contract.name!r} is answered with {reply}; "
            f"let it return {reply}, Rejected or AnswerLater"
        )


def _classes(hint: Any) -> tuple[type, ...]:
    """The classes that an annotation allows; nothing where one of its parts is no plain class."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    parts = typing.get_args(hint) if union else (hint,)
    return parts if all(isinstance(part, type) and part is not Any for part in parts) else ()


def _names(classes: Iterable[type]) -> str:
    return " or ".join(each.__name__ for each in classes)
