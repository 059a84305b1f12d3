"""A live instance drawn on the graph of its definition."""

from __future__ import annotations

from collections import Counter

from ...sagas.definition import AnyDefinition
from ...sagas.graph import Graph, Mark, graph_of, marked
from ...sagas.graph.model import Status as Drawn
from ...sagas.nodes import Pivot
from ..kernel.places import name_of
from ..messages.document import Document, StepRecord, StepStatus

__all__ = ["drawn"]

_DRAWN: dict[StepStatus, Drawn] = {
    StepStatus.DONE: "done",
    StepStatus.UNDONE: "undone",
    StepStatus.DROPPED: "dropped",
    StepStatus.FAILED: "failed",
    StepStatus.REJECTED: "failed",
    StepStatus.BLOCKED: "failed",
    StepStatus.UNDO_FAILED: "done",
    StepStatus.WAIVED: "done",
    StepStatus.UNDO_SENT: "done",
    StepStatus.UNDO_BACKOFF: "done",
}
"""How the status of a step is drawn; statuses that are not listed are under way."""
_UNDO: dict[StepStatus, Drawn] = {
    StepStatus.UNDONE: "done",
    StepStatus.UNDO_FAILED: "failed",
    StepStatus.WAIVED: "dropped",
    StepStatus.UNDO_SENT: "running",
    StepStatus.UNDO_BACKOFF: "running",
}


def drawn(definition: AnyDefinition, document: Document) -> Graph:
    """The graph with the status of each node: done, running, undone, failed, dropped or to come; for a node that ran
    several times, of its last run.
    """
    rounds = Counter(name_of(place) for place in document.steps)
    marks = {}
    for place, record in document.steps.items():
        name = name_of(place)
        marks[name] = _mark(document, record, rounds[name])
    ends = document.backward or document.status.is_final
    others: Drawn = "dropped" if ends else "to come"
    for spot in definition.tree:
        if isinstance(spot.node, Pivot):
            marks[spot.node.name] = Mark(status="done" if document.pivot_passed else others)
    return marked(graph_of(definition), marks, others=others)


def _mark(document: Document, record: StepRecord, rounds: int) -> Mark:
    undo = _UNDO.get(record.status)
    if undo is None and document.backward and record.status is StepStatus.DONE and record.undo is not None:
        undo = "to come"
    memo = record.memo or {}
    notes = [f"round {rounds}"] if rounds > 1 else []
    notes += [f"{memo['completed']} of {memo['count']}"] if "count" in memo else []
    notes += [f"round {memo['rounds']}"] if "rounds" in memo else []
    return Mark(status=_DRAWN.get(record.status, "running"), note=", ".join(notes), undo=undo)
