"""Messages between entities. Each is sent in the commit of its decision, so it arrives exactly once.

Ids of entities other than instances begin with ``@``: ``@mailbox/{event}/{key}``, ``@lock/{name}``, ``@table/{name}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from ...sagas import Event
from ...sagas.policy import to_ms
from .pieces import Piece
from .reasons import ReasonCode
from .values import JsonObject, Parent

__all__ = [
    "Acquire",
    "ChildEnd",
    "ChildEnded",
    "Deadlocked",
    "Denied",
    "EventDelivered",
    "Granted",
    "Expire",
    "Lookup",
    "ExpiryRequested",
    "Probe",
    "ProbeLock",
    "Published",
    "Release",
    "Routed",
    "Rule",
    "SetRules",
    "ToLock",
    "ToMailbox",
    "ToTable",
    "Unwatch",
    "Unwind",
    "Watch",
    "lock_id",
    "mailbox_id",
    "publication",
    "table_id",
    "table_name",
]


KEEP_MS_MAX = 100 * 366 * 24 * 3_600_000


def mailbox_id(event: str, key: str) -> str:
    """The entity that delivers events of one kind and key to the instances that wait for them."""
    return f"@mailbox/{event}/{key}"


def lock_id(name: str) -> str:
    """The entity of a semantic lock."""
    return f"@lock/{name}"


def table_id(name: str) -> str:
    """The entity that holds the rules of a dynamic router."""
    return f"@table/{name}"


def table_name(id: str) -> str:
    """The name of the table with this id."""
    return id.partition("/")[2]


class ChildEnd(StrEnum):
    """How a child ended, for its parent. ``not_started``: its start was denied; ``not_undone``: it could not be undone.
    The reason says why.
    """

    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ABANDONED = "abandoned"
    NOT_STARTED = "not_started"
    NOT_UNDONE = "not_undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded:
    """To a parent: a child has ended. ``state``: its final state, if it completed."""

    id: str
    instance: str
    place: str
    index: int | None
    child: str
    end: ChildEnd
    state: JsonObject | None = None
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["child_ended"] = "child_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwind:
    """To a child: undo everything and report the end. It is cancelled or, if completed, compensated."""

    id: str
    instance: str
    parent: Parent
    reason: str
    traceparent: str | None = None
    kind: Literal["unwind"] = "unwind"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryRequested:
    """To the root of a child whose retention is over: may the child be removed? ``incarnation``: the root's life."""

    id: str
    instance: str
    child: str
    incarnation: str
    traceparent: str | None = None
    kind: Literal["expiry_requested"] = "expiry_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """To a child: no instance above needs it any more; it can be removed."""

    id: str
    instance: str
    traceparent: str | None = None
    kind: Literal["expire"] = "expire"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDelivered(Piece):
    """To a waiting instance: the event. ``index``: which of a wait's events it is."""

    id: str
    instance: str
    place: str
    index: int
    event: str
    event_id: str
    body: JsonObject
    traceparent: str | None = None
    kind: Literal["event"] = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """The answer to a ``Lookup``: the branch, None if no rule matched, and the version of the rules (0: no rules).

    ``code``: the table cannot answer; ``reason`` says why.
    """

    id: str
    instance: str
    place: str
    to: str | None
    version: int
    code: ReasonCode | None = None
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["routed"] = "routed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """To an instance that waits for a lock: it now holds the lock."""

    id: str
    instance: str
    place: str
    lock: str
    traceparent: str | None = None
    kind: Literal["granted"] = "granted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """To an instance that asked to wait for an event or a lock: the wait was not registered."""

    id: str
    instance: str
    place: str
    code: ReasonCode
    reason: str
    traceparent: str | None = None
    kind: Literal["denied"] = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlocked:
    """To an instance that waits for a lock: each in ``cycle`` waits for the next, and the last for the first."""

    id: str
    instance: str
    cycle: tuple[str, ...]
    traceparent: str | None = None
    kind: Literal["deadlocked"] = "deadlocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """To the holder of a lock that others wait for: it sends the probe on to the locks that it waits for itself.

    ``path``: instance, lock, instance, lock … Source: edge-chasing, Chandy, Misra and Haas 1983.
    """

    id: str
    instance: str
    path: tuple[str, ...]
    traceparent: str | None = None
    kind: Literal["probe"] = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """To a mailbox: an event. ``id``: of the event; a second one with the same id changes nothing.

    ``to``: instances of process managers that the sender knows to listen, besides those that the engine knows.
    """

    id: str
    instance: str
    event: str
    key: str
    body: JsonObject
    keep_ms: Annotated[int, Field(strict=True, ge=0, le=KEEP_MS_MAX)]
    source: str = ""
    to: tuple[str, ...] = ()
    traceparent: str | None = None
    kind: Literal["published"] = "published"

    @property
    def is_emitted(self) -> bool:
        """True when an instance has published it: then ``source`` is its id. Other sources begin with ``/``."""
        return self.source != "" and not self.source.startswith("/")


def publication(event: Event[Any], key: str, body: JsonObject, *, id: str, source: str = "") -> Published:
    """An event for its mailbox. ``body``: checked by the event's model already."""
    return Published(
        id=id,
        instance=mailbox_id(event.name, key),
        event=event.name,
        key=key,
        body=body,
        keep_ms=to_ms(event.keep),
        source=source,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """To a mailbox: deliver to ``by`` the next event that it has not received."""

    id: str
    instance: str
    by: str
    place: str
    index: int
    traceparent: str | None = None
    kind: Literal["watch"] = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwatch:
    """To a mailbox: ``by`` no longer waits at that place, and does not use an event that was delivered there."""

    id: str
    instance: str
    by: str
    place: str
    index: int
    traceparent: str | None = None
    kind: Literal["unwatch"] = "unwatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire:
    """To a lock: ``by`` asks for it. The current holder is granted it again."""

    id: str
    instance: str
    by: str
    place: str
    traceparent: str | None = None
    kind: Literal["acquire"] = "acquire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """To a lock: ``by`` neither holds it nor waits for it any more."""

    id: str
    instance: str
    by: str
    traceparent: str | None = None
    kind: Literal["release"] = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLock:
    """To a lock that an instance on a ``Probe``'s path waits for: it sends the probe on to its holder."""

    id: str
    instance: str
    path: tuple[str, ...]
    traceparent: str | None = None
    kind: Literal["probe_lock"] = "probe_lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """To a table: asks for the branch that its rules give for these facts."""

    id: str
    instance: str
    by: str
    place: str
    facts: JsonObject
    traceparent: str | None = None
    kind: Literal["lookup"] = "lookup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a table: all of ``when`` must hold. Per fact a value, or ``{operator: value}``."""

    when: JsonObject
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRules:
    """To a table: replaces its rules. ``version``: the version they replace; None: any."""

    id: str
    instance: str
    rules: tuple[Rule, ...]
    version: Annotated[int, Field(strict=True, ge=0)] | None = None
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["set_rules"] = "set_rules"


ToMailbox = Published | Watch | Unwatch
ToLock = Acquire | Release | ProbeLock
ToTable = Lookup | SetRules
