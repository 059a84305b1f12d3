"""Process managers: what came is offered to the handlers of the present phase, and what they ask for is done.

Events, steps that have ended and timers that are due stand in one queue, in order of arrival, until a handler takes
them; so an attention, or a phase that does not take them yet, loses nothing and lets nothing overtake.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from pydantic import BaseModel

from ...sagas.models import read_foreign
from ...sagas.policy import to_ms
from ...sagas.process_manager import Handler, ProcessManager
from ..messages.document import CauseKind, Document, Early, Managed, Status, StepEnded, StepRecord, StepStatus
from ..messages.entities import EventCame
from ..messages.inputs import TimerFired
from ..messages.outputs import Change, Decision, Outcome, incarnation_of
from .asked import Asked, asked_for
from .asking import fault_of
from .limits import Limits
from .locking import begin_step
from .places import name_of, place_of
from .run import Run
from .turning import compensate
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
    "was_told",
]

EARLY = "~early"
"""Timer of an instance that nobody has started yet."""

TIMER = "timer"
"""What stands behind the name of a timer that an author has set."""

_TOLD = "told"
"""Where a place remembers that its end was told to its handler, or that there is none."""
_SEEN_MAX = 200
_ATTENTION_MS = 24 * 3_600_000
"""So long what came early stays in attention until it is looked at again."""


def begin_manager(manager: ProcessManager[Any], message: EventCame, now_ms: int, limits: Limits) -> Decision:
    """The first event of an instance: it begins, or the event is kept for its start."""
    fresh = process_of(message, manager.version, now_ms)
    run = Run(manager, fresh, now_ms, limits)
    run.changes.append(Change(what="instance", before=None, after=Status.RUNNING))
    keep_ms = to_ms(manager.subscriptions[message.event].event.keep) if message.event in manager.subscriptions else 0
    run.timers[EARLY] = now_ms + keep_ms
    on_managed_event(run, message)
    advance_manager(run)
    return run.decision()


def process_of(message: EventCame, version: int, now_ms: int) -> Document:
    """The instance that an event is the first for, before anything is decided."""
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


def on_managed_event(run: Run, message: EventCame) -> bool:
    """Keeps an event until a phase takes it. False: it was taken before."""
    managed = run.managed
    early = (each.event_id for each in managed.early if isinstance(each, EventCame))
    if message.event_id in managed.seen or message.event_id in early:
        return False
    _queue(run, message)
    return True


def on_managed_timer(run: Run, name: str) -> None:
    """A timer of the author's is due; nothing happens by it any more while it is unwound."""
    if not run.backward:
        timer = f"{name}:{TIMER}"
        id = f"{run.id}/{timer}/{run.now_ms}"
        _queue(run, TimerFired(id=id, instance=run.id, timer=timer, due_ms=run.now_ms))


def note_ended(run: Run) -> None:
    """Puts steps that have ended into the queue, behind what came before."""
    queued = {each.place for each in run.managed.early if isinstance(each, StepEnded)}
    for place, record in run.steps.items():
        if not run.backward and place not in queued and not was_told(record) and _handlers(run, place):
            _queue(run, StepEnded(place=place))


def was_told(record: StepRecord) -> bool:
    """True when the end of a step was told to its handler."""
    return bool((record.memo or {}).get(_TOLD))


def _queue(run: Run, what: Early) -> None:
    run.managed = replace(run.managed, early=(*run.managed.early, what))


def _unqueue(run: Run, what: Early) -> None:
    run.managed = replace(run.managed, early=tuple(each for each in run.managed.early if each is not what))


def forget_early(document: Document, now_ms: int) -> Decision:
    """Nobody has started it in time: what was kept is gone, and the history says so. In attention it is asked again
    later: its start may have come, and an operator must look first.
    """
    if document.status is Status.ATTENTION:
        updated_ms, timers = document.touched_ms(now_ms), {EARLY: now_ms + _ATTENTION_MS}
        kept = replace(document, revision=document.revision + 1, updated_ms=updated_ms, timers=timers)
        return Decision(document=kept, outcome=Outcome.APPLIED, reason="it stands in attention")
    count = len(document.managed.early) if document.managed else 0
    return Decision(document=None, outcome=Outcome.APPLIED, reason=f"{count} early events, and no start came in time")


def advance_manager(run: Run) -> None:
    """Offers what has come until nothing is taken any more."""
    while not (run.stopped or run.backward) and _offer(run):
        pass  # it ends: what is taken leaves the queue
    if run.stopped or run.backward or run.managed.phase is None:
        return
    if run.managed.ends and not any(record.status.is_live for record in run.steps.values()):
        run.move(Status.COMPLETED)


def _manager(run: Run) -> ProcessManager[Any]:
    assert isinstance(run.definition, ProcessManager)
    return run.definition


def _taking(handlers: Sequence[Handler], phase: str | None) -> Callable[..., Any] | None:
    return next((handler.function for handler in handlers if handler.takes(phase)), None)


