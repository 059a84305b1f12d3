"""The working copy of one decision: a document taken apart, changed through the tables, put together again.

Lives for one call of ``decide`` and never leaves it. Nothing else in the kernel touches a status.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic_core import to_json

from ..messages.document import Attention, Cause, CauseKind, Document, Status, StepRecord, StepStatus
from ..messages.outputs import Action, Change, Decision, Outcome
from .transitions import INSTANCE, STEP

if TYPE_CHECKING:
    from ...sagas import Saga, Step
    from .limits import Limits

__all__ = ["Run"]

RETENTION = "~retention"


class Run:
    """One decision at work. ``definition`` is the version that the instance is pinned to."""

    def __init__(self, definition: Saga[BaseModel], document: Document, now_ms: int, limits: Limits) -> None:
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
        return self.paused or self.status is Status.ATTENTION or self.status.is_final

    def step(self, name: str) -> Step[BaseModel]:
        return self.definition.steps[name]

    def model(self) -> BaseModel:
        """The state as the author's model; may raise whatever the model's validators raise."""
        if self._model is None:
            self._model = self.definition.state.model_validate_json(to_json(self.state), by_alias=False, by_name=True)
        return self._model

    def put(self, field: str, value: BaseModel) -> None:
        """Sets one field of the state."""
        self.state = {**self.state, field: value.model_dump(mode="json")}
        self._model = None

    def mark(self, name: str, status: StepStatus, *, error: str | None = None) -> StepRecord:
        """Moves a step to another status; an illegal move is a defect of the kernel and raises AssertionError."""
        record = self.steps.get(name)
        before = record.status if record else None
        assert status in STEP[before], f"step {name}: {before} -> {status}"
        if record is None:
            undo = self.step(name).compensation
            record = StepRecord(status=status, at_ms=self.now_ms, undo=undo.contract.name if undo else None)
        settled = status in (StepStatus.DONE, StepStatus.UNDONE)
        kept = None if settled else error or record.error
        self.steps[name] = replace(record, status=status, at_ms=self.now_ms, error=kept)
        self.changes.append(Change(what=name, before=before, after=status))
        return self.steps[name]

    def move(self, status: Status) -> None:
        """Moves the instance to another status; an illegal move raises AssertionError."""
        assert status in INSTANCE[self.status], f"{self.id}: {self.status} -> {status}"
        self.changes.append(Change(what="instance", before=self.status, after=status))
        self.status = status
        if status.is_final:
            self.finished_ms = self.now_ms
            self.timers = {RETENTION: self.now_ms + round(self.definition.retention.total_seconds() * 1000)}
            self.paused = False

    def stop(self, kind: CauseKind, message: str, *, step: str | None = None, detail: str = "") -> None:
        """Puts the instance into ``attention``: no timer, nothing more goes out, an operator must look."""
        self.attention = Attention(
            kind=kind, message=message, at_ms=self.now_ms, step=step, detail=detail[-self.limits.detail_chars :]
        )
        self.timers = {}
        self.paused = False
        self.move(Status.ATTENTION)

    def clear_timers(self, step: str) -> None:
        """Removes every timer of a step."""
        self.timers = {name: due for name, due in self.timers.items() if not name.startswith(f"{step}:")}

    def decision(self, outcome: Outcome = Outcome.APPLIED) -> Decision:
        """The new document, one revision on."""
        document = replace(
            self.document,
            status=self.status,
            revision=self.document.revision + 1,
            state=self.state,
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
        )
        return Decision(document=document, outcome=outcome, actions=tuple(self.actions), changes=tuple(self.changes))
