"""The document of an instance: all of its data, as one JSON value.

Timers live here and nowhere else. A finished instance keeps its document until the ``retention`` timer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from ...sagas.process_manager import Late
from .entity_messages import EventDelivered
from .inputs import EntityMessage, JsonObject, Parent, Reply, Start, TimerFired
from .pieces import Piece
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
    "Requested",
    "Restarting",
    "Status",
    "StepEnded",
    "StepRecord",
    "StepStatus",
    "heard_of",
    "progress_of",
]

FORMAT = 1
"""Format number of a stored document. The codec upcasts older ones; an instance with a newer one waits."""


class Status(StrEnum):
    """The status of an instance; the legal transitions are in ``kernel/transitions.py``."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    ATTENTION = "attention"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ABANDONED = "abandoned"

    @property
    def is_final(self) -> bool:
        """The instance has ended and no longer changes, unless its parent undoes it."""
        return self in (Status.COMPLETED, Status.COMPENSATED, Status.ABANDONED)

    @property
    def is_active(self) -> bool:
        """The instance runs, forward or backward; commands may be sent."""
        return self in (Status.RUNNING, Status.COMPENSATING)

    @property
    def is_compensation(self) -> bool:
        """Its effects are being undone, or have been."""
        return self in (Status.COMPENSATING, Status.COMPENSATED)


class StepStatus(StrEnum):
    """The status of one node of an instance; the legal transitions are in ``kernel/transitions.py``.

    ``waiting``: for something other than a worker's reply. ``locking``: for its semantic lock. ``backoff``: for the
    next attempt. ``dropped``: withdrawn before it had an effect. ``waived``: an operator has accepted that it stays
    undone.
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
        """The node is in progress, going forward."""
        return self in (
            StepStatus.SENT,
            StepStatus.BACKOFF,
            StepStatus.WAITING,
            StepStatus.LOCKING,
            StepStatus.BLOCKED,
        )

    @property
    def is_live(self) -> bool:
        """The node is in progress, forward or backward; the instance cannot end before it."""
        return self.is_forward or self.is_undoing or self is StepStatus.UNDO_FAILED

    @property
    def is_attempting(self) -> bool:
        """A command is in flight, or the next attempt is planned."""
        return self in (StepStatus.SENT, StepStatus.BACKOFF)

    @property
    def is_undoing(self) -> bool:
        """A command of its undo is in flight, or the next attempt of the undo is planned."""
        return self in (StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF)

    @property
    def is_in_flight(self) -> bool:
        """A command of the node or of its undo is in flight."""
        return self in (StepStatus.SENT, StepStatus.UNDO_SENT)

    @property
    def is_stuck(self) -> bool:
        """The node did not succeed; only an operator's retry begins it again."""
        return self in (StepStatus.BLOCKED, StepStatus.FAILED, StepStatus.REJECTED)

    @property
    def is_to_undo(self) -> bool:
        """The node took effect, or may have; compensation undoes it."""
        return self in (StepStatus.DONE, StepStatus.FAILED)

    @property
    def ends_attempts(self) -> bool:
        """The last attempt, forward or backward, or the wait, has ended: durations are measured up to it."""
        return self in (
            StepStatus.DONE,
            StepStatus.REJECTED,
            StepStatus.FAILED,
            StepStatus.DROPPED,
            StepStatus.UNDONE,
            StepStatus.UNDO_FAILED,
        )

    @property
    def is_closed(self) -> bool:
        """Nothing is left to undo: the node had no effect, is undone, or its loss was accepted (waived)."""
        return self in (StepStatus.REJECTED, StepStatus.DROPPED, StepStatus.UNDONE, StepStatus.WAIVED)


class CauseKind(StrEnum):
    """Why an instance is compensated, or needs attention."""

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
    """Why compensation began, or why an operator must act. ``detail`` may hold a traceback.

    ``code`` is for programs: the code of a worker's ``Rejected``, or a ``ReasonCode`` if it says more than ``kind``.
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
    """One node of one instance that has begun; in a loop one record per round, at the place ``{name}@{round}``.

    ``undo``: the contract that undoes it, on record before the step's command is sent (None: no undo).
    ``attempt``/``undo_attempt`` count commands sent; ``spent`` counts those before the last operator's retry.
    ``order``: its number in the order of completion. ``at_ms``: the time of its last change. ``memo``: data of the
    node, such as the chosen branch or the parts in progress. ``generation``: how many restarts came before it.
    ``kind``: the kind of node (``wait``). ``about``: what the memo refers to (``paid into payment``), to detect
    code that uses the name for something else.
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
"""Field of a step's memo: the last heartbeat, ``{"at_ms": …, "progress": {…} | None}``."""


