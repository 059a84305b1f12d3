"""Semantic locks: a step with ``locks`` waits for its lock before its command is sent; the instance holds it until it
ends.

A step that begins again after an edit of the state may name another lock. Then the first one is released, unless a
command was sent under it.

Source: Garcia-Molina and Salem 1987; the countermeasure "semantic lock" of Frank and Zahle.
"""

from __future__ import annotations

from ...sagas import Step
from ...sagas.policy import to_ms
from ..messages.document import CauseKind, Document, StepStatus
from ..messages.entity_messages import Acquire, Deadlocked, Denied, Granted, Probe, ProbeLock, Release, lock_id
from ..messages.outputs import Tell
from ..messages.values import JsonObject
from .asking import Nothing, ask
from .context import DecisionContext
from .ending import KEPT_LOCKS, locks_at, locks_of
from .failure import fail
from .results import a_key
from .sending import leg_of, send

__all__ = ["begin_step", "on_deadlocked", "on_denied", "on_granted", "on_lock_timer", "passed_on", "release_all"]


def begin_step(ctx: DecisionContext, place: str) -> None:
    """Sends a step's first command, or first waits for its lock."""
    step: Step[object] = ctx.step(place)  # type: ignore[type-var, assignment]  # whatever state
    template = step.options.locks
    if template is None:
        send(ctx, leg_of(step, place, undo=False), fresh=True)
        return
    lock = ask(ctx, place, f"the lock {template!r} of step {place!r}", lambda: _name(ctx, template))
    if isinstance(lock, Nothing):
        return
    ctx.mark(place, StepStatus.LOCKING, memo={"lock": lock, **_kept(ctx, place, lock)})
    ctx.timers[f"{place}:lock"] = ctx.now_ms + to_ms(step.options.timeout)
    ctx.tell(Acquire(id="", instance=lock_id(lock), by=ctx.id, place=ctx.label(place)))


def _kept(ctx: DecisionContext, place: str, lock: str) -> JsonObject:
    """The memo of earlier rounds: other locks that still guard what those rounds may have done."""
    record = ctx.steps.get(place)
    earlier = [name for name in locks_at(ctx.memo(place)) if name != lock] if record is not None else []
    if record is None or not earlier:
        return {}
    if record.attempt == 0:
        release_all(ctx, place)
        return {}
    return {KEPT_LOCKS: [*earlier]}


def _name(ctx: DecisionContext, template: str) -> str:
    model = ctx.model()
    return a_key(template.format(**{field: getattr(model, field) for field in type(model).model_fields}))


def on_granted(ctx: DecisionContext, message: Granted) -> bool:
    """Applies a granted lock. False: the place no longer waits for it (its withdrawal has released it)."""
    record = ctx.steps.get(message.place)
    if record is None or record.status is not StepStatus.LOCKING or (record.memo or {}).get("lock") != message.lock:
        return False
    ctx.timers.pop(f"{message.place}:lock", None)
    if ctx.stopped:
        ctx.remember(message.place, ctx.memo(message.place) | {"granted": True})
    else:
        send(ctx, leg_of(ctx.step(message.place), message.place, undo=False), fresh=True)
    return True


def on_lock_timer(ctx: DecisionContext, place: str) -> None:
    """The step's timeout has passed before it got the lock."""
    lock = ctx.memo(place)["lock"]
    message = f"the lock {lock!r} was not free within {to_ms(ctx.step(place).options.timeout) / 1000:g} s"
    _give_up(ctx, place, message)
    fail(ctx, place, CauseKind.LOCK, message)


def on_denied(ctx: DecisionContext, message: Denied) -> bool:
    """Applies that a lock cannot be waited for. False: the place no longer waits for it."""
    record = ctx.steps.get(message.place)
    if record is None or record.status is not StepStatus.LOCKING:
        return False
    ctx.timers.pop(f"{message.place}:lock", None)
    _give_up(ctx, message.place, message.reason)
    fail(ctx, message.place, CauseKind.LOCK, message.reason)
    return True


def on_deadlocked(ctx: DecisionContext, message: Deadlocked) -> bool:
    """Ends a deadlock: every place here that waits for one of its locks fails. False: none waits any more."""
    cycle = {name for name in message.cycle if name.startswith("@lock/")}
    text = f"deadlock: {' -> '.join((*message.cycle, message.cycle[0]))}"
    waiting = [
        place
        for place, record in ctx.steps.items()
        if record.status is StepStatus.LOCKING and lock_id(str((record.memo or {}).get("lock"))) in cycle
    ]
    for place in waiting:
        ctx.timers.pop(f"{place}:lock", None)
        _give_up(ctx, place, text)
        fail(ctx, place, CauseKind.DEADLOCK, text)
    return bool(waiting)


def _give_up(ctx: DecisionContext, place: str, error: str) -> None:
    """Ends the wait; the command is not sent. After an earlier attempt the step may have taken effect and keeps its
    lock.
    """
    if ctx.steps[place].attempt > 0:
        ctx.mark(place, StepStatus.FAILED, error=error)
        return
    release_all(ctx, place)
    ctx.mark(place, StepStatus.REJECTED, error=error)


def passed_on(document: Document, message: Probe) -> tuple[Tell, ...]:
    """The probe, sent on to every lock that this instance waits for. It changes nothing here and needs no code."""
    waiting = (record.memo or {} for record in document.steps.values() if record.status is StepStatus.LOCKING)
    return tuple(
        Tell(message=ProbeLock(id=f"{message.id}/{lock}", instance=lock, path=(*message.path, document.id)))
        for lock in dict.fromkeys(lock_id(str(memo.get("lock"))) for memo in waiting)
    )


def release_all(ctx: DecisionContext, place: str) -> None:
    """Releases the locks of one place, except those that another place of the instance needs."""
    memo = ctx.memo(place)
    ours = locks_at(memo)
    ctx.remember(place, {name: value for name, value in memo.items() if name not in ("lock", KEPT_LOCKS)})
    needed = locks_of(ctx.steps)
    for lock in ours:
        if lock not in needed:
            ctx.tell(Release(id="", instance=lock_id(lock), by=ctx.id))
