"""The documents of all entities except instances: mailboxes, locks, tables, parcels, schedules, marks of dead letters
and of deleted schedules. Each is one JSON value.

``timers`` are as in an instance's document. An entity without data is removed (a tombstone).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from .entity_messages import Rule
from .parcels import Letter, RetryPolicy
from .pieces import Piece
from .reasons import ReasonCode
from .schedules import Plan, outcome_of
from .values import JsonObject

__all__ = [
    "ENTITY_FORMAT",
    "DeadMark",
    "DeadStatus",
    "DeletedSchedule",
    "Grant",
    "Entity",
    "Fired",
    "KeptEvent",
    "Lock",
    "Mailbox",
    "Parcel",
    "ParcelStatus",
    "Period",
    "Route",
    "Schedule",
    "Table",
    "Watcher",
]

ENTITY_FORMAT = 1
"""Format number of their stored documents, as ``FORMAT`` for instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """A place of an instance that waits for the mailbox's event, or has received one.

    ``traceparent``: of the decision that began to wait; not compared.
    """

    by: str
    place: str
    index: int
    traceparent: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent(Piece):
    """An event that is kept until ``until_ms``; ``taken_by``: places that it was delivered to."""

    id: str
    body: JsonObject
    until_ms: int
    taken_by: tuple[Watcher, ...] = ()
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Events of one kind and key, and the places that wait for them."""

    format: int = ENTITY_FORMAT
    id: str
    event: str
    key: str
    revision: int = 0
    watchers: tuple[Watcher, ...] = ()
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["mailbox"] = "mailbox"
    kept: tuple[KeptEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The instance that holds or waits for a lock, for which of its places, and since when."""

    by: str
    place: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A semantic lock: its holder, and the instances that wait in order of arrival."""

    format: int = ENTITY_FORMAT
    id: str
    name: str
    revision: int = 0
    holder: Grant | None = None
    waiting: tuple[Grant, ...] = ()
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["lock"] = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rules of a dynamic router; ``version`` counts changes; ``changed_by`` and ``reason``: of the last one."""

    format: int = ENTITY_FORMAT
    id: str
    name: str
    revision: int = 0
    version: int = 0
    rules: tuple[Rule, ...] = ()
    changed_ms: int = 0
    changed_by: str = ""
    reason: str = ""
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["table"] = "table"


class ParcelStatus(StrEnum):
    """``delayed``: a message that waits for its time. Of a key: ``retrying``, ``parked`` (waits for an operator) or
    ``released`` (empty; it is kept for a while, to recognise letters that it has had).
    """

    DELAYED = "delayed"
    RETRYING = "retrying"
    PARKED = "parked"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A partition from which letters have come: where it reads its redeliveries, and the last offset it has posted."""

    topic: str
    partition: int
    redeliver_to: str
    redeliver_partition: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A delayed message, or the letters of a key of a ``group`` in their order.

    Of the first letter: ``attempts``: deliveries so far, the current one included; ``spent``: those before the last
    redrive; ``outstanding``: it is delivered and its outcome awaited; ``error``, ``detail`` and ``failed_ms``: of its
    last failure. ``requests``: the last ids of requests of people.
    """

    format: int = ENTITY_FORMAT
    id: str
    group: str = ""
    revision: int = 0
    status: ParcelStatus
    routes: tuple[Route, ...] = ()
    retry: RetryPolicy | None = None
    attempts: int = 0
    spent: int = 0
    outstanding: bool = False
    error: str = ""
    detail: str = ""
    failed_ms: int | None = None
    begun_ms: int = 0
    requests: tuple[str, ...] = ()
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["parcel"] = "parcel"
    letters: tuple[Letter, ...] = ()


class DeadStatus(StrEnum):
    """What was done with a dead letter. ``open``: it waits for an operator, perhaps edited."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMark:
    """What people did with a dead letter. ``by``, ``reason``, ``at_ms``: of the last act; ``edited``: the letter as it
    is redriven, None: as it was. ``requests``: the last ids of requests.
    """

    format: int = ENTITY_FORMAT
    id: str
    revision: int = 0
    status: DeadStatus = DeadStatus.OPEN
    edited: Letter | None = None
    by: str = ""
    reason: str = ""
    at_ms: int = 0
    requests: tuple[str, ...] = ()
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["dead"] = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """One start of a schedule. ``id``: of its message. ``decided``: its outcome is known: ``code`` None, it began."""

    id: str
    due_ms: int
    at_ms: int
    instance: str
    decided: bool = False
    code: ReasonCode | None = None
    reason: str = ""

    @property
    def outcome(self) -> Literal["sent", "started", "duplicate", "waits", "denied"]:
        """``sent``: not decided yet; else see ``outcome_of``."""
        return outcome_of(self.code) if self.decided else "sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A backfill in progress: its due times up to ``through_ms`` are started, those up to ``to_ms`` are to come."""

    request: str
    through_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A plan and how far it is. ``through_ms``: all due times up to it are decided. ``paused_ms``: when it was paused.

    ``recent``: the last starts; ``started``, ``denied`` and ``missed`` count starts, those that were denied, and due
    times that started nothing because they were late. ``wrong``: why its calendar cannot be used now. ``requests``: the
    last ids of requests of people; ``changed_by`` and ``reason``: of the last one.
    """

    format: int = ENTITY_FORMAT
    id: str
    name: str
    revision: int = 0
    plan: Plan
    paused_ms: int | None = None
    through_ms: int
    started: int = 0
    denied: int = 0
    missed: int = 0
    recent: tuple[Fired, ...] = ()
    backfill: Period | None = None
    wrong: str = ""
    changed_ms: int = 0
    changed_by: str = ""
    reason: str = ""
    requests: tuple[str, ...] = ()
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["schedule"] = "schedule"

    @property
    def paused(self) -> bool:
        """Due times start nothing."""
        return self.paused_ms is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedSchedule:
    """What a deleted schedule leaves for a while: the ids of its last requests, which change nothing when they come
    again, and its ``through_ms``.
    """

    format: int = ENTITY_FORMAT
    id: str
    revision: int
    through_ms: int
    requests: tuple[str, ...]
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["deleted_schedule"] = "deleted_schedule"


Entity = Mailbox | Lock | Table | Parcel | DeadMark | Schedule | DeletedSchedule
