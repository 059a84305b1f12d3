"""The document of a saga instance: everything it is, as one JSON value.

Timers live here and nowhere else. A finished instance keeps its document until the ``retention`` timer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from .entity_messages import EventDelivered
from .inputs import EntityMessage, JsonObject, Parent, Reply, TimerFired
from .values import Origin

__all__ = [
    "FORMAT",
    "HEARTBEAT",
    "Attention",
    "Cause",
    "CauseKind",
    "Deferred",
    "Document",
    "Early",
    "Managed",
    "Restarting",
    "Status",
    "StepEnded",
    "StepRecord",
    "StepStatus",
    "heard_of",
    "progress_of",
]

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
        """It has ended: nothing changes any more, unless a parent undoes it."""
        return self in (Status.COMPLETED, Status.COMPENSATED, Status.ABANDONED)

    @property
    def is_active(self) -> bool:
        """It works, forward or backward; commands may leave."""
        return self in (Status.RUNNING, Status.COMPENSATING)

    @property
    def is_compensation(self) -> bool:
        """Its effects are being undone, or have been."""
        return self in (Status.COMPENSATING, Status.COMPENSATED)


class StepStatus(StrEnum):
    """Where one node of an instance stands; legal transitions stand in ``kernel/transitions.py``.

    ``waiting``: begun, for something other than a worker's reply. ``locking``: waiting for its semantic lock.
    ``backoff``: waiting for the next attempt.
    ``dropped``: withdrawn with nothing done, because the flow turned. ``waived``: an operator gave its undo up.
    """

    WAITING = "waiting"
    LOCKING = "locking"
    DROPPED = "dropped"
    WAIVED = "waived"
    SENT = "sent"
    BACKOFF = "backoff"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"
    BLOCKED = "blocked"
    UNDO_SENT = "undo_sent"
    UNDO_BACKOFF = "undo_backoff"
    UNDO_FAILED = "undo_failed"
    UNDONE = "undone"

    @property
    def is_forward(self) -> bool:
        """Begun and not over, on the way forward."""
        return self in (
            StepStatus.SENT,
            StepStatus.BACKOFF,
            StepStatus.WAITING,
            StepStatus.LOCKING,
            StepStatus.BLOCKED,
        )

    @property
    def is_live(self) -> bool:
        """Not over, forward or backward: an instance cannot end with it."""
        return self.is_forward or self.is_undoing or self is StepStatus.UNDO_FAILED

    @property
    def is_attempting(self) -> bool:
        """A command is out, or the next attempt is planned."""
        return self in (StepStatus.SENT, StepStatus.BACKOFF)

    @property
    def is_undoing(self) -> bool:
        """A command of its undo is out, or the next attempt of it is planned."""
        return self in (StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF)

    @property
    def is_in_flight(self) -> bool:
        """A command is out, its own or its undo's, and its reply is waited for."""
        return self in (StepStatus.SENT, StepStatus.UNDO_SENT)

    @property
    def is_stuck(self) -> bool:
        """It did not succeed, and is begun again by an operator's retry only."""
        return self in (StepStatus.BLOCKED, StepStatus.FAILED, StepStatus.REJECTED)

    @property
    def is_to_undo(self) -> bool:
        """It took effect, or may have: it is undone when the flow turns."""
        return self in (StepStatus.DONE, StepStatus.FAILED)

    @property
    def is_closed(self) -> bool:
        """Over with nothing left to undo: it took no effect, is undone, or its effect was accepted as a loss."""
        return self in (StepStatus.REJECTED, StepStatus.DROPPED, StepStatus.UNDONE, StepStatus.WAIVED)


class CauseKind(StrEnum):
    """Why a flow does not go on as written."""

    REJECTED = "rejected"
    ATTEMPTS = "attempts"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    CODE = "code"
    TOO_LARGE = "too_large"
    VERSION = "version"
    UNDO = "undo"
    CHILD = "child"
    LOCK = "lock"
    DEADLOCK = "deadlock"
    ROUNDS = "rounds"
    ROUTE = "route"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why compensation began, or what an operator must look at. ``detail`` may hold a traceback.

    ``code`` is for programs: the one that a worker's ``Rejected`` gave, else a ``ReasonCode`` where it tells more than
    ``kind``.
    """

    kind: CauseKind
    message: str
    at_ms: int
    step: str | None = None
    code: str | None = None
    detail: str = ""


Attention = Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One node of one instance, begun; in a loop one for each round, its place being ``{name}@{round}``.

    ``undo`` is the contract that undoes it, on record before the step's command leaves (None: nothing to undo).
    ``attempt``/``undo_attempt`` count commands sent; ``spent`` counts those of rounds that an operator's retry closed.
    ``order`` is its place in the order of completion. ``at_ms`` is the time of its last change. ``memo`` is what a node
    of its kind must remember: the branch it chose, who was asked, which parts are under way. ``generation`` is how many
    restarts came before it. ``kind`` is what the node is called in the language (``wait``), ``about`` what its memory
    is about (``paid into payment``), so that code which means something else by its name is noticed.
    """

    status: StepStatus
    at_ms: int
    kind: str
    about: str = ""
    undo: str | None = None
    attempt: int = 0
    undo_attempt: int = 0
    spent: int = 0
    undo_spent: int = 0
    order: int | None = None
    error: str | None = None
    memo: JsonObject | None = None
    generation: int = 0


