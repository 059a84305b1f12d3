"""What stands: what an instance has done outside, or may have, and nothing has taken back."""

from __future__ import annotations

from ...sagas import Step
from ...sagas.definition import AnyDefinition
from ..messages.document import StepRecord, StepStatus
from .places import name_of

__all__ = ["may_stand"]

_NOTHING = frozenset(
    {
        StepStatus.OPEN,
        StepStatus.LOCKING,
        StepStatus.REFUSED,
        StepStatus.DROPPED,
        StepStatus.UNDONE,
        StepStatus.WAIVED,
    }
)


def may_stand(definition: AnyDefinition | None, place: str, record: StepRecord) -> bool:
    """True when something of a place is there outside, or may be.

    What has sent nothing leaves nothing behind; nor does the question of a scatter, or a step that only reads.
    """
    if record.attempt == 0 or record.status in _NOTHING:
        return False
    if record.undo is not None or definition is None:
        return True
    node = definition.steps.get(name_of(place))
    return not (isinstance(node, Step) and (node.contract is not node.declared or "read_only" in node.options.traits))