def heard_of(record: StepRecord) -> tuple[int, JsonObject | None] | None:
    """The time of a step's last heartbeat, in milliseconds since epoch, and its progress; None: no heartbeat."""
    heard = (record.memo or {}).get(HEARTBEAT)
    if not isinstance(heard, dict) or not isinstance(at_ms := heard.get("at_ms"), int):
        return None
    progress = heard.get("progress")
    return at_ms, progress if isinstance(progress, dict) else None


def progress_of(record: StepRecord) -> JsonObject | None:
    """The progress in a step's last heartbeat; None: there is none."""
    heard = heard_of(record)
    return None if heard is None else heard[1]


Deferred: TypeAlias = Annotated[Reply | TimerFired | EntityMessage, Field(discriminator="kind")]
"""Messages that are deferred while an instance is paused or its version is not deployed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded(Piece):
    """A step of a process manager has ended, and its handler is still to be called."""

    place: str
    kind: Literal["step_ended"] = "step_ended"


Early: TypeAlias = Annotated[EventDelivered | TimerFired | StepEnded, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """The part of the document that only process managers have.

    ``phase`` None: not started. ``early``: events, timers and ended steps that no handler has taken yet, in order of
    arrival. ``seen``: ids of the last events taken. ``ends``: it completes as soon as no step is in progress.
    ``runs``: how often each step has run, also runs that are no longer in ``steps``. ``late``: what its code says of
    events after the end, for an engine without the code; None: it was never decided with its code.
    """

    phase: str | None = None
    seen: tuple[str, ...] = ()
    ends: bool = False
    runs: dict[str, int] = field(default_factory=dict)
    late: Late | None = None
    early: tuple[Early, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarting:
    """A restart in progress: ``step`` and all later ones are being undone. Then ``patch`` is applied to the state;
    None: the state is unchanged.
    """

    step: str
    patch: tuple[JsonObject, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """An act that has changed something, or a past start.

    ``digest`` is of what it asked for, so that its id stands for nothing else.
    """

    id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One instance. ``revision`` grows by one with every decision that changes it.

    ``backward``: False while the flow goes forward, True once it is compensating. ``timers`` maps a timer's name to its
    due time. While ``paused`` (since ``paused_ms``) the timers are stopped and in ``held``, and ``timers`` is empty.
    ``deferred``: messages that came during a pause or while the version was not deployed, in order of arrival.
    ``requests``: the ids of the last acts that changed something, and of past starts; a repeated one has no effect.
    ``itinerary``: all places of a routing slip, passed and ahead; None: not planned yet, or not a slip.
    ``restarts`` counts finished restarts; ``restarting``: the one in progress. ``origin``: the instance it was forked
    from. ``unbegun``: it waits for its code to begin; the state is its unchecked input, and ``version`` 0 means the
    newest. ``incarnation``: identifies this run of the key, in every effect key and command id. ``queued``: starts that
    wait for the end of this run, to begin the next ones. ``archive``: said at its end: what removes it archives it.
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
    archive: bool = False
    traceparent: str | None = None
    parent: Parent | None = None
    requests: tuple[Requested, ...] = ()
    itinerary: tuple[str, ...] | None = None
    restarts: int = 0
    restarting: Restarting | None = None
    origin: Origin | None = None
    unbegun: bool = False
    queued: tuple[Start, ...] = ()
    managed: Managed | None = None

    @property
    def tag(self) -> str:
        """Names this revision of this run of the key, and no other."""
        return f"{self.incarnation}-{self.revision}"

    def touched_ms(self, now_ms: int) -> int:
        """``updated_ms`` of the next revision: never less than this one's, even if a clock was set back."""
        return max(self.updated_ms, now_ms)

    @property
    def all_timers(self) -> dict[str, int]:
        """The timers, running or stopped."""
        return self.held if self.paused else self.timers
