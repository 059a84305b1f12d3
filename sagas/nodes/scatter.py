"""``scatter``: one question to many queues; their answers are gathered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from ..contract import Contract, check_name
from ..errors import DefinitionError
from ..given import check_call, check_count, check_list, check_span, check_text
from ..policy import Retry
from .base import Branch, Node, S_contra, name_of
from .step import Step, StepOptions, check_contract

__all__ = ["Scatter", "ScatterOptions", "scatter"]

S = TypeVar("S", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class ScatterOptions:
    """How answers are gathered; see ``scatter``. ``need`` is a number of answers."""

    queues: tuple[str, ...]
    into: str
    deadline: timedelta
    need: int
    at_least: int
    best: Callable[[Any], Any] | None


class Scatter(Node[S_contra]):
    """One question to many queues; made by the ``scatter`` decorator. ``legs``: one step for each queue."""

    def __init__(
        self,
        name: str,
        build: Callable[[S_contra], BaseModel],
        contract: Contract[Any, Any],
        options: ScatterOptions,
    ) -> None:
        self.name, self.contract, self.options = name, contract, options
        once = StepOptions(timeout=options.deadline, retry=Retry(max_attempts=1), read_only=True)
        self.legs: tuple[Step[S_contra], ...] = tuple(
            Step(f"{name}.{queue}", build, once, replace(contract, queue=queue)) for queue in options.queues
        )
        for leg in self.legs:
            leg.declared = contract

    @property
    def about(self) -> str:
        return ", ".join(sorted(self.options.queues))

    @property
    def branches(self) -> tuple[Branch[Any], ...]:
        return tuple(Branch(label=leg.contract.queue, nodes=(leg,)) for leg in self.legs)


class ScatterDecorator(Generic[C, R]):
    """Takes the function that builds the question; generic in the state it reads."""

    def __init__(self, contract: Contract[C, R], options: ScatterOptions, name: str | None) -> None:
        self._contract, self._options, self._name = contract, options, name

    def __call__(self, build: Callable[[S], C]) -> Scatter[S]:
        return Scatter[S](name_of("scatter", build, self._name), build, self._contract, self._options)


def scatter(
    contract: Contract[C, R],
    *,
    queues: Sequence[str],
    into: str,
    deadline: timedelta,
    need: Literal["all", "first"] | int = "all",
    at_least: int = 1,
    best: Callable[[R], float] | None = None,
    name: str | None = None,
) -> ScatterDecorator[C, R]:
    """Declares a scatter-gather; decorates a pure function from the state to the question.

    The question is sent to all queues at the same time, once. It must be a query without effects: there is no undo.

    - success: ``need`` answers have arrived, or ``at_least`` as many at the deadline. ``into`` takes the list of
      answers in order of arrival, or with ``best`` the one answer with the lowest value.
    - rejection: that queue no longer counts. When every queue has answered or dropped out and there are fewer than
      ``at_least`` answers, the scatter fails like a step that was rejected.
    - exhaustion: when a worker raises, its queue drops out as with a business rejection; no queue is asked twice.
    - timeout: with fewer than ``at_least`` answers at the deadline it fails like a step that timed out.
    - cancel: it ends at once and does not wait for answers.
    - undo: there is nothing to undo.
    - late answers, after ``need`` or the deadline, are counted and change nothing.
    - past the pivot a failure ends in ``attention``; ``retry`` asks the queues again that have not answered.
    - a function that raises, or returns a wrong result, puts the instance into ``attention``.

    Args:
        contract: the question and its answer; ``queues`` replaces its queue.
        queues: two or more, each once.
        into: a field of the state: a list of replies, or with ``best`` one reply.
        deadline: how long to wait for answers.
        need: how many answers are enough: all, the first, or a number.
        at_least: how many answers are required at the deadline, 1 or more.
        best: a function that returns the cost of an answer; the lowest wins.
        name: its identity; the function's name by default.

    Raises:
        DefinitionError: numbers out of range, queues that are not unique, a deadline that is not positive.
    """
    check_contract("a scatter", contract)
    where = f"scatter of contract {contract.name!r}"
    check_span(f"{where}: deadline", deadline)
    check_text(f"{where}: into", into)
    check_list(f"{where}: queues", queues, "names of queues")
    check_count(f"{where}: at_least", at_least, 1)
    if best is not None:
        check_call(f"{where}: best", best)
    for queue in queues:
        check_name(f"queue of {where}", queue)
    if len(queues) < 2 or len(set(queues)) < len(queues):
        raise DefinitionError(f"{where} goes to {list(queues)}; give two or more queues, each once")
    count = {"all": len(queues), "first": 1}.get(need, need) if isinstance(need, str) else need
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= at_least <= count <= len(queues):
        most = len(queues)
        raise DefinitionError(
            f"{where} needs {need!r} of {most} and at least {at_least}; give 1 <= at_least <= need <= {most}"
        )
    options = ScatterOptions(
        queues=tuple(queues), into=into, deadline=deadline, need=count, at_least=at_least, best=best
    )
    return ScatterDecorator(contract, options, name)
