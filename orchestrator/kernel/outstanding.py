"""Outstanding effects: what an instance has done outside, or may have done, and has not undone."""

from __future__ import annotations

from ...sagas import Step
from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Child, Each
from ..messages.document import StepRecord, StepStatus
from .places import name_of

__all__ = ["SKIPPED_BY", "TAKEN_OVER", "done_by", "is_open", "is_outstanding", "was_skipped"]

SKIPPED_BY = "skipped_by"
"""Field of a place's memo: who has skipped it."""
TAKEN_OVER = "taken_over"
"""Field of a place's memo in a fork: the instance that has done it."""


def is_outstanding(definition: AnyDefinition | None, place: str, record: StepRecord) -> bool:
    """True when a place has, or may have, an effect outside.

    A place that has sent no command has no effect, unless it was skipped: then it was done by hand. A question of a
    scatter and a read-only step have none.
    """
    if (record.attempt == 0 and not was_skipped(record)) or record.status.is_closed:
        return False
    return record.undo is not None or definition is None or not _only_asks(definition, place)


def is_open(record: StepRecord) -> bool:
    """True when the effect of a step stands, or may, although the step was to be undone or did not succeed."""
    if (record.attempt == 0 and not was_skipped(record)) or record.status.is_closed:
        return False
    return record.undo is not None or record.status is not StepStatus.DONE


def was_skipped(record: StepRecord) -> bool:
    """True when an operator has skipped the step."""
    return SKIPPED_BY in (record.memo or {})


def done_by(definition: AnyDefinition, place: str, record: StepRecord) -> str | None:
    """The instance that has done a place which a fork has taken over; None: the place has no effect of another's."""
    origin = (record.memo or {}).get(TAKEN_OVER)
    if origin is None or _only_asks(definition, place):
        return None
    acts = name_of(place) in definition.steps or isinstance(definition.tree[name_of(place)].node, Child | Each)
    return str(origin) if acts else None


def _only_asks(definition: AnyDefinition, place: str) -> bool:
    """True for a question of a scatter and for a read-only step."""
    node = definition.steps.get(name_of(place))
    return isinstance(node, Step) and node.options.read_only
