"""Overdue steps and open questions of an instance.

They are read from the document alone, so that the read model can store and index them.
"""

from __future__ import annotations

from typing import NamedTuple

from ..messages.document import Document, StepStatus
from ..messages.values import JsonObject

__all__ = ["OpenQuestion", "OverdueStep", "open_questions", "overdue_steps"]


class OverdueStep(NamedTuple):
    """A step that has exceeded ``expected_within``, noticed at ``overdue_ms``; it fails at ``deadline_ms``, if set."""

    step: str
    status: StepStatus
    since_ms: int
    overdue_ms: int
    deadline_ms: int | None


class OpenQuestion(NamedTuple):
    """A question that waits for an answer from one of ``who``, or only from ``claimed_by``; it fails at ``due_ms``."""

    step: str
    text: str
    who: tuple[str, ...]
    claimed_by: str | None
    asked_ms: int
    due_ms: int
    escalated: bool

    @property
    def may_answer(self) -> tuple[str, ...]:
        """Who may answer now."""
        return (self.claimed_by,) if self.claimed_by else self.who


def overdue_steps(document: Document) -> list[OverdueStep]:
    """The overdue steps of an instance, in the order in which they began; none if it has ended."""
    found = []
    for place, record in ({} if document.status.is_final else document.steps).items():
        overdue_ms = (record.memo or {}).get("overdue_ms")
        if type(overdue_ms) is int and record.status.is_live:
            deadline_ms = document.all_timers.get(f"{place}:deadline")
            found.append(OverdueStep(place, record.status, record.at_ms, overdue_ms, deadline_ms))
    return found


def open_questions(document: Document) -> list[OpenQuestion]:
    """The open questions of an instance, in the order in which they were asked; none if it has ended."""
    steps = {} if document.status.is_final else document.steps
    asked = {place: record.memo for place, record in steps.items() if record.status is StepStatus.WAITING}
    due = {place: document.all_timers.get(f"{place}:deadline") for place in asked}
    return [
        found for place, memo in asked.items() if memo and (found := _question(place, memo, due[place])) is not None
    ]


def _question(place: str, memo: JsonObject, deadline_ms: int | None) -> OpenQuestion | None:
    text, asked_ms = memo.get("question"), memo.get("asked_ms")
    due_ms = memo.get("due_ms") if deadline_ms is None else deadline_ms
    if text is None or type(asked_ms) is not int or type(due_ms) is not int:
        return None
    who, claimed = memo.get("who"), memo.get("claimed_by")
    return OpenQuestion(
        step=place,
        text=str(text),
        who=tuple(map(str, who)) if isinstance(who, list) else (),
        claimed_by=claimed if isinstance(claimed, str) else None,
        asked_ms=asked_ms,
        due_ms=due_ms,
        escalated=bool(memo.get("escalated")),
    )
