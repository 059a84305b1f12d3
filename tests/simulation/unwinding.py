"""The laws of undo: every effect that must not stay is undone once, in reverse order of completion.

They are checked on the ledger and the recorded changes, not on the kernel's own order of undos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sagaline.orchestrator.kernel.places import name_of, place_of, rounds_of
from sagaline.orchestrator.messages.document import Document, Status, StepRecord, StepStatus
from sagaline.sagas import Saga
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import Child, Each, Loop, Parallel

from .generations import Restarts, has_undo, record_key
from .witness import Decided, Evidence

__all__ = ["compensated", "in_order"]

_NOTHING = frozenset({StepStatus.UNDONE, StepStatus.REJECTED, StepStatus.DROPPED, StepStatus.WAIVED})
"""The final statuses of an undone place."""
_OVER = frozenset({StepStatus.UNDONE, StepStatus.WAIVED})
_STANDS = frozenset({StepStatus.DONE, StepStatus.FAILED})


def compensated(found: Evidence) -> Iterator[str]:
    """Every effect of a compensated instance, or of a dropped branch, is undone once."""
    done = {effect.effect_key for effect in found.effects if not effect.undo}
    undone = {effect.effect_key for effect in found.effects if effect.undo and effect.had}
    for document in found.documents.values():
        definition = found.registry.find(document.definition, document.version)
        if definition is None:
            continue
        for place, record in document.steps.items():
            if record.undo is None or record.attempt == 0 or not _taken_back(definition, document, place):
                continue
            key = record_key(document, place, record)
            if record.status not in _NOTHING:
                yield f"{document.id} is {document.status}, and {place} is {record.status}"
            elif record.status is not StepStatus.WAIVED and key in done and key not in undone:
                yield f"{document.id} is {document.status}, and the effect of {place} is outstanding"
            yield from _children(found, definition, document, place, record)


def _taken_back(definition: AnyDefinition, document: Document, place: str) -> bool:
    if document.status is Status.COMPENSATED:
        return True
    if document.status is not Status.COMPLETED or document.pivot_passed:
        return False
    return any(label in _lost(document, at) for at, label in _branches(definition, place))


def _branches(definition: AnyDefinition, place: str) -> list[tuple[str, str]]:
    """The parallels around a place, outermost first, and its branch in each."""
    rounds, depth, found = rounds_of(place), 0, []
    for node, label in definition.tree[name_of(place)].path:
        if isinstance(node, Parallel):
            found.append((place_of(node.name, rounds[:depth]), label))
        depth += isinstance(node, Loop)
    return found


def _lost(document: Document, place: str) -> Sequence[str]:
    record = document.steps.get(place)
    lost = (record.memo or {}).get("lost") if record else None
    return list(lost) if isinstance(lost, dict) else []


def _children(
    found: Evidence, definition: AnyDefinition, document: Document, place: str, record: StepRecord
) -> Iterator[str]:
    """A child that was undone as a unit is not completed."""
    if record.status is not StepStatus.UNDONE or not isinstance(definition.tree[name_of(place)].node, Child | Each):
        return
    label = record_key(document, place, record).removeprefix(f"{document.id}/")
    for child in found.documents.values():
        at = child.parent
        if at is not None and (at.instance, at.place) == (document.id, label) and child.status is Status.COMPLETED:
            yield f"{document.id} is {document.status}, {place} is undone, and its child {child.id} is completed"


def in_order(found: Evidence) -> Iterator[str]:
    """Undos run in reverse order of completion, unless declared otherwise."""
    for document, definition, history in found.lives():
        if isinstance(definition, Saga):
            yield from _ordered(document.id, definition, history)


def _ordered(instance: str, definition: AnyDefinition, history: Sequence[Decided]) -> Iterator[str]:
    """Follows the recorded changes: the order of completion, and what is outstanding when an undo starts."""
    status: dict[str, str] = {}
    completed: dict[str, int] = {}
    undoable: set[str] = set()
    restarts = Restarts(definition)
    backward, count = False, 0
    for decided in history:
        restarts.decided(decided.record)
        for change in decided.record.changes:
            place = change.what
            if (step := restarts.ends_with(change)) is not None:
                completed = {other: rank for other, rank in completed.items() if not restarts.lies_from(step, other)}
                undoable &= completed.keys()
            if place == "instance":
                backward = backward or change.after == Status.COMPENSATING
                continue
            if name_of(place) not in definition.tree:
                continue
            status[place] = change.after
            if change.after == StepStatus.DONE:
                completed[place] = count = count + 1
                if has_undo(definition, place):
                    undoable.add(place)
            if change.after != StepStatus.UNDO_SENT or change.before not in _STANDS:
                continue
            for other in undoable - {place}:
                later = completed[other] > completed.get(place, count + 1)
                both = restarts.takes_back(place) and restarts.takes_back(other)
                waits = backward or both or _same_branch(definition, place, other)
                if later and waits and status[other] not in _OVER and not _apart(definition, place, other):
                    yield f"{instance}: the undo of {place} begins while {other}, done after it, is {status[other]}"


def _same_branch(definition: AnyDefinition, one: str, other: str) -> bool:
    return _branches(definition, one) == _branches(definition, other)


def _apart(definition: AnyDefinition, one: str, other: str) -> bool:
    """True when they are in different branches of a parallel with ``undo="parallel"``."""
    met = definition.tree.meeting(name_of(one), name_of(other))
    return met is not None and isinstance(met[0], Parallel) and met[0].options.undo == "parallel"
