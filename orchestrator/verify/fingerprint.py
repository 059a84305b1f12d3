"""The fingerprint of a scene: everything that decides its future, and nothing else.

Left out: revisions, absolute times (a timer counts by its remaining time), event ids, error texts. Attempts count from
their round; the order of completion counts as a rank.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic_core import to_json

from ...sagas.process_manager import ProcessManager
from ..messages.document import Deferred, Document, Early, StepEnded, StepRecord
from ..messages.entities import Entity, Lock, Mailbox, Table
from ..messages.entity_messages import EventDelivered
from ..messages.inputs import TimerFired
from ..scenes.scene import Scene

__all__ = ["fingerprint"]


def fingerprint(scene: Scene) -> int:
    """The same 64-bit hash for scenes with the same future."""
    now_ms = scene.now_ms
    managed = isinstance(
        scene.definition, ProcessManager
    )  # it receives its events whether or not its mailboxes have seen them
    parts = [
        _document(entity, now_ms) if isinstance(entity, Document) else _entity(entity, now_ms)
        for _, entity in sorted(scene.entities.items())
        if not (managed and isinstance(entity, Mailbox))
    ]
    events = tuple(sorted(each.event for each in scene.published)) if scene.published else ()
    twice = len(scene.undone) - len(set(scene.undone))
    return hash((tuple(parts), events, twice))


def _document(document: Document, now_ms: int) -> tuple[object, ...]:
    if document.status.is_final:
        left = tuple((place, record.status) for place, record in document.steps.items())
        return (document.id, document.status, to_json(document.state), left)
    orders = sorted(record.order for record in document.steps.values() if record.order)
    steps = tuple((place, _record(record, orders)) for place, record in document.steps.items())
    timers = tuple(sorted((name, due_ms - now_ms) for name, due_ms in document.timers.items()))
    cause, attention, managed = document.cause, document.attention, document.managed
    return (
        document.id,
        document.status,
        document.backward,
        document.paused,
        document.pivot_passed,
        to_json(document.state),
        steps,
        timers,
        cause and (cause.kind, cause.step),
        attention and (attention.kind, attention.step),
        document.itinerary,
        managed and (managed.phase, managed.ends, tuple(map(_waits, managed.early))),
        tuple(map(_waits, document.deferred)),
        tuple(sorted((name, due_ms - (document.paused_ms or 0)) for name, due_ms in document.held.items())),
    )


def _waits(what: Early | Deferred) -> tuple[object, ...]:
    """The entry of a queue."""
    match what:
        case EventDelivered():
            return ("event", what.event, to_json(what.body))
        case TimerFired():
            return ("timer", what.timer)
        case StepEnded():
            return ("step", what.place)
        case _:
            return (what.kind, to_json(replace(what, id="")))


def _record(record: StepRecord, orders: list[int]) -> tuple[object, ...]:
    memo = {name: value for name, value in record.memo.items() if name != "overdue_ms"} if record.memo else None
    counted = record.status.is_attempting or record.status.is_undoing
    return (
        record.status,
        record.undo is None,
        record.attempt - record.spent if counted else 0,
        record.attempt > 1 if counted else False,
        record.undo_attempt - record.undo_spent if counted else 0,
        orders.index(record.order) if record.order else -1,
        to_json(memo) if memo else None,
    )


def _entity(entity: Entity, now_ms: int) -> tuple[object, ...]:
    if isinstance(entity, Mailbox):
        live = [event for event in entity.kept if event.until_ms > now_ms]
        kept = tuple((to_json(event.body), event.until_ms - now_ms, event.taken_by) for event in live)
        return (entity.id, kept, entity.watchers)
    if isinstance(entity, Lock):
        return (entity.id, entity.holder and entity.holder.by, tuple(each.by for each in entity.waiting))
    return (entity.id, entity.version if isinstance(entity, Table) else entity.revision)
