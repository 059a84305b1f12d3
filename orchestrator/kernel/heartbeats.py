"""Heartbeats: they keep an attempt from timing out, and store its progress for the next attempt."""

from __future__ import annotations

from dataclasses import replace

from ...sagas.definition import AnyDefinition
from ..messages.document import HEARTBEAT, Document, progress_of
from ..messages.inputs import Heartbeat
from ..messages.outputs import Decision, Outcome
from ..messages.values import JsonObject
from .compatibility import missing_code
from .deferral import LATE, ignored
from .places import name_of
from .replies import open_attempt
from .sending import leg_of

__all__ = ["on_heartbeat"]


def on_heartbeat(definition: AnyDefinition | None, document: Document, beat: Heartbeat, now_ms: int) -> Decision:
    """Stores the progress and restarts the attempt's timer. The deadline of the whole step does not change.

    The length of that timer is in the author's code: without the code it does not change, and the history says so.
    """
    found = None if document.status.is_final else open_attempt(document, document.steps, beat.command_id)
    if found is None:
        return ignored(document, LATE)
    place, undo = found
    record = document.steps[place]
    timers, timer = dict(document.timers), f"{place}:attempt"
    missing = missing_code(definition, document) if timer in timers else None
    if timer in timers and missing is None and definition is not None:
        silence_ms = leg_of(definition.steps[name_of(place)], place, undo=undo).attempt_timeout_ms
        if silence_ms is not None:
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
    if missing is None:
        return Decision(document=kept, outcome=Outcome.APPLIED)
    text = f"the progress is kept, the timeout of the attempt stays: {missing.text}"
    return Decision(document=kept, outcome=Outcome.APPLIED, code=missing.code, reason=text)
