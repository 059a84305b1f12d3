"""Process managers: incoming events are offered to the handlers of the current phase, and their results carried out.

Events, ended steps and due timers wait in one queue, in order of arrival, until a handler takes them. So nothing is
lost or reordered while the instance needs attention or its phase has no handler for them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from operator import index
from typing import Any, assert_never

from pydantic import BaseModel

from ...sagas.models import read_foreign
from ...sagas.policy import to_ms
from ...sagas.process_manager import Handler, ProcessManager
from ..messages.document import CauseKind, Document, Early, Managed, Status, StepEnded, StepRecord, StepStatus
from ..messages.entity_messages import EventDelivered
from ..messages.inputs import TimerFired
from ..messages.outputs import Change, DeadLetter, Decision, Outcome, incarnation_of
from .asked import Asked, asked_for
from .asking import fault_of
from .context import DecisionContext
from .ending import locks_at
from .failure import compensate
from .limits import Limits
from .locking import begin_step
from .places import name_of, place_of
from .results import WrongResult
from .walk import emitted

__all__ = [
    "EARLY",
    "TIMER",
    "advance_manager",
    "begin_manager",
    "forget_early",
    "note_ended",
    "on_managed_event",
    "on_managed_timer",
    "process_of",
    "sort_queue",
    "was_told",
]

EARLY = "~early"
"""Timer of an instance that has events but no start yet."""

TIMER = "timer"
"""Suffix of the timers that an author's handlers set."""

_TOLD = "told"
"""Field of a place's memo: its handler was called for its end, or there is no handler."""
_SEEN_MAX = 200
_ATTENTION_MS = 24 * 3_600_000
"""How long an instance without a start that needs attention is kept before the next check."""


def begin_manager(
    manager: ProcessManager[Any], fresh: Document, message: EventDelivered, now_ms: int, limits: Limits
) -> Decision:
    """Applies the first event of an instance: it starts the instance, or is kept until the starting event comes."""
    ctx = DecisionContext(manager, fresh, now_ms, limits)
    ctx.changes.append(Change(what="instance", before=None, after=Status.RUNNING))
    keep_ms = to_ms(manager.subscriptions[message.event].event.keep) if message.event in manager.subscriptions else 0
    ctx.timers[EARLY] = now_ms + keep_ms
    on_managed_event(ctx, message)
    advance_manager(ctx)
    return ctx.decision()


def process_of(message: EventDelivered, version: int, now_ms: int) -> Document:
    """A new instance for its first event, before anything is decided."""
    definition, _, key = message.instance.partition("/")
    return Document(
        id=message.instance,
        definition=definition,
        version=version,
        key=key,
        status=Status.RUNNING,
        revision=0,
        state={},
        digest="",
        started_by=message.event_id,
        created_ms=now_ms,
        updated_ms=now_ms,
        traceparent=message.traceparent,
        managed=Managed(),
        incarnation=incarnation_of(message.event_id, now_ms),
    )


def on_managed_event(ctx: DecisionContext, message: EventDelivered) -> bool:
    """Queues an event until a phase takes it. False: it was queued or taken before."""
    managed = ctx.managed
    early = (each.event_id for each in managed.early if isinstance(each, EventDelivered))
    if message.event_id in managed.seen or message.event_id in early:
        return False
    if _order(ctx, message) is None:
        _queue(ctx, message)
    else:
        _into_order(ctx, message)
    return True


def _order(ctx: DecisionContext, message: EventDelivered) -> Callable[[Any], int] | None:
    subscription = _manager(ctx).subscriptions.get(message.event)
    return None if subscription is None else subscription.order


def _rank(ctx: DecisionContext, each: Early) -> tuple[int, int]:
    """The place in the queue: events of a sorted subscription come first, by their number. Raises what it raises."""
    if not isinstance(each, EventDelivered) or (order := _order(ctx, each)) is None:
        return 1, 0
    return 0, index(order(read_foreign(_manager(ctx).subscriptions[each.event].event.model, each.body)))


