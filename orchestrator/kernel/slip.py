"""Routing slips: what a stop is sent on with, what its report says, and what lies ahead.

A slip is handed out for some stops at once. All of them are on record as sent, with their undos, before the first
command leaves; those that the slip has not reached yet are ``carried``. Each has a deadline of its own, so nothing is
waited for without end. A report says whether the slip was sent on; if not, the orchestrator has it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from ...sagas.nodes import Step
from ...sagas.policy import to_ms
from ...sagas.routing_slip import Kept, RoutingSlip
from ...sagas.takes import arguments
from ..messages.document import CauseKind, StepRecord, StepStatus
from ..messages.inputs import Completed
from ..messages.outputs import Change, command_id
from ..messages.slips import Slip, SlipStop
from ..messages.values import JsonObject
from .places import name_of, place_of
from .run import Run

__all__ = [
    "call_back",
    "carried",
    "gone_past",
    "hand_on",
    "is_slip",
    "kept",
    "on_passed",
    "replan",
    "took",
    "unheard",
    "withdrawn",
]

CARRIED = "carried"
_SILENT = "silent"
_TOOK = "took"
_REPLY = "reply"
_OUT = frozenset({StepStatus.SENT, StepStatus.DROPPED})


def is_slip(run: Run) -> bool:
    """True for an instance of a routing slip."""
    return isinstance(run.definition, RoutingSlip)


def carried(record: StepRecord) -> bool:
    """True for a stop that the slip was handed out for and has not been sent to yet."""
    return record.status is StepStatus.SENT and bool((record.memo or {}).get(CARRIED))


def hand_on(run: Run, place: str, deadline_ms: int) -> Slip | None:
    """What travels with the command of a stop; the stops that it may reach are put on record. None: it goes alone."""
    assert isinstance(run.definition, RoutingSlip)
    stop = run.definition.stops[name_of(place)]
    if len(to_json(run.state)) > run.limits.command_bytes // 2:
        return None  # too much to carry: it comes home after each stop
    ahead: list[SlipStop] = []
    for after in _after(run, place)[: run.definition.hops - 1]:
        record = run.steps.get(after)
        if record is not None and record.status not in _OUT:
            break
        deadline_ms += to_ms(run.step(after).options.timeout)
        if record is None or record.status is StepStatus.DROPPED:
            run.mark_sent(after, undo=False, fresh=True)
            run.remember(after, {CARRIED: True})
            run.timers[f"{after}:deadline"] = deadline_ms
        ahead.append(_stop(run, run.definition, after, deadline_ms))
    if not ahead:
        return None
    return Slip(variables=run.state, into=stop.options.into, revises=stop.revises, ahead=tuple(ahead))


def took(run: Run, place: str, command: JsonObject) -> None:
    """Keeps what a stop is sent: its undo sees it. The slip is at this stop now."""
    memo = run.memo(place)
    memo.pop(CARRIED, None)
    run.remember(place, memo | {_TOOK: command})


def unheard(run: Run, place: str) -> None:
    """An attempt was not answered: the slip may have been sent on from there all the same."""
    run.remember(place, run.memo(place) | {_SILENT: True})


def gone_past(run: Run, place: str) -> None:
    """A stop counts as done without a report: the slip goes on from home. If an attempt may still send it on, or has,
    the next stop may have happened, and is asked again.
    """
    after = next(iter(_after(run, place)), None)
    if after is None or not carried(run.steps.get(after, _NEVER)):
        return
    if run.memo(place).get(_SILENT):
        run.clear_timers(after)
        run.mark(after, StepStatus.FAILED, error=f"stop {place!r} was not waited for")
    else:
        _drop(run, place)


def call_back(run: Run, place: str) -> None:
    """A stop did not send the slip on. What was carried behind it has not left, unless an attempt went unheard."""
    if not run.memo(place).get(_SILENT):
        _drop(run, place)


def withdrawn(steps: Mapping[str, StepRecord]) -> set[str]:
    """The carried stops that have not left, should the slip be called back now: their stop waits to be tried again."""
    heard = (each for each in steps.values() if each.status is StepStatus.WAITING)
    at_home = any(not (each.memo or {}).get(_SILENT) for each in heard)
    return {place for place, record in steps.items() if at_home and carried(record)}


def on_passed(run: Run, place: str, report: Completed, reply: JsonObject) -> None:
    """A stop is done: the slip is at the next one, or home again, perhaps with other stops ahead."""
    assert isinstance(run.definition, RoutingSlip)
    run.remember(place, run.memo(place) | {_REPLY: reply})
    revises = run.definition.stops[name_of(place)].revises
    names = reply.get(revises) if revises is not None else None
    after = next(iter(_after(run, place)), None)
    if isinstance(names, list):
        _drop(run, place)
        refused = None if run.backward else replan(run, [str(name) for name in names])
        if refused is not None:
            message = f"stop {place!r} revises what lies ahead, but {refused}; revise it yourself, then retry"
            run.stop(CauseKind.ROUTE, message, step=place)
    elif after is not None and after in run.steps and report.forwarded == _sent_as(run, after):
        _reached(run, after)
    else:
        gone_past(run, place)


def replan(run: Run, names: Sequence[str]) -> str | None:
    """Other stops ahead, in place of those that the slip was not handed out for yet. Gives the reason why not."""
    assert isinstance(run.definition, RoutingSlip)
    unknown = [name for name in names if name not in run.definition.stops]
    if unknown:
        there = ", ".join(run.definition.stops)
        return f"{run.definition.name!r} has no stop {', '.join(map(repr, unknown))}; there are {there}"
    before = run.itinerary or ()
    handed = [place for place in before if _handed(run.steps.get(place))]
    places = list(handed)
    for name in names:
        times = sum(name_of(place) == name for place in places)
        places.append(place_of(name, (times + 1,) if times else ()))
    run.itinerary = tuple(places)
    ahead = [", ".join(each[len(handed) :]) or "nothing" for each in (before, run.itinerary)]
    run.changes.append(Change(what="itinerary", before=ahead[0], after=ahead[1]))
    return None


def kept(run: Run, place: str) -> Kept[BaseModel, BaseModel]:
    """What the undo of a stop sees."""
    assert isinstance(run.definition, RoutingSlip)
    name, memo = name_of(place), run.memo(place)
    contract = run.definition.stops[name].contract
    sent = memo.get(_TOOK) or arguments(run.definition.takes[name], run.state)
    return Kept(command=_model(contract.command, sent), reply=_model(contract.reply, memo.get(_REPLY)))


_NEVER = StepRecord(status=StepStatus.DROPPED, at_ms=0)


def _after(run: Run, place: str) -> tuple[str, ...]:
    places = run.itinerary or ()
    return places[places.index(place) + 1 :] if place in places else ()


def _handed(record: StepRecord | None) -> bool:
    return record is not None and record.status is not StepStatus.DROPPED


def _sent_as(run: Run, place: str) -> str:
    return command_id(run.id, place, undo=False, attempt=run.steps[place].attempt)


def _stop(run: Run, slip: RoutingSlip[BaseModel], place: str, deadline_ms: int) -> SlipStop:
    stop = slip.stops[name_of(place)]
    return SlipStop(
        place=place,
        contract=stop.contract.name,
        queue=stop.contract.queue,
        attempt=run.steps[place].attempt,
        deadline_ms=deadline_ms,
        takes=slip.takes[stop.name],
        into=stop.options.into,
        revises=stop.revises,
    )


def _reached(run: Run, place: str) -> None:
    """The slip has been sent to this stop: from here on it has its own time."""
    assert isinstance(run.definition, RoutingSlip)
    record = run.steps[place]
    if not carried(record):
        return
    took(run, place, arguments(run.definition.takes[name_of(place)], run.state))
    _set_timers(run, place, run.step(place))


def _set_timers(run: Run, place: str, step: Step[BaseModel]) -> None:
    options = step.options
    run.timers[f"{place}:deadline"] = run.now_ms + to_ms(options.timeout)
    if options.retry.attempt_timeout is not None:
        run.timers[f"{place}:attempt"] = run.now_ms + to_ms(options.retry.attempt_timeout)


def _drop(run: Run, place: str) -> None:
    """What was carried behind a stop has not left: nothing was sent, so the first attempt is still to come."""
    for after in _after(run, place):
        record = run.steps.get(after)
        if record is None or not carried(record):
            break
        run.clear_timers(after)
        run.mark(after, StepStatus.DROPPED, memo={})
        run.steps[after] = replace(run.steps[after], attempt=0)


def _model(model: type[BaseModel], value: object) -> BaseModel | None:
    if value is None:
        return None
    try:
        return model.model_validate_json(to_json(value), by_alias=False, by_name=True)
    except ValidationError:
        return None  # what would fill it was never reported