def _handlers(run: Run, place: str) -> Sequence[Handler]:
    """Those for what a step has come to; none while it has not ended."""
    manager, name = _manager(run), name_of(place)
    match run.steps[place].status:
        case StepStatus.DONE:
            return manager.done.get(name, ())
        case StepStatus.FAILED | StepStatus.REJECTED:
            return manager.failed.get(name, ())
        case _:
            return ()


def _offer(run: Run) -> bool:
    """The first of what has come that can be taken now. True: it was; False: there is none, or its handler raised."""
    for each in run.managed.early:
        match each:
            case EventCame():
                taken = _offer_event(run, each)
            case TimerFired():
                taken = _offer_timer(run, each)
            case StepEnded():
                taken = _offer_step(run, each)
            case _:
                assert_never(each)
        if taken is not None:
            return taken
    return False


def _offer_step(run: Run, ended: StepEnded) -> bool | None:
    """To its handler, once. None: another phase will take it."""
    place = ended.place
    if handlers := _handlers(run, place):
        handler = _taking(handlers, run.managed.phase)
        if handler is None:
            return None
        if not _called(run, f"step {place!r}", partial(_call, run, handler)):
            return False
        run.remember(place, (run.steps[place].memo or {}) | {_TOLD: True})
    _unqueue(run, ended)  # without handlers: it was begun again meanwhile
    return True


def _offer_timer(run: Run, fired: TimerFired) -> bool:
    """To the handler of the present phase; without one it has passed."""
    name = fired.timer.removesuffix(f":{TIMER}")
    handler = _taking(_manager(run).timers.get(name, ()), run.managed.phase)
    if handler is not None and not _called(run, f"timer {name!r}", partial(_call, run, handler)):
        return False
    _unqueue(run, fired)
    return True


def _call(run: Run, handler: Callable[..., Any]) -> object:
    return handler(run.model())


def _offer_event(run: Run, message: EventCame) -> bool | None:
    """To its handler in the present phase, once. None: another phase may take it."""
    managed = run.managed
    subscription = _manager(run).subscriptions.get(message.event)
    starting = managed.phase is None
    if subscription is None or (not starting and subscription.starts is not None and not subscription.handlers):
        _take(run, message)  # nobody listens any more, or it has started already
        return True
    handler = subscription.starts if starting else _taking(subscription.handlers, managed.phase)
    if handler is None:
        return None
    model = subscription.event.model
    if not _called(run, f"event {message.event!r}", partial(_hand, run, model, handler, message, starting)):
        return False
    _take(run, message)
    return True


def _hand(run: Run, model: type[BaseModel], handler: Callable[..., Any], message: EventCame, starting: bool) -> object:
    body = read_foreign(model, message.body)
    return handler(body) if starting else handler(run.model(), body)


def _take(run: Run, message: EventCame) -> None:
    _unqueue(run, message)
    run.managed = replace(run.managed, seen=(*run.managed.seen, message.event_id)[-_SEEN_MAX:])


def _called(run: Run, what: str, call: Callable[[], Any]) -> bool:
    """Calls a handler and does what it asks for. False: it raised, and an operator must look."""
    try:
        asked = asked_for(run, call())
        sent = [emitted(run, each) for each in asked.emit]
    except Exception as error:
        fault = fault_of(run, f"the handler of {what}", error)
        run.stop(CauseKind.CODE, fault.message, code=fault.code, detail=fault.detail)
        return False
    if asked.state is not None:
        run.replace_json(asked.state)
    for published in sent:
        run.tell(published)
    _do(run, asked)
    return True


def _do(run: Run, asked: Asked) -> None:
    before, after, ends = run.managed.phase, asked.phase, run.managed.ends or asked.ends
    if run.managed.ends and asked.fails is None:  # an end that was said stays said
        after, asked = before or after, replace(asked, timers={})
    run.managed = replace(run.managed, phase=after, ends=ends)
    run.timers.pop(EARLY, None)
    if before != after:
        run.changes.append(Change(what="phase", before=before, after=after))
    _clear(run, {f"{name}:{TIMER}" for name in (*asked.clear, *asked.timers)})
    for name, span in asked.timers.items():
        run.timers[f"{name}:{TIMER}"] = run.now_ms + to_ms(span)
    if asked.ends or asked.fails is not None:
        _clear(run, {name for name in run.timers if name.endswith(f":{TIMER}")}, waiting=True)
    if asked.fails is not None:
        compensate(run, CauseKind.REJECTED, asked.fails)
        return
    for step in asked.do:
        if not run.stopped:
            begin_step(run, _place(run, step.name))


def _clear(run: Run, names: Collection[str], *, waiting: bool = False) -> None:
    """These timers do not fire any more, also those that are due and wait; ``waiting``: all that wait."""
    run.timers = {name: due_ms for name, due_ms in run.timers.items() if name not in names}
    early = run.managed.early
    left = tuple(each for each in early if not (isinstance(each, TimerFired) and (waiting or each.timer in names)))
    run.managed = replace(run.managed, early=left)


def _place(run: Run, name: str) -> str:
    """The first time the step's own name, then ``name@2``, ``name@3``."""
    times = sum(1 for place in run.steps if name_of(place) == name)
    return place_of(name, (times + 1,) if times else ())
