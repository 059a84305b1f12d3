"""What stands: what an instance has done outside, or may have, and nothing has taken back."""

from __future__ import annotations

from ...sagas import Step
from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Child, Each
from ..messages.document import StepRecord
from .places import name_of

__all__ = ["SKIPPED_BY", "TAKEN_OVER", "done_by", "is_outstanding", "was_skipped"]

SKIPPED_BY = "skipped_by"
"""Where a place remembers who has skipped it."""
TAKEN_OVER = "taken_over"
"""Where a fork remembers of a place that it is done elsewhere, and in which instance."""


def is_outstanding(definition: AnyDefinition | None, place: str, record: StepRecord) -> bool:
    """True when something of a place is there outside, or may be.

    What has sent nothing leaves nothing behind, unless it was skipped: then somebody did it by hand. Nor does the
    question of a scatter, or a step that only reads.
    """
    if (record.attempt == 0 and not was_skipped(record)) or record.status.is_closed:
        return False
    return record.undo is not None or definition is None or not _only_asks(definition, place)


def was_skipped(record: StepRecord) -> bool:
    """True when an operator has said that it is done."""
    return SKIPPED_BY in (record.memo or {})


def done_by(definition: AnyDefinition, place: str, record: StepRecord) -> str | None:
    """The instance in which stands what a fork has taken over at a place; None: nothing of another's stands there."""
    origin = (record.memo or {}).get(TAKEN_OVER)
    if origin is None or _only_asks(definition, place):
        return None
    acts = name_of(place) in definition.steps or isinstance(definition.tree[name_of(place)].node, Child | Each)
    return str(origin) if acts else None


def _only_asks(definition: AnyDefinition, place: str) -> bool:
    """True for the question of a scatter, and for a step that only reads."""
    node = definition.steps.get(name_of(place))
    return isinstance(node, Step) and node.options.read_only