HEARTBEAT = "heartbeat"
"""Where the memo of a step keeps the last heartbeat: ``{"at_ms": …, "progress": {…} | None}``."""


def heard_of(record: StepRecord) -> tuple[int, JsonObject | None] | None:
    """The time of the last heartbeat of a step, milliseconds since epoch, and the progress; None: none came."""
    heard = (record.memo or {}).get(HEARTBEAT)
    if not isinstance(heard, dict) or not isinstance(at_ms := heard.get("at_ms"), int):
        return None
    progress = heard.get("progress")
    return at_ms, progress if isinstance(progress, dict) else None


def progress_of(record: StepRecord) -> JsonObject | None:
    """What the last heartbeat of a step said of its progress; None: nothing."""
    heard = heard_of(record)
    return None if heard is None else heard[1]


Deferred: TypeAlias = Annotated[Reply | TimerFired | EntityMessage, Field(discriminator="kind")]
"""What is kept while an instance is paused, or its version is not deployed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A step of a process manager has ended, and its handler is still to be called."""

    place: str
    kind: Literal["step_ended"] = "step_ended"


Early: TypeAlias = Annotated[EventDelivered | TimerFired | StepEnded, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """What a process manager's instance has beside its steps.

    ``phase`` None: it has not been started. ``early``: what has happened and no handler has taken yet, in order of
    arrival. ``seen``: ids of the last events taken. ``ends``: it completes as soon as no step is under way.
    """

    phase: str | None = None
    early: tuple[Early, ...] = ()
    seen: tuple[str, ...] = ()
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarting:
    """A restart that waits for undos: what lies from ``step`` on is being taken back. ``patch`` is then applied to the
    state; None: it stays as it is.
    """

    step: str
    patch: tuple[JsonObject, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One instance. ``revision`` grows by one with every decision that changes it.

    ``backward`` tells the direction: False while the flow goes on, True once it is being unwound. ``timers`` maps a
    timer's name to its due time. While it is ``paused`` its clocks stand, since ``paused_ms``: then ``held`` has its
    timers, and ``timers`` none. ``deferred`` holds what came in a pause or while the version was not deployed, in order
    of arrival. ``requests`` are the ids of the last acts that changed something: one that comes twice acts once.
    ``itinerary``: of a routing slip every place, those passed and those ahead; None: not planned yet, or no slip.
    ``restarts`` counts those that are over, ``restarting`` is one that is not. ``origin``: it was forked from there.
    ``unbegun``: its code was never deployed where it is decided; the state is its input as it came, and ``version`` 0
    stands for the newest. ``incarnation``: which life of its key it is, in every effect key and command id.
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
    incarnation: str
    created_ms: int
    updated_ms: int
    paused: bool = False
    paused_ms: int | None = None
    held: dict[str, int] = field(default_factory=dict)
    backward: bool = False
    pivot_passed: bool = False
    steps: dict[str, StepRecord] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    cause: Cause | None = None
    attention: Attention | None = None
    deferred: tuple[Deferred, ...] = ()
    finished_ms: int | None = None
    traceparent: str | None = None
    parent: Parent | None = None
    requests: tuple[str, ...] = ()
    managed: Managed | None = None
    itinerary: tuple[str, ...] | None = None
    restarts: int = 0
    restarting: Restarting | None = None
    origin: Origin | None = None
    unbegun: bool = False

    def touched_ms(self, now_ms: int) -> int:
        """``updated_ms`` of the next revision: never less than this one's, although a clock may have been set back."""
        return max(self.updated_ms, now_ms)

    @property
    def all_timers(self) -> dict[str, int]:
        """Its timers, whether they run or stand."""
        return self.held if self.paused else self.timers