def _into_order(ctx: DecisionContext, message: EventDelivered) -> None:
    """Queues an event of a sorted subscription."""
    rank = partial(_rank, ctx)
    try:
        _queue(ctx, message, bisect_right(ctx.managed.early, rank(message), key=rank))
    except Exception:
        _queue(ctx, message)
        sort_queue(ctx)


def sort_queue(ctx: DecisionContext) -> None:
    """Sorts the events of a sorted subscription again, after their numbers could not be read. Those that still cannot
    come first, so that their handler says so.
    """

    def rank(each: Early) -> tuple[int, int]:
        try:
            return _rank(ctx, each)
        except Exception:
            return -1, 0

    ctx.managed = replace(ctx.managed, early=tuple(sorted(ctx.managed.early, key=rank)))


def on_managed_timer(ctx: DecisionContext, name: str) -> None:
    """Queues a due timer of the author's; ignored while the instance is compensating."""
    if not ctx.backward:
        timer = f"{name}:{TIMER}"
        id = f"{ctx.id}/{timer}/{ctx.now_ms}"
        _queue(ctx, TimerFired(id=id, instance=ctx.id, timer=timer, due_ms=ctx.now_ms))


def note_ended(ctx: DecisionContext) -> None:
    """Adds ended steps to the end of the queue."""
    queued = {each.place for each in ctx.managed.early if isinstance(each, StepEnded)}
    for place, record in ctx.steps.items():
        if not ctx.backward and place not in queued and not was_told(record) and _handlers(ctx, place):
            _queue(ctx, StepEnded(place=place))


def was_told(record: StepRecord) -> bool:
    """True when a handler was called for the end of a step."""
    return bool((record.memo or {}).get(_TOLD))


def _queue(ctx: DecisionContext, what: Early, at: int | None = None) -> None:
    early = ctx.managed.early
    at = len(early) if at is None else at
    ctx.managed = replace(ctx.managed, early=(*early[:at], what, *early[at:]))


def _unqueue(ctx: DecisionContext, what: Early) -> None:
    ctx.managed = replace(ctx.managed, early=tuple(each for each in ctx.managed.early if each is not what))


def forget_early(document: Document, now_ms: int) -> Decision:
    """Removes an instance whose start did not come in time, with its early events; the history records it. One that
    needs attention is checked again later: its start may have come, and an operator must act first.
    """
    if document.status is Status.ATTENTION:
        updated_ms, timers = document.touched_ms(now_ms), {EARLY: now_ms + _ATTENTION_MS}
        kept = replace(document, revision=document.revision + 1, updated_ms=updated_ms, timers=timers)
        return Decision(document=kept, outcome=Outcome.APPLIED, reason="it needs attention and is kept")
    count = len(document.managed.early) if document.managed else 0
    return Decision(document=None, outcome=Outcome.APPLIED, reason=f"no start came in time for {count} early events")


def advance_manager(ctx: DecisionContext) -> None:
    """Offers the queue to the handlers until none takes anything, or the process has ended: then the instance is
    completed, and the events that are left are late.
    """
    while not (ctx.stopped or ctx.backward or _has_ended(ctx)) and _offer(ctx):
        pass  # terminates: what is taken leaves the queue
    if not (ctx.stopped or ctx.backward) and _has_ended(ctx):
        ctx.move(Status.COMPLETED)


def _has_ended(ctx: DecisionContext) -> bool:
    """True after ``Next.complete`` when no step is in progress, and no handler waits for the end of one."""
    if not ctx.managed.ends or any(record.status.is_live for record in ctx.steps.values()):
        return False
    ended = (each.place for each in ctx.managed.early if isinstance(each, StepEnded))
    return not any(_taking(_handlers(ctx, place), ctx.managed.phase) for place in ended)


def _manager(ctx: DecisionContext) -> ProcessManager[Any]:
    assert isinstance(ctx.definition, ProcessManager)
    return ctx.definition


def _taking(handlers: Sequence[Handler], phase: str | None) -> Callable[..., Any] | None:
    return next((handler.function for handler in handlers if handler.takes(phase)), None)


