"""Process managers: what came is offered to the handlers of the present phase, and what they ask for is done.

Events, and steps that have ended, wait on record until a handler takes them; so a pause, an attention or a phase that
does not take them yet loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import BaseModel

from ...sagas.models import read_foreign
from ...sagas.nodes import Emit
from ...sagas.policy import to_ms
from ...sagas.process_manager import Asked, Handler, Next, ProcessManager
from ..messages.document import CauseKind, Document, Managed, Status, StepStatus
from ..messages.entities import EventCame
from ..messages.inputs import TimerFired, instance_id
from ..messages.outputs import Change, Decision, Outcome, incarnation_of
from ..messages.texts import trace_of
from .limits import Limits
from .locking import begin_step
from .places import name_of, place_of
from .run import LIVE, Run, as_json, said
from .turning import compensate
from .walk import emitted

__all__ = ["EARLY", "TIMER", "advance_manager", "begin_manager", "forget_early", "on_managed_event", "on_managed_timer"]

EARLY = "~early"
"""Timer of an instance that nobody has started yet."""

TIMER = "timer"
"""What stands behind the name of a timer that an author has set."""

_EARLY_MAX = 100
_SEEN_MAX = 200
_TURNS_MAX = 1_000


def begin_manager(manager: ProcessManager[Any], message: EventCame, now_ms: int, limits: Limits) -> Decision:
    """The first event of an instance: it begins, or the event is kept for its start."""
    definition, _, key = message.instance.partition("/")
    fresh = Document(
        id=instance_id(definition, key),
        definition=manager.name,
        version=manager.version,
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
    run = Run(manager, fresh, now_ms, limits)
    run.changes.append(Change(what="instance", before=None, after=Status.RUNNING))
    keep_ms = to_ms(manager.subscriptions[message.event].event.keep) if message.event in manager.subscriptions else 0
    run.timers[EARLY] = now_ms + keep_ms
    on_managed_event(run, message)
    advance_manager(run)
    return run.decision()


def on_managed_event(run: Run, message: EventCame) -> bool:
    """Keeps an event until a phase takes it. False: it was taken before, or too many wait."""
    managed = run.managed
    known = message.event_id in managed.seen or any(each.event_id == message.event_id for each in managed.early)
    if known or len(managed.early) >= _EARLY_MAX:
        return False
    run.managed = replace(managed, early=(*managed.early, message))
    return True


def on_managed_timer(run: Run, name: str) -> None:
    """A timer of the author's is due; nothing happens by it any more while it is unwound."""
    if run.backward:
        return
    handler = _taking(_manager(run).timers.get(name, ()), run.managed.phase)
    if handler is None:
        return
    if run.stopped or not _called(run, f"timer {name!r}", lambda: handler(run.model())):
        timer = f"{name}:{TIMER}"  # kept until it goes on: set again it would fire without end, dropped it never would
        kept = TimerFired(id=f"{run.id}/{timer}/{run.now_ms}", instance=run.id, timer=timer, due_ms=run.now_ms)
        run.deferred = (*run.deferred, kept)


def forget_early(document: Document) -> Decision:
    """Nobody has started it in time: what was kept is gone, and the history says so."""
    count = len(document.managed.early) if document.managed else 0
    return Decision(document=None, outcome=Outcome.APPLIED, reason=f"{count} early events, and no start came in time")


def advance_manager(run: Run) -> None:
    """Offers what has come until nothing is taken any more."""
    for _ in range(_TURNS_MAX):
        if run.stopped or run.backward:
            return
        if not (_offer_steps(run) or _offer_events(run)):
            break
    if run.stopped or run.backward or run.managed.phase is None:
        return
    if run.managed.ends and not any(record.status in LIVE for record in run.steps.values()):
        run.move(Status.COMPLETED)


def _manager(run: Run) -> ProcessManager[Any]:
    assert isinstance(run.definition, ProcessManager)
    return run.definition


def _taking(handlers: Sequence[Handler], phase: str | None) -> Callable[..., Any] | None:
    return next((handler.function for handler in handlers if handler.takes(phase)), None)


