"""``RoutingSlip``: the itinerary is part of the message, and each worker forwards it to the next stop.

A stop's command is built from data, not by a function, so that any worker can build the next one: each field is taken
from a path in the slip's state. A stop's undo sees only what the stop kept: its command and its reply.
Source: Hohpe and Woolf, "Enterprise Integration Patterns" (Routing Slip).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar

from pydantic import BaseModel

from .checks import check_declarations, check_header
from .contract import Contract
from .definition import Definition
from .errors import DefinitionError
from .fields import check_fields
from .functions import check_function
from .given import check_count, check_is, check_list, check_span, check_text
from .models import as_json, read
from .nodes import Step
from .nodes.base import node_name
from .nodes.step import (
    STEP_RETRY,
    STEP_TIMEOUT,
    UNDO_RETRY,
    UNDO_TIMEOUT,
    StepOptions,
    Undo,
    check_contract,
    check_options,
    check_retry,
)
from .policy import Retry
from .retention import Retention
from .takes import arguments, check_revises, resolve_takes
from .tree import Tree

__all__ = ["AnySlip", "AnyStop", "Kept", "RoutingSlip", "Stop", "stop"]

S = TypeVar("S", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
U = TypeVar("U", bound=BaseModel)
V = TypeVar("V", bound=BaseModel)

HOPS_MAX: Final = 50


@dataclass(frozen=True, kw_only=True)
class Kept(Generic[C, R]):
    """What the undo of a stop sees.

    ``command`` is None when the stop before it never reported, so its command is unknown. ``reply`` is None when the
    stop may not have happened; the worker's inbox knows (``ctx.forward``).
    """

    command: C | None
    reply: R | None


class Stop(Generic[C, R]):
    """One stop of a routing slip; made by ``stop``. Several slips may use it."""

    def __init__(
        self,
        name: str,
        contract: Contract[C, R],
        options: StepOptions,
        takes: Mapping[str, str],
        revises: str | None,
    ) -> None:
        self.name, self.contract, self.options, self.takes, self.revises = name, contract, options, takes, revises
        self._undo: Undo[Any] | None = None
        self._slip: str | None = None

    def __repr__(self) -> str:
        return f"Stop({self.name!r})"

    @property
    def compensation(self) -> Undo[Any] | None:
        """How this stop is undone; None: it leaves nothing to undo."""
        return self._undo

    def undo(
        self, contract: Contract[U, V], *, timeout: timedelta = UNDO_TIMEOUT, retry: Retry = UNDO_RETRY
    ) -> Callable[[Callable[[Kept[C, R]], U]], Callable[[Kept[C, R]], U]]:
        """Declares how this stop is undone; decorates a pure function from what it kept to the undo's command.

        The undo runs when the stop took effect *or may have*: the worker's handler must accept "never happened".

        Args:
            contract: the undo's command; it may use another queue.
            timeout: how long the undo as a whole is tried before an operator must act.
            retry: its own policy; by default 20 attempts, each given 5 minutes.

        Raises:
            DefinitionError: the stop already has an undo or is already part of a slip, or the timeout is not positive.
        """
        check_contract(f"the undo of stop {self.name!r}", contract)
        check_span(f"undo of stop {self.name!r}: timeout", timeout)
        check_retry(f"undo of stop {self.name!r}", retry)
        self._check_open()

        def register(build: Callable[[Kept[C, R]], U]) -> Callable[[Kept[C, R]], U]:
            self._check_open()
            sends = f"contract {contract.name!r} sends"
            at = f"stop {self.name!r}, its undo"
            check_function(at, build, (Kept,), contract.command, for_=sends)
            self._undo = Undo(contract=contract, build=build, timeout=timeout, retry=retry)
            return build

        return register

    def _check_open(self) -> None:
        if self._undo is not None:
            raise DefinitionError(f"stop {self.name!r} already has an undo; remove one of the two")
        if self._slip is not None:
            raise DefinitionError(
                f"stop {self.name!r} is already part of routing slip {self._slip!r}; declare its undo before the slip"
            )

    def _close(self, slip: str) -> None:
        self._slip = self._slip or slip


AnyStop: TypeAlias = Stop[Any, Any]
"""A stop of any contract."""


def stop(
    contract: Contract[C, R],
    *,
    into: str | None = None,
    takes: Mapping[str, str] | None = None,
    revises: str | None = None,
    timeout: timedelta = STEP_TIMEOUT,
    retry: Retry = STEP_RETRY,
    name: str | None = None,
    read_only: bool = False,
) -> Stop[C, R]:
    """Declares a stop of a routing slip.

    - success: the reply is put into the state, and the worker forwards the slip to the next stop.
    - rejection: compensation starts at once; the stop itself is not undone, and later stops are not reached.
    - exhaustion: the stop, and the stops that the slip may have been forwarded to, may have happened or may still
      happen: all of them are undone, the last one first.
    - timeout: as exhaustion.
    - cancel: waits until the slip returns, after at most ``hops`` stops; then all stops are undone.
    - undo: its own command, built from what the stop kept; see ``Stop.undo``.

    Args:
        contract: the command, its reply and the queue.
        into: the field of the state that takes the reply; it needs a default, usually None.
        takes: field of the command -> path in the state, ``{"points": "score.points"}``. A field that is not named
            here is taken from the state's field of the same name.
        revises: a field of the reply that holds a list of stop names, or None. A list replaces the rest of the
            itinerary: the slip returns to the orchestrator, which sends it to the new stops.
        timeout: how long the stop as a whole may take, counted from when the slip is sent to it.
        retry: see ``Retry``; by default 3 attempts.
        name: its identity in running instances; the contract's name by default.
        read_only: the stop has no effect, so it needs no undo.

    Raises:
        DefinitionError: an invalid name, a value of the wrong type, a span that is not positive, or a ``revises`` that
            is not a list of names.
    """
    check_contract("a stop", contract)
    found = node_name("stop", name or contract.name)
    where = f"stop {found!r}"
    check_is(f"{where}: takes", takes or {}, Mapping, "give takes={'field': 'path.in.the.state'}")
    for field, path in (takes or {}).items():
        check_text(f"{where}: takes of {field!r}", path)
    if revises is not None:
        check_text(f"{where}: revises", revises)
        check_revises(where, contract.reply, revises)
    options = StepOptions(into=into, timeout=timeout, retry=retry, read_only=read_only)
    check_options(where, options)
    return Stop(found, contract, options, dict(takes or {}), revises)


class RoutingSlip(Definition[S]):
    """A definition whose itinerary goes from worker to worker; the orchestrator tracks and undoes it.

    Every stop that the slip may reach is recorded, with its undo, before the slip is sent. When a worker does not
    forward the slip, the orchestrator sends it again after the stop's timeout or attempt timeout.

    Args:
        name: its identity; instances are called ``{name}/{key}``.
        state: pydantic model of the state, which travels with the slip; the start's input is its first value.
        version: counts from 1. Instances stay with the version they were started with.
        stops: every stop that an itinerary may name; the default itinerary is all of them in this order.
        hops: how many stops a slip visits before it returns to the orchestrator, 1 to 50. Later stops can still be
            revised or cancelled; with 1 workers forward nothing.
        retention: how long a finished instance is kept; a ``Retention`` says it for each status.

    Raises:
        DefinitionError: any mistake that can be seen without running it.
    """

    def __init__(
        self,
        name: str,
        state: type[S],
        *,
        version: int = 1,
        stops: Sequence[AnyStop],
        hops: int = 3,
        retention: timedelta | Retention = timedelta(days=7),
    ) -> None:
        super().__init__("routing slip", name, state, version, retention)
        self.where = check_header("routing slip", name, version, state)
        check_count(f"{self.where}: hops", hops, 1, HOPS_MAX)
        check_list(f"{self.where}: stops", stops, "stops")
        if not stops:
            raise DefinitionError(f"{self.where}: it has no stops; add one made with stop(contract)")
        for each in stops:
            if not isinstance(each, Stop):
                raise DefinitionError(f"{self.where}: {each!r} in stops is not a stop; make it with stop(contract)")
        self.hops = hops
        self.takes = {each.name: resolve_takes(self.where, each.name, each, state) for each in stops}
        steps = [_as_step(each, self.takes[each.name]) for each in stops]
        self.tree = Tree(self.where, steps)
        check_declarations(self.where, steps)
        check_fields(self.where, state, self.tree, twice=True)
        self.stops: dict[str, AnyStop] = {each.name: each for each in stops}
        self.steps = {step.name: step for step in steps}
        self.planned: Callable[[Any], Sequence[AnyStop]] | None = None
        for each in stops:
            each._close(name)

    def plan(self, function: Callable[[S], Sequence[AnyStop]]) -> Callable[[S], Sequence[AnyStop]]:
        """Declares the itinerary of each instance; decorates a pure function of the state at the start.

        Raises:
            DefinitionError: the slip already has a plan, or the function does not take the state.
        """
        if self.planned is not None:
            raise DefinitionError(f"{self.where}: there are two plans; remove one")
        check_function(f"{self.where}, plan", function, (self.state,))
        self.planned = function
        return function

    def itinerary(self, state: BaseModel) -> tuple[str, ...]:
        """The names of the stops for an instance that starts with this state.

        Raises:
            Exception: anything that the author's plan raises; ValueError: the plan names something that is not a stop
                of the slip.
        """
        if self.planned is None:
            return tuple(self.stops)
        found = self.planned(state)
        if inspect.iscoroutine(found):
            found.close()  # never awaited: avoids a warning
        if not isinstance(found, Sequence):
            raise TypeError(f"the plan gives a {type(found).__name__}; give a list of stops")
        for each in found:
            if not isinstance(each, Stop) or self.stops.get(each.name) is not each:
                raise ValueError(f"the plan names {each!r}, which is not one of the stops of {self.name!r}")
        return tuple(each.name for each in found)


AnySlip: TypeAlias = RoutingSlip[Any]
"""A routing slip over any state."""


def _as_step(stop: AnyStop, takes: Mapping[str, str]) -> Step[Any]:
    """The stop as the step that the orchestrator tracks, retries and undoes."""

    def build(state: BaseModel) -> BaseModel:
        return _taken(stop.contract, takes, state)

    found: Step[Any] = Step(stop.name, build, stop.options, stop.contract)
    if stop.compensation is not None:
        found._register(stop.compensation)
    return found


def _taken(contract: Contract[Any, Any], takes: Mapping[str, str], state: BaseModel) -> BaseModel:
    command: BaseModel = read(contract.command, arguments(takes, as_json(state)))
    return command
