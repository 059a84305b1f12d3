"""Heartbeats: an attempt that is still at work is not given up as silent, and its progress is kept for the next one."""

from __future__ import annotations

from dataclasses import replace

from ...sagas import Step
from ...sagas.definition import AnyDefinition
from ..messages.document import HEARTBEAT, Document, progress_of
from ..messages.inputs import Heartbeat
from ..messages.outputs import Decision, Outcome
from ..messages.values import JsonObject
from .deferral import LATE, ignored
from .places import name_of
from .replies import open_attempt
from .sending import leg_of

__all__ = ["on_heartbeat"]


def on_heartbeat(definition: AnyDefinition | None, document: Document, beat: Heartbeat, now_ms: int) -> Decision:
    """Keeps the progress and postpones the attempt's own timer. The deadline of the whole step stays.

    It needs no code but for the length of that timer: without it the timer stays as it is.
    """
    found = None if document.status.is_final else open_attempt(document, document.steps, beat.command_id)
    if found is None:
        return ignored(document, LATE)
    place, undo = found
    record = document.steps[place]
    timers, timer = dict(document.timers), f"{place}:attempt"
    silence_ms = _silence_ms(definition, place, undo=undo)
    if timer in timers and silence_ms is not None:
        timers[timer] = now_ms + silence_ms
    progress = beat.progress if beat.progress is not None else progress_of(record)
    heard: JsonObject = {"at_ms": now_ms, "progress": progress}
    after = replace(record, memo={**(record.memo or {}), HEARTBEAT: heard})
    kept = replace(
        document,
        revision=document.revision + 1,
        updated_ms=document.touched_ms(now_ms),
        steps={**document.steps, place: after},
        timers=timers,
    )
    return Decision(document=kept, outcome=Outcome.APPLIED)


def _silence_ms(definition: AnyDefinition | None, place: str, *, undo: bool) -> int | None:
    step = definition.steps.get(name_of(place)) if definition is not None else None
    if not isinstance(step, Step) or (undo and step.compensation is None):
        return None
    return leg_of(step, place, undo=undo).attempt_timeout_ms
