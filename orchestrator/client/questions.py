"""Questions that wait for a person: what is asked, of whom, until when, and by which form it is answered."""

from __future__ import annotations

from ...sagas.nodes import Ask
from ..kernel import Registry
from ..kernel.places import name_of
from ..messages.document import Document, StepStatus
from ..messages.values import JsonObject
from .results import Question

__all__ = ["open_questions"]


def open_questions(document: Document, registry: Registry) -> list[Question]:
    """Those of one instance, in the order in which they were asked; none of an instance that has ended."""
    found = []
    for place, record in ({} if document.status.is_final else document.steps).items():
        memo = record.memo or {}
        if record.status is StepStatus.OPEN and "question" in memo:
            claimed = memo.get("claimed_by")
            found.append(
                Question(
                    instance=document.id,
                    step=place,
                    text=str(memo["question"]),
                    who=tuple(map(str, who)) if isinstance(who := memo.get("who"), list) else (),
                    claimed_by=claimed if isinstance(claimed, str) else None,
                    asked_ms=int(str(memo["asked_ms"])),
                    due_ms=int(str(memo["due_ms"])),
                    escalated=bool(memo.get("escalated")),
                    form=_form(document, place, registry),
                )
            )
    return found


def _form(document: Document, place: str, registry: Registry) -> JsonObject | None:
    definition, name = registry.deciding(document), name_of(place)
    node = definition.tree[name].node if definition is not None and name in definition.tree else None
    return node.options.form.model_json_schema() if isinstance(node, Ask) else None
