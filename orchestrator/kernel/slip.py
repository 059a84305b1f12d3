"""Routing slips: sending a slip to several stops, applying their reports, and changing the stops ahead.

A slip is sent out for several stops at once. All of them are on record as sent, with their undos, before the first
command is sent; those that the slip has not reached yet are ``carried``. Each has its own deadline, so that no wait is
endless. A stop's report says whether the worker has forwarded the slip; if not, the slip is back at the orchestrator
("home").
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
from .context import DecisionContext
from .outstanding import was_skipped
from .places import name_of, place_of

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


def is_slip(ctx: DecisionContext) -> bool:
    """True for an instance of a routing slip."""
    return isinstance(ctx.definition, RoutingSlip)


def carried(record: StepRecord) -> bool:
    """True for a stop of a slip that was sent out, which the slip is not known to have reached."""
    return record.status is StepStatus.SENT and bool((record.memo or {}).get(CARRIED))


def hand_on(ctx: DecisionContext, place: str, deadline_ms: int) -> Slip | None:
    """The slip that travels with the command of a stop; the stops that it may reach are recorded. None: no slip."""
    assert isinstance(ctx.definition, RoutingSlip)
    stop = ctx.definition.stops[name_of(place)]
    if len(to_json(ctx.state)) > ctx.limits.command_bytes // 2:
        return None  # too large to travel: each stop reports home
    ahead: list[SlipStop] = []
    for after in _after(ctx, place)[: ctx.definition.hops - 1]:
        record = ctx.steps.get(after)
        if record is not None and record.status not in (StepStatus.SENT, StepStatus.DROPPED):
            break
        deadline_ms += to_ms(ctx.step(after).options.timeout)
        if record is None or record.status is StepStatus.DROPPED:
            ctx.mark_sent(after, undo=False, fresh=True)
            ctx.remember(after, {CARRIED: True})
            ctx.timers[f"{after}:deadline"] = deadline_ms
        ahead.append(_stop(ctx, ctx.definition, after, deadline_ms))
    if not ahead:
        return None
    return Slip(
        variables=ctx.state,
        into=stop.options.into,
        revises=stop.revises,
        ahead=tuple(ahead),
        incarnation=ctx.document.incarnation,
    )


def is_behind(ctx: DecisionContext, place: str) -> bool:
    """True for a stop whose retry must wait: an earlier stop is not known to be done, so its reply is still missing."""
    before = (ctx.itinerary or ())[: (ctx.itinerary or (place,)).index(place)]
    return any(ctx.steps[each].status is not StepStatus.DONE for each in before if each in ctx.steps)


def took(ctx: DecisionContext, place: str, command: JsonObject) -> None:
    """Keeps a stop's command for its undo; the slip is at this stop now."""
    memo = ctx.memo(place)
    memo.pop(CARRIED, None)
    ctx.remember(place, memo | {_TOOK: command})


def call_back(ctx: DecisionContext, place: str) -> None:
    """The slip has failed at a stop. After a rejection no later stop has been reached.

    After any other failure the slip may have been forwarded, or may yet be: the worker can receive the command again.
    So every carried stop counts as reached. Their undos, last stop first, close the effect keys one by one.
    """
    if ctx.steps[place].status is StepStatus.REJECTED:
        _drop(ctx, place)
        return
    for after in _carried_behind(ctx, place):
        _doubt(ctx, after, place)


def gone_past(ctx: DecisionContext, place: str) -> None:
    """A stop is done and the slip is home. If it may have been forwarded as well, the next stop may have taken effect.

    That is possible if this stop or an earlier one was sent twice or skipped: then two copies of the slip are on the
    way, and one may be farther than the other.
    """
    behind = _carried_behind(ctx, place)
    way = ctx.itinerary or ()
    if behind and any(_doubles(ctx.steps.get(each, _NEVER)) for each in way[: way.index(behind[0])]):
        _doubt(ctx, behind[0], place)
    else:
        _drop(ctx, place)


def at_home(steps: Mapping[str, StepRecord]) -> set[str]:
    """The carried stops while the slip is home in a backoff: they are not in progress."""
    waits = any(each.status is StepStatus.BACKOFF for each in steps.values())
    return {place for place, record in steps.items() if waits and carried(record)}


def on_passed(ctx: DecisionContext, place: str, report: Completed, reply: JsonObject) -> None:
    """Applies a stop's report: the slip is at the next stop or home, possibly with revised stops ahead."""
    assert isinstance(ctx.definition, RoutingSlip)
    ctx.remember(place, ctx.memo(place) | {_REPLY: reply})
    revises = ctx.definition.stops[name_of(place)].revises
    names = reply.get(revises) if revises is not None else None
    after = next(iter(_after(ctx, place)), None)
    if isinstance(names, list):
        _drop(ctx, place)
        wrong = None if ctx.backward else replan(ctx, [str(name) for name in names])
        if wrong is not None:
            message = f"stop {place!r} revised the stops ahead, but {wrong}; revise them yourself, then retry"
            ctx.stop(CauseKind.ROUTE, message, step=place)
    elif after is not None and after in ctx.steps and report.forwarded == _sent_as(ctx, after):
        _reached(ctx, after)
    else:
        gone_past(ctx, place)


