"""Checks that the deployed code matches the record of an instance; code that does not match makes no decisions.

It does not match when the version is not deployed, when a step on record or its undo is missing, when a step's name
now means something else, or when a step in progress has moved to a place where the flow would not reach it. Names are
compared, never positions: the order of declarations may change freely.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...sagas import Saga, Step
from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Loop
from ..messages.document import Document, StepRecord, StepStatus
from ..messages.reasons import Reason, ReasonCode
from .outstanding import TAKEN_OVER
from .places import name_of, place_of, rounds_of

__all__ = ["incompatibility", "missing_code", "not_deployed"]


def missing_code(definition: AnyDefinition | None, document: Document) -> Reason | None:
    """Why the deployed code cannot decide about this instance; None: it can."""
    if definition is None:
        return not_deployed(document)
    wrong = _differs(definition, document)
    if wrong is None:
        return None
    return Reason(ReasonCode.CODE_DIFFERS, f"the deployed code {wrong}; deploy it again")


def not_deployed(document: Document) -> Reason:
    """The reason: the instance's version is not deployed here."""
    version = f" version {document.version}" if document.version else ""
    return Reason(ReasonCode.CODE_NOT_DEPLOYED, f"{document.definition!r}{version} is not deployed here; deploy it")


def _differs(definition: AnyDefinition, document: Document) -> str | None:
    for place in document.steps:
        if name_of(place) not in definition.tree:
            return f"has no step {name_of(place)!r}, which is on record here"
    if (wrong := incompatibility(definition, document.steps)) is not None:
        return wrong
    if document.origin is not None and name_of(document.origin.step) not in definition.tree and _is_fresh(document):
        return f"has no step {document.origin.step!r}, at which this fork begins"
    for place in document.itinerary or ():
        if name_of(place) not in definition.tree:
            return f"has no stop {name_of(place)!r}, which is ahead in this instance"
    return None


def _is_fresh(document: Document) -> bool:
    """True for a fork that has begun no step itself."""
    return all(TAKEN_OVER in (record.memo or {}) for record in document.steps.values())


def incompatibility(definition: AnyDefinition, steps: Mapping[str, StepRecord]) -> str | None:
    """How the code differs from the nodes on record, all of which it must have; None: it matches."""
    for place, record in steps.items():
        name = name_of(place)
        node = definition.tree[name].node
        if record.kind != node.kind:
            return f"has {_a(node.kind)} {name!r}, which is on record here as {_a(record.kind)}"
        if record.about != node.about and _is_used(record):
            there, here = f"{_a(node.kind)} of {node.about}", f"{_a(record.kind)} of {record.about}"
            return f"has {there} in {name!r}, which is on record here as {here}"
        if record.undo is not None and isinstance(node, Step) and node.compensation is None:
            return f"has no undo for step {name!r}, which is on record here"
        branch = record.memo.get("branch") if record.memo else None
        lost = record.memo.get("lost") if record.memo else None
        for label in (branch, *(lost if isinstance(lost, Mapping) else ())):
            if label is not None and all(label != each.label for each in node.branches):
                return f"has no branch {label!r} in {name!r}, which is on record here"
        # Going forward, the flow must reach it again; an undo needs the record alone.
        if record.status.is_forward and (around := _astray(definition, steps, place)) is not None:
            return f"has {name!r}, which is in progress here, in {around}, where it was not begun"
    return None


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _is_used(record: StepRecord) -> bool:
    """True while a node's memo is still needed: it is in progress, or has an undo to run."""
    if record.status is StepStatus.BLOCKED:
        return record.attempt > 0  # otherwise it has sent nothing yet and begins again
    return record.status.is_live or (record.undo is not None and record.status.is_to_undo)


def _astray(definition: AnyDefinition, steps: Mapping[str, StepRecord], place: str) -> str | None:
    """The node around a place in the code that is not around it on record; None: there is none."""
    rounds, depth = rounds_of(place), 0
    for node, label in definition.tree[name_of(place)].path:
        record = steps.get(place_of(node.name, rounds[:depth]))
        chosen = record.memo.get("branch", label) if record is not None and record.memo else label
        if record is None or chosen != label:
            return f"{node.kind} {node.name!r}"
        depth += isinstance(node, Loop)
    return "another loop" if depth != len(rounds) and isinstance(definition, Saga) else None
