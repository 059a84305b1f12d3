"""A schedule: which due times start something, and what is shown of it.

- ``through_ms``: all due times up to it are decided. It only grows, so a clock that is set back repeats none, and the
  calendar of the engine that decides later counts only for later times. The timer ``due`` is no more than a wake-up.
- A due time has one key, hence one instance (G1): a backfill of what was started already is denied as a duplicate.
- One decision sends a limited number of starts; the timer is then due at once.
- Due times that pass while it is paused start nothing. Those that are due when it is paused, or gets another calendar,
  are decided before, without the rest of their jitter. If they are more than one decision takes, they go on during the
  pause, which cannot end before, and another calendar is denied until they are decided.
- Jitter ends before the next due time, so starts leave in the order of their due times.
- A deleted schedule leaves a mark for a while: a request that comes again does not bring it back, nor delete the one
  that was put after it.
- A calendar that cannot be used here (its zone is not known to this process) is looked at again every hour.

The choices behind it: docs/decisions/0020-schedules.md.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, takewhile
from typing import NamedTuple, TypeAlias, TypeVar, assert_never

from pydantic_core import to_json

from ...sagas.contract import is_name
from ..messages.entities import DeletedSchedule, Fired, Period, Schedule
from ..messages.entity_messages import Published, mailbox_id
from ..messages.inputs import Message, Start
from ..messages.keys import instance_wrong, key_wrong
from ..messages.outputs import Action, Answer, Outcome, Tell
from ..messages.reasons import Reason, ReasonCode, invalid, not_now
from ..messages.schedules import (
    SCHEDULE,
    Backfill,
    DeleteSchedule,
    PauseSchedule,
    Plan,
    PutSchedule,
    ResumeSchedule,
    ScheduleRequest,
    StartDecided,
    ToSchedule,
    Trigger,
    outcome_of,
    utc_text,
)
from .limits import Limits

__all__ = ["BACKFILL_MAX", "decide_schedule", "due_times", "on_schedule_timer", "plan_wrong"]

_DUE, _BACKFILL, _EXPIRY = "due", "backfill", "expiry"
_LOOK_MAX, _STARTS_MAX = 1_000, 100
"""Due times that one decision looks at, and those that it may start."""
BACKFILL_MAX = 1_000
"""Due times of one backfill."""
_RECENT_MAX = 10
_REQUESTS_MAX = 16
_AGAIN_MS = 3_600_000
_CATCHING_UP = not_now("its late due times are still being decided; ask again in a few seconds")
_Stored: TypeAlias = Schedule | DeletedSchedule | None
T = TypeVar("T")


class _Due(NamedTuple):
    """A due time, and when its start leaves."""

    due_ms: int
    at_ms: int


class _Begun(NamedTuple):
    """The schedule after some starts, and their messages."""

    schedule: Schedule
    actions: tuple[Action, ...] = ()


def decide_schedule(schedule: _Stored, message: ToSchedule, now_ms: int, limits: Limits) -> Answer:
    """Decides what a schedule does with a message."""
    if isinstance(message, StartDecided):
        return _told(schedule, message)
    if schedule is not None and message.id in schedule.requests:
        return _same(schedule, ReasonCode.DUPLICATE, "this request was carried out already")
    if isinstance(message, PutSchedule):
        return _put(schedule, message, now_ms, limits)
    if not isinstance(schedule, Schedule):
        text = f"there is no schedule {message.instance.removeprefix(SCHEDULE)!r}; list the schedules, or put it"
        return _same(schedule, ReasonCode.NO_SUCH_INSTANCE, text, Outcome.DENIED)
    asked = _asked(schedule, message, now_ms)
    match message:
        case PauseSchedule() if schedule.paused:
            return _same(schedule, ReasonCode.NOTHING_TO_CHANGE, "it is paused already")
        case PauseSchedule():
            begun = _advanced(replace(asked, paused_ms=now_ms), now_ms, limits)
            return _changed(schedule, _woken(begun.schedule, now_ms), begun.actions)
        case ResumeSchedule() if not schedule.paused:
            return _same(schedule, ReasonCode.NOTHING_TO_CHANGE, "it is not paused")
        case ResumeSchedule() if _has_more(schedule, now_ms):
            return _denied(schedule, _CATCHING_UP)
        case ResumeSchedule():
            after = replace(asked, paused_ms=None, through_ms=max(schedule.through_ms, now_ms))
            return _changed(schedule, _woken(after, now_ms))
        case Trigger():
            digest = hashlib.sha256(message.id.encode(errors="surrogatepass")).hexdigest()[:12]
            begun = _started(asked, f"{schedule.id}/{message.id}", f"now-{digest}", now_ms, now_ms)
            return _changed(schedule, *begun)
        case Backfill():
            return _backfill(schedule, asked, message, now_ms, limits)
        case DeleteSchedule():
            mark = DeletedSchedule(
                id=schedule.id,
                revision=schedule.revision + 1,
                through_ms=schedule.through_ms,
                requests=asked.requests,
                timers={_EXPIRY: now_ms + limits.deleted_retention_ms},
            )
            return Answer(entity=mark, outcome=Outcome.APPLIED, reason="the schedule is deleted")
        case _:
            assert_never(message)


def on_schedule_timer(schedule: Schedule, timer: str, now_ms: int, limits: Limits) -> Answer:
    """A timer of the schedule is due."""
    if timer == _BACKFILL:
        return _changed(schedule, *_filled(schedule, now_ms, limits))
    begun = _advanced(schedule, now_ms, limits)
    return _changed(schedule, _woken(begun.schedule, now_ms), begun.actions)


def due_times(schedule: Schedule, now_ms: int) -> Iterator[int]:
    """The next due times; none while it is paused."""
    return iter(()) if schedule.paused else schedule.plan.calendar.after(max(schedule.through_ms, now_ms))


def plan_wrong(name: str, plan: Plan, limits: Limits) -> str | None:
    """What is wrong with a plan, and what to give instead; None: it is valid."""
    if not is_name(name):
        return f"the schedule's name is {name[:80]!r}; give 1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter"
    if bool(plan.definition) == bool(plan.event):
        return "give either a definition to start or an event to publish"
    if not is_name(plan.definition or plan.event):
        return f"{(plan.definition or plan.event)[:80]!r} is not the name of a definition or an event"
    if (wrong := plan.calendar.wrong()) is not None:
        return wrong
    key = plan.key_of(name, utc_text(0))
    if (wrong := key_wrong(key) or instance_wrong(f"{plan.definition or plan.event}/{key}")) is not None:
        return f"the key {wrong}; give a text such as '{{schedule}}-{{due}}'"
    size, most = len(to_json(plan.input)), limits.document_bytes // 2
    if size > most:
        return f"the input has {size:,} bytes, the limit is {most:,}; send a reference to the content"
    return None


# Requests


def _put(schedule: _Stored, message: PutSchedule, now_ms: int, limits: Limits) -> Answer:
    name = message.instance.removeprefix(SCHEDULE)
    if (wrong := plan_wrong(name, message.plan, limits)) is not None:
        return _same(schedule, ReasonCode.INVALID, wrong, Outcome.DENIED)
    if not isinstance(schedule, Schedule):
        fresh = Schedule(id=message.instance, name=name, plan=message.plan, through_ms=now_ms)
        if schedule is not None:
            fresh = replace(fresh, through_ms=max(schedule.through_ms, now_ms), requests=schedule.requests)
        return _changed(schedule, _woken(_asked(fresh, message, now_ms), now_ms))
    if schedule.plan == message.plan:
        return _same(schedule, ReasonCode.NOTHING_TO_CHANGE, "it has this plan already")
    if schedule.backfill is not None:
        return _denied(schedule, not_now("a backfill is in progress; put the schedule again when it is over"))
    asked, is_other = _asked(schedule, message, now_ms), message.plan.calendar != schedule.plan.calendar
    begun = _advanced(replace(asked, paused_ms=now_ms) if is_other and not asked.paused else asked, now_ms, limits)
    if is_other and _has_more(begun.schedule, now_ms):
        return _denied(schedule, _CATCHING_UP)
    after = replace(begun.schedule, plan=message.plan, wrong="", paused_ms=schedule.paused_ms)
    if is_other:
        after = replace(after, through_ms=max(after.through_ms, now_ms))
    return _changed(schedule, _woken(after, now_ms), begun.actions)


def _backfill(schedule: Schedule, asked: Schedule, message: Backfill, now_ms: int, limits: Limits) -> Answer:
    if schedule.backfill is not None:
        return _denied(schedule, not_now("another backfill is in progress; ask again when it is over"))
    if not message.from_ms <= message.to_ms <= now_ms:
        return _denied(schedule, invalid("give a period in the past, its beginning not after its end"))
    period = Period(request=message.id, through_ms=message.from_ms - 1, to_ms=message.to_ms)
    count = len(list(islice(_within(schedule.plan, period), BACKFILL_MAX + 1)))
    if count > BACKFILL_MAX:
        text = f"there are more than {BACKFILL_MAX:,} due times in this period; give shorter ones, one after the other"
        return _denied(schedule, invalid(text))
    if not count:
        return _same(schedule, ReasonCode.NOTHING_TO_CHANGE, "there is no due time in this period")
    return _changed(schedule, *_filled(replace(asked, backfill=period), now_ms, limits))


def _told(schedule: _Stored, message: StartDecided) -> Answer:
    """Keeps what was decided about a start."""
    if not isinstance(schedule, Schedule):
        return _same(schedule, ReasonCode.STALE, "the schedule is deleted", Outcome.IGNORED)
    denied = outcome_of(message.code) == "denied"
    recent = tuple(
        replace(each, decided=True, code=message.code, reason=message.reason) if each.id == message.start else each
        for each in schedule.recent
    )
    return _changed(schedule, replace(schedule, recent=recent, denied=schedule.denied + denied))


def _asked(schedule: Schedule, message: ScheduleRequest, now_ms: int) -> Schedule:
    """Keeps who has asked last, and why."""
    requests = (*schedule.requests, message.id)[-_REQUESTS_MAX:]
    return replace(schedule, requests=requests, changed_ms=now_ms, changed_by=message.by, reason=message.reason)


# Due times


def _advanced(schedule: Schedule, now_ms: int, limits: Limits) -> _Begun:
    """Decides the due times that have come, up to the limit of one decision."""
    if (wrong := schedule.plan.calendar.wrong()) is not None:
        return _Begun(replace(schedule, wrong=f"{wrong} (update the package tzdata of this engine)"))
    plan, most = schedule.plan, _starts_max(schedule.plan, limits)
    begun, sent = _Begun(replace(schedule, wrong="")), 0
    for due, following in islice(_with_next(_pending(schedule, now_ms)), _LOOK_MAX):
        if sent == most:
            break
        in_time = now_ms - due.at_ms <= plan.grace_ms
        so_far = replace(begun.schedule, through_ms=due.due_ms)
        if in_time or plan.catch_up == "all" or (plan.catch_up == "once" and following is None):
            text = utc_text(due.due_ms)
            after, actions = _started(so_far, f"{schedule.id}/{text}", text, due.due_ms, now_ms)
            begun, sent = _Begun(after, (*begun.actions, *actions)), sent + 1
        else:
            begun = _Begun(replace(so_far, missed=so_far.missed + 1), begun.actions)
    return begun


def _pending(schedule: Schedule, now_ms: int) -> Iterator[_Due]:
    """The due times to decide now, in order: whose starts should have left, or which were due before the pause."""
    if schedule.paused_ms is None:
        return takewhile(lambda each: each.at_ms <= now_ms, _coming(schedule))
    paused_ms = schedule.paused_ms
    return takewhile(lambda each: each.due_ms <= paused_ms, _coming(schedule))


def _has_more(schedule: Schedule, now_ms: int) -> bool:
    return next(_pending(schedule, now_ms), None) is not None


def _coming(schedule: Schedule) -> Iterator[_Due]:
    """The due times that are not decided. A start leaves up to the jitter later, always by the same amount."""
    jitter_ms = schedule.plan.jitter_ms
    for due_ms, next_ms in _with_next(schedule.plan.calendar.after(schedule.through_ms)):
        most_ms = jitter_ms if next_ms is None else min(jitter_ms, next_ms - due_ms - 1)
        yield _Due(due_ms, due_ms + zlib.crc32(f"{schedule.name}/{due_ms}".encode()) % (most_ms + 1))


def _with_next(items: Iterator[T]) -> Iterator[tuple[T, T | None]]:
    """Each with the one that follows it."""
    here = next(items, None)
    while here is not None:
        following = next(items, None)
        yield here, following
        here = following


def _woken(schedule: Schedule, now_ms: int) -> Schedule:
    """The schedule with the timer for its next due time."""
    timers = {name: due_ms for name, due_ms in schedule.timers.items() if name != _DUE}
    if schedule.wrong:
        return replace(schedule, timers=timers | {_DUE: now_ms + _AGAIN_MS})
    coming = _pending(schedule, now_ms) if schedule.paused else _coming(schedule)
    if (due := next(coming, None)) is not None:
        timers[_DUE] = now_ms + 1 if schedule.paused else max(due.at_ms, now_ms + 1)
    return replace(schedule, timers=timers)


def _filled(schedule: Schedule, now_ms: int, limits: Limits) -> _Begun:
    """Sends the next starts of a backfill."""
    period, begun = schedule.backfill, _Begun(schedule)
    timers = {name: due_ms for name, due_ms in schedule.timers.items() if name != _BACKFILL}
    if period is None:
        return _Begun(replace(schedule, timers=timers))
    left = _within(schedule.plan, period)
    for due_ms in islice(left, _starts_max(schedule.plan, limits)):
        text = utc_text(due_ms)
        after, actions = _started(begun.schedule, f"{schedule.id}/{period.request}/{text}", text, due_ms, now_ms)
        period = replace(period, through_ms=due_ms)
        begun = _Begun(after, (*begun.actions, *actions))
    if next(left, None) is None:
        return _Begun(replace(begun.schedule, backfill=None, timers=timers), begun.actions)
    timers[_BACKFILL] = now_ms + 1
    return _Begun(replace(begun.schedule, backfill=period, timers=timers), begun.actions)


def _within(plan: Plan, period: Period) -> Iterator[int]:
    for due_ms in plan.calendar.after(period.through_ms):
        if due_ms > period.to_ms:
            return
        yield due_ms


def _starts_max(plan: Plan, limits: Limits) -> int:
    """How many starts fit into one decision."""
    return max(1, min(_STARTS_MAX, limits.document_bytes // max(1, len(to_json(plan.input)))))


def _started(schedule: Schedule, id: str, due: str, due_ms: int, now_ms: int) -> _Begun:
    """One start leaves. ``due``: the due time in its key."""
    plan = schedule.plan
    key, body = plan.key_of(schedule.name, due), plan.input_at(due_ms)
    if plan.event:
        event, box = plan.event, mailbox_id(plan.event, key)
        message: Message = Published(
            id=f"{schedule.id}/{due}", instance=box, event=event, key=key, body=body, keep_ms=plan.keep_ms
        )
    else:
        message = Start(id=id, definition=plan.definition, key=key, input=body, schedule=schedule.id)
    fired = Fired(id=id, due_ms=due_ms, at_ms=now_ms, instance=message.instance, decided=bool(plan.event))
    recent = (*schedule.recent, fired)[-_RECENT_MAX:]
    return _Begun(replace(schedule, recent=recent, started=schedule.started + 1), (Tell(message=message),))


# Answers


def _same(schedule: _Stored, code: ReasonCode, text: str, outcome: Outcome = Outcome.UNCHANGED) -> Answer:
    return Answer(entity=schedule, outcome=outcome, code=code, reason=text)


def _denied(schedule: Schedule, reason: Reason) -> Answer:
    return _same(schedule, reason.code, reason.text, Outcome.DENIED)


def _changed(before: _Stored, after: Schedule, actions: tuple[Action, ...] = ()) -> Answer:
    """The schedule one revision later."""
    revision = 1 + (before.revision if before is not None else 0)
    return Answer(entity=replace(after, revision=revision), outcome=Outcome.APPLIED, actions=actions)