def replan(ctx: DecisionContext, names: Sequence[str]) -> str | None:
    """Replaces the stops ahead that the slip was not sent out for yet. Returns the reason if it cannot; None: done."""
    assert isinstance(ctx.definition, RoutingSlip)
    unknown = [name for name in names if name not in ctx.definition.stops]
    if unknown:
        there = ", ".join(ctx.definition.stops)
        return f"{ctx.definition.name!r} has no stop {', '.join(map(repr, unknown))}; there are {there}"
    before = ctx.itinerary or ()
    handed = [place for place in before if _handed(ctx.steps.get(place))]
    places = list(handed)
    for name in names:
        times = sum(name_of(place) == name for place in places)
        places.append(place_of(name, (times + 1,) if times else ()))
    if len(places) > ctx.limits.stops_max:
        return f"that would be {len(places):,} stops including those passed, the limit is {ctx.limits.stops_max:,}"
    ctx.itinerary = tuple(places)
    ahead = [", ".join(each[len(handed) :]) or "nothing" for each in (before, ctx.itinerary)]
    ctx.changes.append(Change(what="itinerary", before=ahead[0], after=ahead[1]))
    return None


def kept(ctx: DecisionContext, place: str) -> Kept[BaseModel, BaseModel]:
    """What the undo of a stop gets: the stop's command and reply."""
    assert isinstance(ctx.definition, RoutingSlip)
    name, memo = name_of(place), ctx.memo(place)
    contract = ctx.definition.stops[name].contract
    sent = memo.get(_TOOK) or arguments(ctx.definition.takes[name], ctx.state)
    return Kept(command=_model(contract.command, sent), reply=_model(contract.reply, memo.get(_REPLY)))


_NEVER = StepRecord(status=StepStatus.DROPPED, at_ms=0, kind="step")


def _after(ctx: DecisionContext, place: str) -> tuple[str, ...]:
    places = ctx.itinerary or ()
    return places[places.index(place) + 1 :] if place in places else ()


def _doubles(record: StepRecord) -> bool:
    return record.attempt > 1 or was_skipped(record)


def _handed(record: StepRecord | None) -> bool:
    return record is not None and record.status is not StepStatus.DROPPED


def _sent_as(ctx: DecisionContext, place: str) -> str:
    return command_id(ctx.id, ctx.label(place), undo=False, attempt=ctx.steps[place].attempt)


def _stop(ctx: DecisionContext, slip: RoutingSlip[BaseModel], place: str, deadline_ms: int) -> SlipStop:
    stop = slip.stops[name_of(place)]
    return SlipStop(
        place=place,
        contract=stop.contract.name,
        queue=stop.contract.lane,
        attempt=ctx.steps[place].attempt,
        deadline_ms=deadline_ms,
        takes=slip.takes[stop.name],
        into=stop.options.into,
        revises=stop.revises,
    )


def _reached(ctx: DecisionContext, place: str) -> None:
    """The slip has reached this stop: its own timers start."""
    assert isinstance(ctx.definition, RoutingSlip)
    record = ctx.steps[place]
    if not carried(record):
        return
    took(ctx, place, arguments(ctx.definition.takes[name_of(place)], ctx.state))
    _set_timers(ctx, place, ctx.step(place))


def _set_timers(ctx: DecisionContext, place: str, step: Step[BaseModel]) -> None:
    options = step.options
    ctx.timers[f"{place}:deadline"] = ctx.now_ms + to_ms(options.timeout)
    if options.retry.attempt_timeout is not None:
        ctx.timers[f"{place}:attempt"] = ctx.now_ms + to_ms(options.retry.attempt_timeout)


def _carried_behind(ctx: DecisionContext, place: str) -> list[str]:
    return list(takewhile(lambda each: carried(ctx.steps.get(each, _NEVER)), _after(ctx, place)))


def _doubt(ctx: DecisionContext, place: str, before: str) -> None:
    """Marks a stop as failed: it may have taken effect."""
    ctx.clear_timers(place)
    ctx.mark(place, StepStatus.FAILED, error=f"stop {before!r} may have sent the slip on")


def _drop(ctx: DecisionContext, place: str) -> None:
    """Drops the carried stops after a stop: none was reached, so their first attempt is still to come."""
    for after in _carried_behind(ctx, place):
        ctx.clear_timers(after)
        ctx.mark(after, StepStatus.DROPPED, memo={})
        ctx.steps[after] = replace(ctx.steps[after], attempt=0)


def _model(model: type[BaseModel], value: object) -> BaseModel | None:
    if value is None:
        return None
    try:
        return read(model, value)
    except ValidationError:
        return None  # its reply was never reported
