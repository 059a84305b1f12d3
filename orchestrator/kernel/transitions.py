"""The two tables of legal transitions. Whatever changes a status goes through them."""

from __future__ import annotations

from ..messages.document import Status, StepStatus

__all__ = ["INSTANCE", "STEP"]

INSTANCE: dict[Status | None, frozenset[Status]] = {
    None: frozenset({Status.RUNNING}),
    Status.RUNNING: frozenset({Status.COMPLETED, Status.COMPENSATING, Status.ATTENTION}),
    Status.COMPENSATING: frozenset({Status.COMPENSATED, Status.ATTENTION}),
    Status.ATTENTION: frozenset({Status.RUNNING, Status.COMPENSATING, Status.ABANDONED}),
    Status.COMPLETED: frozenset(),
    Status.COMPENSATED: frozenset(),
    Status.ABANDONED: frozenset(),
}
"""Instances. An operator's act leaves ``attention`` first into ``running`` or ``compensating``, from where the same
decision may go on to the end: so ``attention`` reaches ``completed`` and ``compensated`` through them."""

STEP: dict[StepStatus | None, frozenset[StepStatus]] = {
    None: frozenset({StepStatus.SENT, StepStatus.BLOCKED}),
    StepStatus.SENT: frozenset(
        {StepStatus.DONE, StepStatus.REFUSED, StepStatus.FAILED, StepStatus.WAITING, StepStatus.BLOCKED}
    ),
    StepStatus.WAITING: frozenset({StepStatus.SENT, StepStatus.FAILED, StepStatus.BLOCKED}),
    StepStatus.BLOCKED: frozenset({StepStatus.SENT, StepStatus.FAILED}),
    StepStatus.DONE: frozenset({StepStatus.UNDO_SENT, StepStatus.UNDO_FAILED}),
    StepStatus.REFUSED: frozenset({StepStatus.SENT, StepStatus.BLOCKED}),
    StepStatus.FAILED: frozenset({StepStatus.SENT, StepStatus.BLOCKED, StepStatus.UNDO_SENT, StepStatus.UNDO_FAILED}),
    StepStatus.UNDO_SENT: frozenset({StepStatus.UNDONE, StepStatus.UNDO_WAITING, StepStatus.UNDO_FAILED}),
    StepStatus.UNDO_WAITING: frozenset({StepStatus.UNDO_SENT, StepStatus.UNDO_FAILED}),
    StepStatus.UNDO_FAILED: frozenset({StepStatus.UNDO_SENT}),
    StepStatus.UNDONE: frozenset(),
}
"""Steps. ``blocked``: its command could not be built or sent, an operator must look; ``refused`` and ``failed`` lead
back to ``sent`` only past the pivot, by an operator's retry."""