def _offer_steps(run: Run) -> bool:
    """A step that has ended: to its handler, once. True: one was taken."""
    manager = _manager(run)
    for place, record in list(run.steps.items()):
        if (record.memo or {}).get("told"):
            continue
        if record.status is StepStatus.DONE:
            handlers = manager.done.get(name_of(place), [])
        elif record.status in (StepStatus.FAILED, StepStatus.REFUSED):
            handlers = manager.failed.get(name_of(place), [])
        else:
            continue
        handler = _taking(handlers, run.managed.phase)
        if handler is None and handlers:
            continue  # another phase will take it
        if handler is not None and not _called(run, f"step {place!r}", partial(_call, run, handler)):
            return False
        run.remember(place, (run.steps[place].memo or {}) | {"told": True})
        return True
    return False


def _call(run: Run, handler: Callable[..., Any]) -> object:
    return handler(run.model())


def _offer_events(run: Run) -> bool:
    manager, managed = _manager(run), run.managed
    for message in managed.early:
        subscription = manager.subscriptions.get(message.event)
        starting = managed.phase is None
        if subscription is None or (not starting and subscription.starts is not None and not subscription.handlers):
            _take(run, message)  # nobody listens any more, or it has started already
            return True
        handler = subscription.starts if starting else _taking(subscription.handlers, managed.phase)
        if handler is None:
            continue
        model = subscription.event.model

        if not _called(run, f"event {message.event!r}", partial(_hand, run, model, handler, message, starting)):
            return False
        _take(run, message)
        return True
    return False


def _hand(run: Run, model: type[BaseModel], handler: Callable[..., Any], message: EventCame, starting: bool) -> object:
    body = read_foreign(model, message.body)
    return handler(body) if starting else handler(run.model(), body)


def _take(run: Run, message: EventCame) -> None:
    early = tuple(each for each in run.managed.early if each.event_id != message.event_id)
    seen = (*run.managed.seen, message.event_id)[-_SEEN_MAX:]
    run.managed = replace(run.managed, early=early, seen=seen)


def _called(run: Run, what: str, call: Callable[[], Any]) -> bool:
    """Calls a handler and does what it asks for. False: it raised, and an operator must look."""
    try:
        found = call()
        if not isinstance(found, Next):
            raise TypeError(f"it returned a {type(found).__name__}; a handler returns Next(…)")
        state = None if found.asked.state is None else as_json(found.asked.state, run.definition.state)
        if state is None and run.managed.phase is None:
            raise TypeError("a start returns Next(phase, state): without a state nothing is known")
        sent = [emitted(run, each) for each in found.asked.emit if isinstance(each, Emit)]
    except Exception as error:
        message = f"the handler of {what} raised {said(error)}; deploy a mended one, then retry"
        run.stop(CauseKind.CODE, message, detail=trace_of(error, run.limits.detail_chars))
        return False
    if found.asked.state is not None:
        run.replace_state(found.asked.state)
    for published in sent:
        run.tell(published)
    _do(run, found.phase, found.asked)
    return True


def _do(run: Run, phase: str | None, asked: Asked[Any]) -> None:
    before = run.managed.phase
    after = phase if phase is not None else "completed" if asked.ends else "failed"
    run.managed = replace(run.managed, phase=after, ends=asked.ends)
    run.timers.pop(EARLY, None)
    if before != after:
        run.changes.append(Change(what="phase", before=before, after=after))
    for name in asked.clear:
        run.timers.pop(f"{name}:{TIMER}", None)
    for name, span in asked.timers.items():
        run.timers[f"{name}:{TIMER}"] = run.now_ms + to_ms(span)
    if asked.ends or asked.fails is not None:
        run.timers = {name: due for name, due in run.timers.items() if not name.endswith(f":{TIMER}")}
    if asked.fails is not None:
        compensate(run, CauseKind.REFUSED, asked.fails)
        return
    for step in asked.do:
        if not run.stopped:
            begin_step(run, _place(run, step.name))


def _place(run: Run, name: str) -> str:
    """The first time the step's own name, then ``name@2``, ``name@3``."""
    times = sum(1 for place in run.steps if name_of(place) == name)
    return place_of(name, (times + 1,) if times else ())
