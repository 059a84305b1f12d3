"""The document of a saga instance: everything it is, as one JSON value.

Timers live here and nowhere else. A finished instance keeps its document until the ``retention`` timer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .inputs import Completed, Failed, JsonObject, Refused, TimerFired

__all__ = ["FORMAT", "Attention", "Cause", "CauseKind", "Document", "Status", "StepRecord", "StepStatus"]

FORMAT = 1
"""Format number of a stored document; older ones are upcast by the codec, newer ones are parked."""


class Status(StrEnum):
    """Where an instance stands; legal transitions stand in ``kernel/transitions.py``."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    ATTENTION = "attention"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ABANDONED = "abandoned"

    @property
    def is_final(self) -> bool:
        return self in (Status.COMPLETED, Status.COMPENSATED, Status.ABANDONED)


class StepStatus(StrEnum):
    """Where one step of an instance stands; legal transitions stand in ``kernel/transitions.py``."""

    SENT = "sent"
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    BLOCKED = "blocked"
    UNDO_SENT = "undo_sent"
    UNDO_WAITING = "undo_waiting"
    UNDO_FAILED = "undo_failed"
    UNDONE = "undone"


class CauseKind(StrEnum):
    """Why a flow does not go on as written."""

    REFUSED = "refused"
    ATTEMPTS = "attempts"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    CODE = "code"
    TOO_LARGE = "too_large"
    VERSION = "version"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why compensation began, or what an operator must look at. ``detail`` may hold a traceback."""

    kind: CauseKind
    message: str
    at_ms: int
    step: str | None = None
    code: str | None = None
    detail: str = ""


Attention = Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step of one instance.

    ``undo`` is the contract that undoes it, on record before the step's command leaves (None: nothing to undo).
    ``attempt``/``undo_attempt`` count commands sent; ``spent`` counts those of rounds that an operator's retry closed.
    ``order`` is its place in the order of completion. ``at_ms`` is the time of its last change.
    """

    status: StepStatus
    at_ms: int
    undo: str | None = None
    attempt: int = 0
    undo_attempt: int = 0
    spent: int = 0
    undo_spent: int = 0
    order: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One instance. ``revision`` grows by one with every decision that changes it.

    ``backward`` tells the direction: False while the flow goes on, True once it is being unwound. ``timers`` maps a
    timer's name to its due time. ``deferred`` holds messages that came while the version was not deployed.
    """

    format: int = FORMAT
    id: str
    definition: str
    version: int
    key: str
    status: Status
    revision: int
    state: JsonObject
    digest: str
    started_by: str
    created_ms: int
    updated_ms: int
    paused: bool = False
    backward: bool = False
    pivot_passed: bool = False
    steps: dict[str, StepRecord] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    cause: Cause | None = None
    attention: Attention | None = None
    deferred: tuple[Completed | Refused | Failed | TimerFired, ...] = ()
    finished_ms: int | None = None
    traceparent: str | None = None