def _handlers(ctx: DecisionContext, place: str) -> Sequence[Handler]:
    """The handlers for the end of a step; none while it has not ended."""
    manager, name = _manager(ctx), name_of(place)
    match ctx.steps[place].status:
        case StepStatus.DONE:
            return manager.done.get(name, ())
        case StepStatus.FAILED | StepStatus.REJECTED:
            return manager.failed.get(name, ())
        case _:
            return ()


def _offer(ctx: DecisionContext) -> bool:
    """Offers the queue in order. True: one was taken; False: none can be taken now, or a handler raised."""
    waits = False
    for each in ctx.managed.early:
        match each:
            case EventDelivered() if waits:
                continue
            case EventDelivered():
                taken = _offer_event(ctx, each)
                waits = taken is None and _order(ctx, each) is not None
            case TimerFired():
                taken = _offer_timer(ctx, each)
            case StepEnded():
                taken = _offer_step(ctx, each)
            case _:
                assert_never(each)
        if taken is not None:
            return taken
    return False


def _offer_step(ctx: DecisionContext, ended: StepEnded) -> bool | None:
    """Offers an ended step, once. None: no handler in this phase."""
    place = ended.place
    if handlers := _handlers(ctx, place):
        handler = _taking(handlers, ctx.managed.phase)
        if handler is None:
            return None
        if not _called(ctx, f"step {place!r}", partial(_call, ctx, handler)):
            return False
        ctx.remember(place, (ctx.steps[place].memo or {}) | {_TOLD: True})
    _unqueue(ctx, ended)  # without handlers: the step has begun again meanwhile
    return True


def _offer_timer(ctx: DecisionContext, fired: TimerFired) -> bool:
    """Offers a due timer; without a handler in this phase it is dropped."""
    name = fired.timer.removesuffix(f":{TIMER}")
    handler = _taking(_manager(ctx).timers.get(name, ()), ctx.managed.phase)
    if handler is not None and not _called(ctx, f"timer {name!r}", partial(_call, ctx, handler)):
        return False
    _unqueue(ctx, fired)
    return True


def _call(ctx: DecisionContext, handler: Callable[..., Any]) -> object:
    return handler(ctx.model())


def _offer_event(ctx: DecisionContext, message: EventDelivered) -> bool | None:
    """Offers an event, once. None: no handler in this phase."""
    managed = ctx.managed
    subscription = _manager(ctx).subscriptions.get(message.event)
    starting = managed.phase is None
    if subscription is None or (not starting and subscription.starts is not None and not subscription.handlers):
        _take(ctx, message)  # no handler is left for it, or the instance has started already
        return True
    handler = subscription.starts if starting else _taking(subscription.handlers, managed.phase)
    if handler is None:
        return None
    model = subscription.event.model
    asked = _ask(ctx, f"event {message.event!r}", partial(_hand, ctx, model, handler, message, starting), event=True)
    if asked is None:
        return False
    if asked.denies is not None:
        _unqueue(ctx, message)  # not as taken: a redrive offers it again
        ctx.actions.append(DeadLetter(reason=asked.denies, message=message))
        ctx.changes.append(Change(what="denied", before=message.event, after=asked.denies))
        return True
    if asked.later and asked.phase == managed.phase:
        return None
    _do(ctx, asked)
    if not asked.later:  # else the phase has changed, and offers it again
        _take(ctx, message)
    return True


def _hand(
    ctx: DecisionContext, model: type[BaseModel], handler: Callable[..., Any], message: EventDelivered, starting: bool
) -> object:
    body = read_foreign(model, message.body)
    return handler(body) if starting else handler(ctx.model(), body)


def _take(ctx: DecisionContext, message: EventDelivered) -> None:
    _unqueue(ctx, message)
    ctx.managed = replace(ctx.managed, seen=(*ctx.managed.seen, message.event_id)[-_SEEN_MAX:])


