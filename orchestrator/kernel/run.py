"""The working copy of one decision: a document taken apart, changed through the tables, put together again.

Lives for one call of ``decide`` and never leaves it. Nothing else in the kernel touches a status.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from pydantic import BaseModel, JsonValue
from pydantic_core import from_json, to_json

from ..messages.document import FORMAT, Attention, Cause, CauseKind, Document, Status, StepRecord, StepStatus
from ..messages.inputs import JsonObject
from ..messages.outputs import Action, Change, Decision, Outcome
from .transitions import INSTANCE, STEP

if TYPE_CHECKING:
    from ...sagas import Step
    from ...sagas.saga import AnySaga
    from .limits import Limits

__all__ = ["RETENTION", "Run", "as_json", "said"]

RETENTION = "~retention"
_STANDS = frozenset({Status.ATTENTION, Status.COMPLETED, Status.COMPENSATED, Status.ABANDONED})
_SETTLED = frozenset({StepStatus.DONE, StepStatus.UNDONE})


def as_json(value: BaseModel) -> JsonObject:
    """A model as exactly what its JSON reads as, by field names, so that a stored document equals the one in memory."""
    body: JsonObject = from_json(value.model_dump_json(by_alias=False, round_trip=True))
    return body


def said(error: Exception) -> str:
    """An exception's type and message, also of one whose own ``__str__`` raises."""
    return "".join(traceback.format_exception_only(error)).strip()


class Run:
    """One decision at work. ``definition`` is the version that the instance is pinned to."""

    def __init__(self, definition: AnySaga, document: Document, now_ms: int, limits: Limits) -> None:
        self.definition, self.document, self.now_ms, self.limits = definition, document, now_ms, limits
        self.status = document.status
        self.state = document.state
        self.backward = document.backward
        self.paused = document.paused
        self.pivot_passed = document.pivot_passed
        self.steps = dict(document.steps)
        self.timers = dict(document.timers)
        self.cause: Cause | None = document.cause
        self.attention: Attention | None = document.attention
        self.deferred = document.deferred
        self.finished_ms = document.finished_ms
        self.actions: list[Action] = []
        self.changes: list[Change] = []
        self._model: BaseModel | None = None

    @property
    def id(self) -> str:
        return self.document.id

    @property
    def stopped(self) -> bool:
        """Nothing more may be sent: ended, waiting for an operator, or paused."""
        return self.paused or self.status in _STANDS

    def step(self, name: str) -> Step[BaseModel]:
        return self.definition.steps[name]

    def model(self) -> BaseModel:
        """The state as the author's model; may raise whatever the model's validators raise."""
        model = self._model
        if model is None:
            model = self.definition.state.model_validate_json(to_json(self.state), by_alias=False, by_name=True)
            self._model = model
        return model

    def put(self, field: str, value: JsonValue) -> None:
        """Sets one field of the state."""
        self.state = {**self.state, field: value}
        self._model = None

    def mark(self, name: str, status: StepStatus, *, error: str | None = None) -> None:
        """Moves a step to another status; an illegal move is a defect of the kernel and raises AssertionError."""
        record = self._leaving(name, status)
        order = record.order
        if status is StepStatus.DONE:
            order = 1 + max((other.order or 0 for other in self.steps.values()), default=0)
        self.steps[name] = StepRecord(
            status=status,
            at_ms=self.now_ms,
            undo=record.undo,
            attempt=record.attempt,
            undo_attempt=record.undo_attempt,
            spent=record.spent,
            undo_spent=record.undo_spent,
            order=order,
            error=None if status in _SETTLED else self.shortened(error) if error else record.error,
        )

    def mark_sent(self, name: str, *, undo: bool, fresh: bool) -> int:
        """Counts one more command of a step, or of its undo; returns its number. ``fresh`` opens a new round."""
        status = StepStatus.UNDO_SENT if undo else StepStatus.SENT
        record = self._leaving(name, status)
        attempt = 1 + (record.undo_attempt if undo else record.attempt)
        self.steps[name] = StepRecord(
            status=status,
            at_ms=self.now_ms,
            undo=record.undo,
            attempt=record.attempt if undo else attempt,
            undo_attempt=attempt if undo else record.undo_attempt,
            spent=attempt - 1 if fresh and not undo else record.spent,
            undo_spent=attempt - 1 if fresh and undo else record.undo_spent,
            order=record.order,
            error=record.error,
        )
        return attempt

    def _leaving(self, name: str, after: StepStatus) -> StepRecord:
        """The record that a step leaves behind for another status, a blank one for a step that begins."""
        record = self.steps.get(name)
        before = record.status if record else None
        assert after in STEP[before], f"step {name}: {before} -> {after}"
        self.changes.append(Change(what=name, before=before, after=after))
        if record is not None:
            return record
        undo = self.step(name).compensation
        return StepRecord(status=after, at_ms=self.now_ms, undo=undo.contract.name if undo else None)

    def move(self, status: Status) -> None:
        """Moves the instance to another status; an illegal move raises AssertionError."""
        assert status in INSTANCE[self.status], f"{self.id}: {self.status} -> {status}"
        self.changes.append(Change(what="instance", before=self.status, after=status))
        self.status = status
        if status.is_final:
            self.finished_ms = self.now_ms
            self.timers = {RETENTION: self.now_ms + round(self.definition.retention.total_seconds() * 1000)}
            self.paused = False

    def shortened(self, text: str) -> str:
        """A text from outside, cut in the middle so that it cannot blow up the document."""
        most = self.limits.detail_chars
        return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"

    def stop(self, kind: CauseKind, message: str, *, step: str | None = None, detail: str = "") -> None:
        """Puts the instance into ``attention``: no timer, nothing more goes out, an operator must look."""
        self.attention = Attention(
            kind=kind,
            message=self.shortened(message),
            at_ms=self.now_ms,
            step=step,
            detail=detail[-self.limits.detail_chars :],
        )
        self.timers = {}
        self.paused = False
        self.move(Status.ATTENTION)

    def clear_timers(self, step: str) -> None:
        """Removes every timer of a step."""
        self.timers = {name: due for name, due in self.timers.items() if not name.startswith(f"{step}:")}

    def decision(self, outcome: Outcome = Outcome.APPLIED) -> Decision:
        """The new document, one revision on."""
        old = self.document
        document = Document(
            format=FORMAT,
            id=old.id,
            definition=old.definition,
            version=old.version,
            key=old.key,
            status=self.status,
            revision=old.revision + 1,
            state=self.state,
            digest=old.digest,
            started_by=old.started_by,
            created_ms=old.created_ms,
            updated_ms=self.now_ms,
            paused=self.paused,
            backward=self.backward,
            pivot_passed=self.pivot_passed,
            steps=self.steps,
            timers=self.timers,
            cause=self.cause,
            attention=self.attention,
            deferred=self.deferred,
            finished_ms=self.finished_ms,
            traceparent=old.traceparent,
        )
        return Decision(document=document, outcome=outcome, actions=tuple(self.actions), changes=tuple(self.changes))
