"""The law of routing slips' paths, checked on the ledger and the recorded changes, not on the kernel's own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sagaline.orchestrator.kernel.places import name_of
from sagaline.orchestrator.messages.document import Document, Status, StepStatus
from sagaline.orchestrator.messages.outputs import place_of_label
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.routing_slip import RoutingSlip

from .witness import Decided, Evidence

__all__ = ["travelled"]

_OVER: Final = frozenset({StepStatus.UNDONE, StepStatus.WAIVED})
_STANDS: Final = frozenset({StepStatus.DONE, StepStatus.FAILED})


def travelled(found: Evidence) -> Iterator[str]:
    """A completed slip was at every stop; a compensated one is undone from its end, and leaves no effect."""
    done = [effect.effect_key for effect in found.effects if not effect.undo]
    undone = {effect.effect_key for effect in found.effects if effect.undo and effect.had}
    for document, definition, history in found.lives():
        if not isinstance(definition, RoutingSlip) or document.itinerary is None:
            continue
        if document.status is Status.COMPLETED:
            for place in document.itinerary:
                record = document.steps.get(place)
                if record is None or record.status is not StepStatus.DONE:
                    yield f"{document.id} is completed, and was not at {place}"
            for key in done:
                label = key.removeprefix(f"{document.id}/")
                if label != key and label.partition("~")[2].startswith(document.incarnation):
                    place = place_of_label(label)
                    if place not in document.itinerary and key not in undone:
                        yield f"{document.id} is completed, and the effect of {place}, which is off its way, stands"
        if document.status is Status.COMPENSATED:
            for key in done:
                label = key.removeprefix(f"{document.id}/")
                place, run = place_of_label(label), label.partition("~")[2]
                ours = label != key and run.startswith(document.incarnation)
                if ours and _undoable(definition, document, place) and key not in undone:
                    yield f"{document.id} is compensated, and the effect of {place} is outstanding"
        yield from _backwards(document, definition, history)


def _undoable(definition: AnyDefinition, document: Document, place: str) -> bool:
    record = document.steps.get(place)
    waived = record is not None and record.status is StepStatus.WAIVED
    return not waived and definition.steps[name_of(place)].compensation is not None


def _backwards(document: Document, definition: AnyDefinition, history: Sequence[Decided]) -> Iterator[str]:
    way = list(document.itinerary or ())
    status: dict[str, str] = {}
    for decided in history:
        for change in decided.record.changes:
            if change.what not in way:
                continue
            status[change.what] = change.after
            if change.after != StepStatus.UNDO_SENT or change.before not in _STANDS:
                continue
            for other in way[way.index(change.what) + 1 :]:
                stands = status.get(other) in _STANDS and _undoable(definition, document, other)
                if stands or (status.get(other, "undone") not in _OVER and str(status.get(other)).startswith("undo")):
                    yield f"{document.id}: the undo of {change.what} begins while {other} behind it is {status[other]}"
