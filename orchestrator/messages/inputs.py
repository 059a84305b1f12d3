"""What can arrive for an instance: one closed union, ``Message``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from .dead import DeadRequest
from .entity_messages import (
    ChildEnded,
    Deadlocked,
    Denied,
    EventDelivered,
    Expire,
    ExpiryRequested,
    Granted,
    Probe,
    Routed,
    ToLock,
    ToMailbox,
    ToTable,
    Unwind,
)
from .parcels import ToParcel
from .pieces import Piece
from .schedules import ToSchedule
from .values import Fork, JsonObject, Parent, instance_id

__all__ = [
    "Act",
    "ActName",
    "Arrival",
    "Completed",
    "Conflict",
    "Failed",
    "Heartbeat",
    "JsonObject",
    "Message",
    "OnConflict",
    "Parent",
    "Rejected",
    "Reply",
    "EntityMessage",
    "Start",
    "TimerFired",
    "instance_id",
]


class ActName(StrEnum):
    """The acts that an operator can request."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    ABANDON = "abandon"
    ANSWER = "answer"
    CLAIM = "claim"
    ASSIGN = "assign"
    SKIP = "skip"
    REVISE = "revise"
    WAIVE = "waive"
    EDIT = "edit"
    REPLACE_UNDO = "replace-undo"
    RESTART = "restart"
    FORK = "fork"


class Conflict(StrEnum):
    """What a start does when its key has an instance already.

    ``reject``: nothing; it is answered that the key is taken, or with the instance if the input is the same. ``queue``:
    it waits until the run of that instance has ended, and then begins the next run of the key. ``replace``: the same,
    and the run is cancelled; it takes the place of starts that wait.
    """

    REJECT = "reject"
    QUEUE = "queue"
    REPLACE = "replace"


OnConflict: TypeAlias = Literal["reject", "attach", "queue", "replace"]
"""The policy as callers give it. ``attach`` is ``reject``, and the caller takes the instance that there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A request for a new instance. ``version`` None: the newest deployed. ``parent``: it will be a child. ``fork``: it
    begins at a later step, with the state ``input`` by field names. ``schedule``: the schedule that has sent it and is
    told what was decided; empty: none.
    """

    id: str
    definition: str
    key: str
    input: JsonObject
    version: Annotated[int, Field(strict=True, ge=1)] | None = None
    parent: Parent | None = None
    fork: Fork | None = None
    schedule: str = ""
    conflict: Conflict = Conflict.REJECT
    traceparent: str | None = None
    kind: Literal["start"] = "start"

    @property
    def instance(self) -> str:
        return instance_id(self.definition, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A worker has carried out the command. ``forwarded``: the id of the command with which it forwarded a slip."""

    id: str
    instance: str
    command_id: str
    reply: JsonObject
    forwarded: str = ""
    traceparent: str | None = None
    kind: Literal["completed"] = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A worker answered with a business rejection."""

    id: str
    instance: str
    command_id: str
    reason: str
    code: str
    traceparent: str | None = None
    kind: Literal["rejected"] = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A handler raised; it may have had an effect before."""

    id: str
    instance: str
    command_id: str
    error: str
    detail: str = ""
    traceparent: str | None = None
    kind: Literal["failed"] = "failed"


Reply = Completed | Rejected | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A worker is still working on a command. ``progress``: its progress; None: unchanged."""

    id: str
    instance: str
    command_id: str
    progress: JsonObject | None = None
    traceparent: str | None = None
    kind: Literal["heartbeat"] = "heartbeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An operator's request. ``by`` and ``reason`` are kept in the history.

    ``groups``: those of ``by``; a question may be put to one of them.

    ``expected``: the ``tag`` of the document that it is for, of another it is denied; empty: of any.
    ``step`` and ``value`` are for acts on one step: the form of an ``answer``, the reply of a ``skip``,
    ``{"to": name}`` for ``assign``. For ``revise`` the value is ``{"ahead": [stop, …]}``.
    """

    id: str
    instance: str
    act: ActName
    by: str = ""
    groups: tuple[str, ...] = ()
    reason: str = ""
    expected: str = ""
    step: str = ""
    value: JsonObject | None = None
    traceparent: str | None = None
    kind: Literal["act"] = "act"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(Piece):
    """The owner's clock has passed ``due_ms`` of a timer in the document."""

    id: str
    instance: str
    timer: str
    due_ms: int
    traceparent: str | None = None
    kind: Literal["timer"] = "timer"


EntityMessage = (
    ChildEnded | Unwind | EventDelivered | Routed | Granted | Denied | Deadlocked | Probe | Expire | ExpiryRequested
)
"""Messages from other entities to an instance."""

Message: TypeAlias = Annotated[
    Start
    | Reply
    | Heartbeat
    | Act
    | TimerFired
    | EntityMessage
    | ToMailbox
    | ToLock
    | ToTable
    | ToParcel
    | DeadRequest
    | ToSchedule,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message and the time of its decision, in milliseconds since epoch; it never goes back."""

    message: Message
    now_ms: int
