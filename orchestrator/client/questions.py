"""What waits for somebody to look: overdue steps, and questions with the form by which they are answered."""

from __future__ import annotations

from ...sagas.nodes import Ask
from ..kernel import Registry
from ..kernel.places import name_of
from ..kernel.waits import open_questions, overdue_steps
from ..messages.document import Document
from ..messages.values import JsonObject
from ..ports.read_model import WaitRow
from .results import Overdue, Question

__all__ = ["overdue_at", "question_at"]


def overdue_at(row: WaitRow) -> Overdue | None:
    """The overdue step of a row; None: the document says no more that it is."""
    for found in overdue_steps(row.document):
        if found.step == row.step:
            return Overdue(
                instance=row.document.id,
                step=found.step,
                status=found.status.value,
                since_ms=found.since_ms,
                overdue_ms=found.overdue_ms,
                deadline_ms=found.deadline_ms,
            )
    return None


def question_at(row: WaitRow, registry: Registry) -> Question | None:
    """The question of a row; None: the document says no more that it is asked."""
    for found in open_questions(row.document):
        if found.step == row.step:
            return Question(
                instance=row.document.id,
                step=found.step,
                text=found.text,
                who=found.who,
                claimed_by=found.claimed_by,
                asked_ms=found.asked_ms,
                due_ms=found.due_ms,
                escalated=found.escalated,
                form=_form(row.document, found.step, registry),
            )
    return None


def _form(document: Document, place: str, registry: Registry) -> JsonObject | None:
    definition, name = registry.deciding(document), name_of(place)
    node = definition.tree[name].node if definition is not None and name in definition.tree else None
    return node.options.form.model_json_schema() if isinstance(node, Ask) else None
