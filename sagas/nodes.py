"""The nodes a flow is made of: ``step`` and ``pivot``.

A node is a typed value, contravariant in the state: a node written for a base model fits every saga whose state derives
from it. Nodes hold the author's pure functions and options; they never run anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from .contract import Contract, check_name
from .errors import DefinitionError
from .policy import Retry

__all__ = ["Node", "Pivot", "Step", "Undo", "pivot", "step"]

S = TypeVar("S", bound=BaseModel)
S_contra = TypeVar("S_contra", bound=BaseModel, contravariant=True)
C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
U = TypeVar("U", bound=BaseModel)
V = TypeVar("V", bound=BaseModel)

STEP_TIMEOUT: Final = timedelta(minutes=5)
STEP_RETRY: Final = Retry()
UNDO_TIMEOUT: Final = timedelta(hours=24)
UNDO_RETRY: Final = Retry(max_attempts=20, attempt_timeout=timedelta(minutes=5))


_RESERVED: Final = frozenset({"instance", "paused", "pivot", "undo"})


class Node(Generic[S_contra]):
    """Anything that can stand in a saga's ``flow``."""

    name: str


class Pivot(Node[BaseModel]):
    """The point of no return of a flow: past it the flow only goes forward."""

    name = "pivot"

    def __repr__(self) -> str:
        return "pivot"


pivot: Final[Node[BaseModel]] = Pivot()
"""Place it in a flow once: failures before it are compensated, failures after it are retried and then shown."""


@dataclass(frozen=True, kw_only=True)
class Undo(Generic[S_contra]):
    """How a step is undone: a command of its own, with its own policy."""

    contract: Contract[Any, Any]
    build: Callable[[S_contra], BaseModel]
    timeout: timedelta
    retry: Retry


class Step(Node[S_contra]):
    """One command to a worker and its reply; made by the ``step`` decorator."""

    def __init__(
        self, name: str, build: Callable[[S_contra], BaseModel], options: StepOptions, contract: Contract[Any, Any]
    ) -> None:
        check_name("step", name)
        if name in _RESERVED:
            raise DefinitionError(f"step {name!r}: the name means something else in ids and histories; choose another")
        self.name = name
        self.contract = contract
        self.build = build
        self.options = options
        self._undo: Undo[S_contra] | None = None
        self._saga: str | None = None

    def __repr__(self) -> str:
        return f"Step({self.name!r})"

    @property
    def compensation(self) -> Undo[S_contra] | None:
        """How this step is undone; None: it leaves nothing to undo."""
        return self._undo

    def undo(
        self, contract: Contract[U, V], *, timeout: timedelta = UNDO_TIMEOUT, retry: Retry = UNDO_RETRY
    ) -> UndoDecorator[S_contra, U]:
        """Declares how this step is undone; decorates a pure function from the state to the undo's command.

        The undo runs when the step took effect *or may have* (timed out, attempts used up): the function must not
        rely on the step's reply, and the worker's handler must accept "never happened".

        Args:
            contract: the undo's command; it may travel on another queue.
            timeout: how long the undo as a whole is tried before an operator is asked.
            retry: its own policy; by default 20 attempts, each given 5 minutes.

        Raises:
            DefinitionError: the step has an undo already or stands in a saga already, or the timeout is not positive.
        """
        self._check_open()
        _check_timeout(f"undo of step {self.name!r}", timeout)
        return UndoDecorator(self, contract, timeout, retry)

    def _register(self, undo: Undo[Any]) -> None:
        self._check_open()
        self._undo = undo

    def _check_open(self) -> None:
        if self._undo is not None:
            raise DefinitionError(f"step {self.name!r} has an undo already; remove one of the two")
        if self._saga is not None:
            raise DefinitionError(
                f"step {self.name!r} stands in saga {self._saga!r} already; declare its undo before the saga"
            )

    def _close(self, saga: str) -> None:
        """Called by a saga that has checked this step: nothing may be added to it any more."""
        self._saga = self._saga or saga


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What a step may be told beside its contract; see ``step``."""

    into: str | None
    timeout: timedelta
    retry: Retry


class UndoDecorator(Generic[S_contra, U]):
    """Takes the function that builds the undo's command."""

    def __init__(self, owner: Step[S_contra], contract: Contract[U, Any], timeout: timedelta, retry: Retry) -> None:
        self._owner, self._contract, self._timeout, self._retry = owner, contract, timeout, retry

    def __call__(self, build: Callable[[S_contra], U]) -> Callable[[S_contra], U]:
        undo = Undo[Any](contract=self._contract, build=build, timeout=self._timeout, retry=self._retry)
        self._owner._register(undo)
        return build


class StepDecorator(Generic[C, R]):
    """Takes the function that builds the step's command; generic in the state it reads."""

    def __init__(self, contract: Contract[C, R], options: StepOptions, name: str | None) -> None:
        self._contract, self._options, self._name = contract, options, name

    def __call__(self, build: Callable[[S], C]) -> Step[S]:
        name = self._name if self._name is not None else getattr(build, "__name__", "")
        if name == "<lambda>":
            raise DefinitionError("a lambda has no name of its own; give the step one: step(contract, name='…')")
        return Step[S](name, build, self._options, self._contract)


def _check_timeout(what: str, timeout: timedelta) -> None:
    if timeout <= timedelta(0):
        raise DefinitionError(f"{what}: timeout is {timeout}; give a positive timedelta")


def step(
    contract: Contract[C, R],
    *,
    into: str | None = None,
    timeout: timedelta = STEP_TIMEOUT,
    retry: Retry = STEP_RETRY,
    name: str | None = None,
) -> StepDecorator[C, R]:
    """Declares a step; decorates a pure function from the state to the command.

    On success the reply is put into the state and the flow goes on. A business no (``Rejected``) starts compensation at
    once; the step itself is not undone. What the worker raises is retried by policy. When the attempts or the timeout
    run out before the pivot, the step may have happened: it is undone with the others. Past the pivot all three end in
    ``attention``. On cancel, a step in flight is undone after its reply or its timeout.

    Args:
        contract: the command, its reply and the queue.
        into: the field of the state that takes the reply; it needs a default, usually None. None: the reply is only
            kept in the history.
        timeout: how long the step as a whole may take, all attempts and waits included, from its first command on.
        retry: see ``Retry``; by default 3 attempts.
        name: the step's identity in running instances; the function's name by default.

    Raises:
        DefinitionError: names that cannot travel, a timeout that is not positive.
    """
    _check_timeout(f"step of contract {contract.name!r}", timeout)
    return StepDecorator(contract, StepOptions(into=into, timeout=timeout, retry=retry), name)
