"""The documents of mailboxes, locks and tables (all entities except instances). Each is one JSON value.

``timers`` are as in an instance's document. An entity without data is removed (a tombstone).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .entity_messages import Rule
from .values import JsonObject

__all__ = ["ENTITY_FORMAT", "Grant", "Entity", "KeptEvent", "Lock", "Mailbox", "Table", "Watcher"]

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
class KeptEvent:
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
    kept: tuple[KeptEvent, ...] = ()
    timers: dict[str, int] = field(default_factory=dict)
    kind: Literal["mailbox"] = "mailbox"


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


Entity = Mailbox | Lock | Table
