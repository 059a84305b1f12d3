"""What people must look at: overdue steps, and questions with the form of their answer."""

from __future__ import annotations

from collections.abc import Sequence

from ...sagas.nodes import Ask
from ..kernel import Registry
from ..kernel.places import name_of
from ..kernel.waits import OpenQuestion, OverdueStep
from ..messages.values import JsonObject
from ..ports.read_model import WaitRow
from .results import Overdue, Question

__all__ = ["overdue_of", "questions_of"]


def overdue_of(rows: Sequence[WaitRow]) -> list[Overdue]:
    """The overdue steps among the rows."""
    return [
        Overdue(
            instance=row.instance,
            step=row.wait.step,
            status=row.wait.status.value,
            since_ms=row.wait.since_ms,
            overdue_ms=row.wait.overdue_ms,
            deadline_ms=row.wait.deadline_ms,
        )
        for row in rows
        if isinstance(row.wait, OverdueStep)
    ]


def questions_of(rows: Sequence[WaitRow], registry: Registry) -> list[Question]:
    """The questions among the rows. Questions of one node share the form: building its schema is expensive."""
    forms: dict[tuple[str, int, str], JsonObject | None] = {}
    found = []
    for row in rows:
        if not isinstance(row.wait, OpenQuestion):
            continue
        node = (row.definition, row.version, name_of(row.wait.step))
        if node not in forms:
            forms[node] = _form(*node, registry)
        found.append(_question(row.instance, row.wait, forms[node]))
    return found


def _question(instance: str, asked: OpenQuestion, form: JsonObject | None) -> Question:
    return Question(
        instance=instance,
        step=asked.step,
        text=asked.text,
        who=asked.who,
        claimed_by=asked.claimed_by,
        asked_ms=asked.asked_ms,
        due_ms=asked.due_ms,
        escalated=asked.escalated,
        form=form,
    )


def _form(name: str, version: int, node: str, registry: Registry) -> JsonObject | None:
    definition = registry.starting(name, version or None)
    asking = definition.tree[node].node if definition is not None and node in definition.tree else None
    return asking.options.form.model_json_schema() if isinstance(asking, Ask) else None
