"""What the handler of a process manager asks for; all of it is checked before any of it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from ...sagas.contract import is_name
from ...sagas.models import JsonObject
from ...sagas.nodes import Emit, Step
from ...sagas.process_manager import Next, ProcessManager
from .context import DecisionContext, as_json
from .results import WrongResult, a_list, a_model, a_span, a_text, what

__all__ = ["Asked", "asked_for"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The contents of a ``Next``. ``state`` None: unchanged. ``phase``: the phase afterwards. ``denies``: why the event
    is not taken; then nothing else counts. ``later``: the event waits for another phase.
    """

    phase: str
    state: JsonObject | None
    do: Sequence[Step[Any]]
    emit: Sequence[Emit[Any]]
    timers: Mapping[str, timedelta]
    clear: Sequence[str]
    ends: bool
    fails: str | None
    denies: str | None
    later: bool
    settles: Sequence[Step[Any]]


def asked_for(ctx: DecisionContext, found: object) -> Asked:
    """The result of a handler, checked.

    Raises:
        WrongResult: it is not a ``Next``, or one of its parts is invalid; the message names the part.
    """
    if not isinstance(found, Next):
        raise WrongResult(f"{what(found)}; a handler returns Next(…)")
    manager, asked = ctx.definition, found.asked
    assert isinstance(manager, ProcessManager)
    if asked.state is None and ctx.managed.phase is None and asked.denies is None:
        raise WrongResult("Next without a state; a start must return Next(phase, state)")
    state = None
    if asked.state is not None:
        state = as_json(_in("state", a_model, asked.state, manager.state, "it knows"), manager.state)
    return Asked(
        phase=_phase(found),
        state=state,
        do=_in("do", _steps, manager, asked.do),
        emit=_in("emit", _events, asked.emit),
        timers=_in("timers", _timers, asked.timers),
        clear=_in("clear", _texts, asked.clear),
        ends=asked.ends,
        fails=None if asked.fails is None else _in("reason", a_text, asked.fails),
        denies=None if asked.denies is None else _in("reason", a_text, asked.denies),
        later=asked.later,
        settles=_in("settles", _steps, manager, asked.settles),
    )


def _in(part: str, check: Callable[..., T], *given: object) -> T:
    try:
        return check(*given)
    except WrongResult as error:
        raise WrongResult(f"Next with {part}: {error}") from None


def _phase(found: Next[Any]) -> str:
    if found.phase is not None:
        return _in("phase", a_text, found.phase)
    if found.asked.ends:
        return "completed"
    if found.asked.fails is None:
        raise WrongResult("Next without a phase; give Next(phase), Next.complete() or Next.fail(reason)")
    return "failed"


def _steps(manager: ProcessManager[Any], given: object) -> Sequence[Step[Any]]:
    for step in a_list(given, "steps"):
        if not isinstance(step, Step) or manager.steps.get(step.name) is not step:
            shown = repr(step) if isinstance(step, Step) else what(step)
            raise WrongResult(f"{shown}, which is not a step of {manager!r}; add it to steps=[…]")
    return a_list(given, "steps")


def _events(given: object) -> Sequence[Emit[Any]]:
    for event in a_list(given, "emit(…)"):
        if not isinstance(event, Emit):
            raise WrongResult(f"{what(event)}; give the result of emit(event, …)")
    return a_list(given, "emit(…)")


def _timers(given: object) -> Mapping[str, timedelta]:
    if not isinstance(given, Mapping):
        raise WrongResult(f"{what(given)}; give a dict of timer names and timedeltas")
    for name, span in given.items():
        if not is_name(name):
            raise WrongResult(f"{what(name)}, which is not a valid timer name; give a name that on_timer accepts")
        a_span(span)
    return given


def _texts(given: object) -> Sequence[str]:
    for name in a_list(given, "names"):
        if not isinstance(name, str):
            raise WrongResult(f"{what(name)}; give names of timers")
    return a_list(given, "names")
