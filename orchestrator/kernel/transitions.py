"""The two tables of legal transitions. Every change of a status is checked against them."""

from __future__ import annotations

from ..messages.document import Status, StepStatus

__all__ = ["INSTANCE", "STEP"]

INSTANCE: dict[Status | None, frozenset[Status]] = {
    None: frozenset({Status.RUNNING}),
    Status.RUNNING: frozenset({Status.COMPLETED, Status.COMPENSATING, Status.ATTENTION}),
    Status.COMPENSATING: frozenset({Status.COMPENSATED, Status.ATTENTION}),
    Status.ATTENTION: frozenset({Status.RUNNING, Status.COMPENSATING, Status.ABANDONED}),
    Status.COMPLETED: frozenset({Status.COMPENSATING}),
    Status.COMPENSATED: frozenset(),
    Status.ABANDONED: frozenset(),
}
"""Instances. From ``attention`` an operator's act leads to ``running`` or ``compensating`` first; the same decision may
continue to ``completed`` or ``compensated``. Only a parent's ``Unwind`` leads back from ``completed``."""

_BEGUN = frozenset({StepStatus.SENT, StepStatus.WAITING, StepStatus.LOCKING, StepStatus.BLOCKED, StepStatus.DONE})
_UNDO = frozenset({StepStatus.UNDO_SENT, StepStatus.UNDO_FAILED})

STEP: dict[StepStatus | None, frozenset[StepStatus]] = {
    None: _BEGUN | {StepStatus.REJECTED},
    StepStatus.WAITING: frozenset({StepStatus.DONE, StepStatus.FAILED, StepStatus.DROPPED, StepStatus.BLOCKED}),
    StepStatus.LOCKING: frozenset(
        {StepStatus.SENT, StepStatus.REJECTED, StepStatus.FAILED, StepStatus.DROPPED, StepStatus.BLOCKED}
    ),
    StepStatus.SENT: frozenset(
        {
            StepStatus.DONE,
            StepStatus.REJECTED,
            StepStatus.FAILED,
            StepStatus.BACKOFF,
            StepStatus.BLOCKED,
            StepStatus.DROPPED,
        }
    ),
    StepStatus.BACKOFF: frozenset({StepStatus.SENT, StepStatus.DONE, StepStatus.FAILED, StepStatus.BLOCKED}),
    StepStatus.BLOCKED: frozenset(
        {
            StepStatus.SENT,
            StepStatus.WAITING,
            StepStatus.LOCKING,
            StepStatus.DONE,
            StepStatus.REJECTED,
            StepStatus.FAILED,
            StepStatus.DROPPED,
        }
    ),
    StepStatus.DONE: _UNDO,
    StepStatus.REJECTED: frozenset({StepStatus.SENT, StepStatus.DONE, StepStatus.LOCKING, StepStatus.BLOCKED}),
    StepStatus.FAILED: frozenset(
        {StepStatus.SENT, StepStatus.DONE, StepStatus.LOCKING, StepStatus.WAITING, StepStatus.BLOCKED}
    )
    | _UNDO,
    StepStatus.DROPPED: frozenset({StepStatus.SENT}),
    StepStatus.UNDO_SENT: frozenset({StepStatus.UNDONE, StepStatus.UNDO_BACKOFF, StepStatus.UNDO_FAILED}),
    StepStatus.UNDO_BACKOFF: frozenset({StepStatus.UNDO_SENT, StepStatus.UNDO_FAILED}),
    StepStatus.UNDO_FAILED: frozenset({StepStatus.UNDO_SENT, StepStatus.WAIVED}),
    StepStatus.UNDONE: frozenset(),
    StepStatus.WAIVED: frozenset(),
}
"""Nodes. ``blocked``: its function raised or its command could not be sent; an operator must act. ``rejected`` and
``failed`` lead back only past the pivot, by an operator's retry or skip. ``sent`` leads to ``dropped`` and back only
for the question of a scatter, which has no effect to undo."""