def _called(ctx: DecisionContext, what: str, call: Callable[[], Any]) -> bool:
    """Calls a handler and carries out what it asks for. False: it raised, and an operator must act."""
    asked = _ask(ctx, what, call)
    if asked is not None:
        _do(ctx, asked)
    return asked is not None


def _ask(ctx: DecisionContext, what: str, call: Callable[[], Any], *, event: bool = False) -> Asked | None:
    """Calls a handler, sets the state and builds its events. None: it raised, and an operator must act."""
    before = ctx.state
    try:
        asked = asked_for(ctx, call())
        if asked.denies is not None and not event:
            raise WrongResult("Next.deny(…), which only the handler of an event can return")
        if asked.state is not None:
            ctx.replace_json(asked.state)
        sent = [emitted(ctx, each) for each in asked.emit]
    except Exception as error:
        ctx.replace_json(before)
        fault = fault_of(ctx, f"the handler of {what}", error)
        ctx.stop(CauseKind.CODE, fault.message, code=fault.code, detail=fault.detail)
        return None
    for published in sent:
        ctx.tell(published)
    return asked


def _do(ctx: DecisionContext, asked: Asked) -> None:
    before, after, ends = ctx.managed.phase, asked.phase, ctx.managed.ends or asked.ends
    if ctx.managed.ends and asked.fails is None:  # after Next.complete the phase is final
        after, asked = before or after, replace(asked, timers={})
    ctx.managed = replace(ctx.managed, phase=after, ends=ends)
    ctx.timers.pop(EARLY, None)
    if before != after:
        ctx.changes.append(Change(what="phase", before=before, after=after))
    _clear(ctx, {f"{name}:{TIMER}" for name in (*asked.clear, *asked.timers)})
    for name, span in asked.timers.items():
        ctx.timers[f"{name}:{TIMER}"] = ctx.now_ms + to_ms(span)
    if asked.ends or asked.fails is not None:
        _clear(ctx, {name for name in ctx.timers if name.endswith(f":{TIMER}")}, waiting=True)
    if asked.fails is not None:
        compensate(ctx, CauseKind.REJECTED, asked.fails)
        return
    for step in asked.settles:
        _settle(ctx, step.name)
    for step in asked.do:
        if not ctx.stopped:
            begin_step(ctx, _place(ctx, step.name))


def _clear(ctx: DecisionContext, names: Collection[str], *, waiting: bool = False) -> None:
    """Clears these timers, also due ones in the queue; ``waiting``: all timers in the queue."""
    ctx.timers = {name: due_ms for name, due_ms in ctx.timers.items() if name not in names}
    early = ctx.managed.early
    left = tuple(each for each in early if not (isinstance(each, TimerFired) and (waiting or each.timer in names)))
    ctx.managed = replace(ctx.managed, early=left)


def _settle(ctx: DecisionContext, name: str) -> None:
    """Makes the finished runs of a step final: their undo is no longer registered."""
    for place, record in ctx.steps.items():
        if name_of(place) == name and record.status is StepStatus.DONE:
            ctx.steps[place] = replace(record, undo=None)


def _place(ctx: DecisionContext, name: str) -> str:
    """The place of the next run of a step: its name, then ``name@2``, ``name@3``. Earlier runs that are over are
    forgotten, so that the document does not grow; their number is not: a run's name is part of its effect key.
    """
    earlier = [place for place in ctx.steps if name_of(place) == name]
    times = max(ctx.managed.runs.get(name, 0), len(earlier))
    for place in earlier:
        if _is_over(ctx, place):
            del ctx.steps[place]
    ctx.managed = replace(ctx.managed, runs={**ctx.managed.runs, name: times + 1})
    return place_of(name, (times + 1,) if times else ())


def _is_over(ctx: DecisionContext, place: str) -> bool:
    """True when nothing needs a run any more: no reply, no handler, no undo, no lock."""
    record = ctx.steps[place]
    undoes = record.undo is not None and record.status.is_to_undo
    if record.status.is_live or undoes or locks_at(record.memo or {}):
        return False
    return was_told(record) or not _handlers(ctx, place)
