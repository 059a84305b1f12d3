"""Routing slips: what a stop is sent on with, what its report says, and what lies ahead.

A slip is handed out for some stops at once. All of them are on record as sent, with their undos, before the first
command leaves; those that the slip has not reached yet are ``carried``. Each has a deadline of its own, so nothing is
waited for without end. A report says whether the slip was sent on; if not, the orchestrator has it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from ...sagas.models import read
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
from .standing import was_skipped

__all__ = [
    "at_home",
    "call_back",
    "carried",
    "gone_past",
    "hand_on",
    "is_behind",
    "is_slip",
    "kept",
    "on_passed",
    "replan",
    "took",
]

CARRIED = "carried"
_TOOK = "took"
_REPLY = "reply"


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
        if record is not None and record.status not in (StepStatus.SENT, StepStatus.DROPPED):
            break
        deadline_ms += to_ms(run.step(after).options.timeout)
        if record is None or record.status is StepStatus.DROPPED:
            run.mark_sent(after, undo=False, fresh=True)
            run.remember(after, {CARRIED: True})
            run.timers[f"{after}:deadline"] = deadline_ms
        ahead.append(_stop(run, run.definition, after, deadline_ms))
    if not ahead:
        return None
    return Slip(
        variables=run.state,
        into=stop.options.into,
        revises=stop.revises,
        ahead=tuple(ahead),
        incarnation=run.document.incarnation,
    )


def is_behind(run: Run, place: str) -> bool:
    """True for a stop that the slip has reached although one before it is not known to be done: what that one found is
    not known here either, so the stop is not asked again from home yet.
    """
    before = (run.itinerary or ())[: (run.itinerary or (place,)).index(place)]
    return any(run.steps[each].status is not StepStatus.DONE for each in before if each in run.steps)


def took(run: Run, place: str, command: JsonObject) -> None:
    """Keeps what a stop is sent: its undo sees it. The slip is at this stop now."""
    memo = run.memo(place)
    memo.pop(CARRIED, None)
    run.remember(place, memo | {_TOOK: command})


def call_back(run: Run, place: str) -> None:
    """The flow turns at a stop. Behind one that said no nothing has left.

    Behind any other the slip may have been sent on, or may be yet: its command can come to the worker once more. So
    every stop that was carried counts as reached. The undos, the last stop's first, close their doors one by one.
    """
    if run.steps[place].status is StepStatus.REJECTED:
        _drop(run, place)
        return
    for after in _carried_behind(run, place):
        _doubt(run, after, place)


def gone_past(run: Run, place: str) -> None:
    """A stop is done, and the slip is at home. Where it may have been sent on as well, the next stop is asked again.

    It may have been where this stop or one before it was asked twice or skipped: then two slips are on the way, and one
    of them goes farther than the other.
    """
    behind = _carried_behind(run, place)
    way = run.itinerary or ()
    if behind and any(_doubles(run.steps.get(each, _NEVER)) for each in way[: way.index(behind[0])]):
        _doubt(run, behind[0], place)
    else:
        _drop(run, place)


def at_home(steps: Mapping[str, StepRecord]) -> set[str]:
    """The stops that are carried while the slip waits at home to be tried again: nobody waits for them."""
    waits = any(each.status is StepStatus.BACKOFF for each in steps.values())
    return {place for place, record in steps.items() if waits and carried(record)}


def on_passed(run: Run, place: str, report: Completed, reply: JsonObject) -> None:
    """A stop is done: the slip is at the next one, or home again, perhaps with other stops ahead."""
    assert isinstance(run.definition, RoutingSlip)
    run.remember(place, run.memo(place) | {_REPLY: reply})
    revises = run.definition.stops[name_of(place)].revises
    names = reply.get(revises) if revises is not None else None
    after = next(iter(_after(run, place)), None)
    if isinstance(names, list):
        _drop(run, place)
        wrong = None if run.backward else replan(run, [str(name) for name in names])
        if wrong is not None:
            message = f"stop {place!r} revises what lies ahead, but {wrong}; revise it yourself, then retry"
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
    if len(places) > run.limits.stops_max:
        return f"that would be {len(places):,} stops with those passed, the limit is {run.limits.stops_max:,}"
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


_NEVER = StepRecord(status=StepStatus.DROPPED, at_ms=0, kind="step")


def _after(run: Run, place: str) -> tuple[str, ...]:
    places = run.itinerary or ()
    return places[places.index(place) + 1 :] if place in places else ()


def _doubles(record: StepRecord) -> bool:
    return record.attempt > 1 or was_skipped(record)


def _handed(record: StepRecord | None) -> bool:
    return record is not None and record.status is not StepStatus.DROPPED


def _sent_as(run: Run, place: str) -> str:
    return command_id(run.id, run.label(place), undo=False, attempt=run.steps[place].attempt)


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


def _carried_behind(run: Run, place: str) -> list[str]:
    return list(takewhile(lambda each: carried(run.steps.get(each, _NEVER)), _after(run, place)))


def _doubt(run: Run, place: str, before: str) -> None:
    """It may have happened."""
    run.clear_timers(place)
    run.mark(place, StepStatus.FAILED, error=f"stop {before!r} may have sent the slip on")


def _drop(run: Run, place: str) -> None:
    """What was carried behind a stop has not left: nothing was sent, so the first attempt is still to come."""
    for after in _carried_behind(run, place):
        run.clear_timers(after)
        run.mark(after, StepStatus.DROPPED, memo={})
        run.steps[after] = replace(run.steps[after], attempt=0)


def _model(model: type[BaseModel], value: object) -> BaseModel | None:
    if value is None:
        return None
    try:
        return read(model, value)
    except ValidationError:
        return None  # what would fill it was never reported
