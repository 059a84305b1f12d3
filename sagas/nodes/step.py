"""``step``: one command to a worker and its reply, and how it is undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from ..contract import Contract
from ..errors import DefinitionError
from ..given import check_is, check_span, check_text
from ..policy import Retry
from .base import Node, check_into, name_of

__all__ = ["Step", "StepOptions", "Undo", "check_contract", "check_options", "check_retry", "step"]

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
        self.name = name
        self.contract = contract
        self.declared = contract
        """The contract as its author declared it; a leg of a scatter sends it to another queue."""
        self.build = build
        self.options = options
        self._undo: Undo[S_contra] | None = None
        self._saga: str | None = None

    @property
    def compensation(self) -> Undo[S_contra] | None:
        """How this step is undone; None: it leaves nothing to undo."""
        return self._undo

    @property
    def is_query(self) -> bool:
        """True for the question of a scatter: it is read-only, and the scatter gathers its answer."""
        return self.contract is not self.declared

    def undo(
        self, contract: Contract[U, V], *, timeout: timedelta = UNDO_TIMEOUT, retry: Retry = UNDO_RETRY
    ) -> UndoDecorator[S_contra, U]:
        """Declares how this step is undone; decorates a pure function from the state to the undo's command.

        The undo runs when the step took effect *or may have* (timed out, attempts used up): the function must not
        rely on the step's reply, and the worker's handler must accept "never happened".

        Args:
            contract: the undo's command; it may use another queue.
            timeout: how long the undo as a whole is tried before an operator must act.
            retry: its own policy; by default 20 attempts, each given 5 minutes.

        Raises:
            DefinitionError: the step already has an undo or is already part of a definition, or the timeout is not
                positive.
        """
        self._check_open()
        check_contract(f"the undo of step {self.name!r}", contract)
        check_span(f"undo of step {self.name!r}: timeout", timeout)
        check_retry(f"undo of step {self.name!r}", retry)
        return UndoDecorator(self, contract, timeout, retry)

    def _register(self, undo: Undo[Any]) -> None:
        self._check_open()
        self._undo = undo

    def _check_open(self) -> None:
        if self._undo is not None:
            raise DefinitionError(f"step {self.name!r} already has an undo; remove one of the two")
        if self._saga is not None:
            raise DefinitionError(
                f"step {self.name!r} is already part of {self._saga!r}; declare its undo before that definition"
            )

    def _close(self, saga: str) -> None:
        """Called by a definition that has checked this step: no undo may be added after that."""
        self._saga = self._saga or saga


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """The options of a step; see ``step``."""

    into: str | None = None
    timeout: timedelta = STEP_TIMEOUT
    retry: Retry = STEP_RETRY
    locks: str | None = None
    read_only: bool = False
    expected_within: timedelta | None = None


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
        return Step[S](name_of("step", build, self._name), build, self._options, self._contract)


def check_retry(where: str, retry: object) -> None:
    """Raises DefinitionError unless it is a retry policy."""
    check_is(f"{where}: retry", retry, Retry, "give a Retry(max_attempts=…)")


def check_contract(where: str, contract: object) -> None:
    """Raises DefinitionError unless it is a contract."""
    check_is(f"contract of {where}", contract, Contract, "give a Contract(name, command, reply, queue=…)")


def check_options(where: str, options: StepOptions) -> None:
    """Raises DefinitionError for a value of the wrong type, or a span that is not positive."""
    check_span(f"{where}: timeout", options.timeout)
    check_retry(where, options.retry)
    check_into(where, options.into)
    if options.locks is not None:
        check_text(f"{where}: locks", options.locks)
    if options.expected_within is not None:
        check_span(f"{where}: expected_within", options.expected_within)
    check_is(f"{where}: read_only", options.read_only, bool, "give True or False")


def step(
    contract: Contract[C, R],
    *,
    into: str | None = None,
    timeout: timedelta = STEP_TIMEOUT,
    retry: Retry = STEP_RETRY,
    name: str | None = None,
    locks: str | None = None,
    read_only: bool = False,
    expected_within: timedelta | None = None,
) -> StepDecorator[C, R]:
    """Declares a step; decorates a pure function from the state to the command.

    - success: the reply is put into the state and the flow continues.
    - rejection: the worker's ``Rejected`` starts compensation at once. The step itself is not undone, unless an
      earlier attempt failed or got no answer and so may have happened.
    - exhaustion: the last attempt has failed: the step may have happened, so compensation starts and undoes it too.
    - timeout: as exhaustion.
    - cancel: a step in flight is undone after its reply or its timeout, and is not sent again. Cancel does not wait for
      a step that waits for its lock or for its next attempt.
    - undo: its own command, see ``Step.undo``, with its own attempts and timeout; an undo that does not succeed ends in
      ``attention``. A step without an undo is not undone.
    - past the pivot, rejection, exhaustion and timeout end in ``attention``; ``retry`` sends the step again.
    - a function that raises, or does not return the command, puts the instance into ``attention``; fix it, redeploy,
      then ``retry`` calls it again.

    Args:
        contract: the command, its reply and the queue.
        into: the field of the state that takes the reply; the field needs a default, usually None. Without ``into`` the
            reply is only kept in the history.
        timeout: how long the step as a whole may take, from its first command on, all attempts and waits included.
        retry: see ``Retry``; by default 3 attempts.
        name: the step's identity in running instances; the function's name by default.
        locks: a semantic lock, ``"order:{order.id}"``: fields of the state in braces. It is acquired before the command
            is sent and held until the instance has ended; all steps of the instance that name it share it. A step that
            waits longer than ``timeout`` for it fails.
        read_only: the step has no effect, so it needs no undo.
        expected_within: a step that takes longer is overdue: it is shown and counted, nothing else happens.

    Raises:
        DefinitionError: an invalid name, a value of the wrong type, or a span that is not positive.
    """
    check_contract("a step", contract)
    where = f"step of contract {contract.name!r}"
    options = StepOptions(
        into=into,
        timeout=timeout,
        retry=retry,
        locks=locks,
        read_only=read_only,
        expected_within=expected_within,
    )
    check_options(where, options)
    return StepDecorator(contract, options, name)
