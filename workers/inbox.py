"""The inbox port: which effects were applied, by effect key, so that a command that arrives twice is applied once.

This module holds the port, its values and its rules; tests/contract/inbox_contract.py tests them. It must not depend on
a driver or on records of the log.

- An *entry* is the reply to one direction (forward or undo) of one effect key, stored in one transaction with the
  effects of its handler. Only applied effects are stored: a ``Rejected`` or a failure leaves no entry.
- A second forward or undo finds its entry and gets the stored reply; its own effects are dropped.
- An undo's entry blocks a later forward (the participant fence), whether or not the forward ever ran.
- Entries are kept as long as their effect key can be used again: as long as the instance lives, which the inbox cannot
  know. A new instance with the same business key has other effect keys, so old entries do not affect it.
- A race between forward and undo is decided by the store, not by timestamps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Applied", "Effect", "Found", "Inbox", "OpensUnits", "SqlValue", "Statement", "Unit", "Verdict"]

SqlValue = str | int | float | bytes | None
Statement = tuple[str, tuple[SqlValue, ...]]
"""One SQL statement and its positional parameters."""


class Found(NamedTuple):
    """The stored replies (JSON) of an effect key; None: that direction has not taken effect."""

    forward: bytes | None = None
    undo: bytes | None = None


class Unit(Protocol):
    """The handler's own transaction in the inbox's database, open since ``ctx.session``."""

    @property
    def session(self) -> object: ...

    async def discard(self) -> None:
        """Rolls it back unless it was committed, and closes it. Never raises for the database. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The effect of a handler: its reply (JSON) and its statements, applied together or not at all.

    ``forward_seen``: whether the handler saw the forward's entry when it ran. It matters only for an undo, whose
    effects and reply depend on it. ``unit``: the handler's own transaction, which ``apply`` commits or discards.
    """

    effect_key: str
    undo: bool
    command_id: str
    reply: bytes
    statements: tuple[Statement, ...] = ()
    forward_seen: bool = False
    unit: Unit | None = None
    at_ms: int


class Verdict(StrEnum):
    """The outcome of applying an effect."""

    STORED = "stored"
    """Entry and statements are durable."""
    REPEATED = "repeated"
    """This direction already has an entry; ``Applied.reply`` is its reply. Nothing was applied."""
    FENCED = "fenced"
    """A forward after its undo. Nothing was applied."""
    STALE = "stale"
    """The undo ran on a stale view of its step, or the handler's own transaction was lost; run it again. Nothing was
    applied.
    """
    FAILED = "failed"
    """The store rejected a statement; ``Applied.error`` says why. Nothing of this effect was applied."""


class Applied(NamedTuple):
    """The verdict on one effect, with the stored reply of REPEATED and the reason of FAILED."""

    verdict: Verdict
    reply: bytes | None = None
    error: str = ""


class Inbox(Protocol):
    """Entries by effect key. Safe for concurrent use by tasks of one event loop and by several processes."""

    async def find(self, effect_keys: Sequence[str]) -> Mapping[str, Found]:
        """The stored entries of these effect keys; keys without an entry are left out.

        Raises:
            InboxUnavailable: no answer in time.
        """
        ...

    async def apply(self, effects: Sequence[Effect]) -> Sequence[Applied]:
        """One verdict per effect, in order, each as if applied alone; STORED effects are durable on return.

        Raises:
            InboxUnavailable: the outcome is unknown; applying the same effects again is safe.
        """
        ...

    async def forget(self, now_ms: int, *, limit: int) -> int:
        """Drops up to ``limit`` entries that are older than the inbox's retention; returns the number dropped.

        An inbox without a retention keeps everything: an effect key can be used again as long as its instance lives.

        Raises:
            InboxUnavailable: no answer in time.
        """
        ...

    async def close(self) -> None:
        """Never raises. Idempotent."""
        ...


@runtime_checkable
class OpensUnits(Protocol):
    """An inbox whose handlers may work in transactions of their own."""

    def unit(self, kind: type[object]) -> Unit:
        """A fresh one. It needs no connection before its session is used.

        Raises:
            TypeError: its sessions are not of this kind; the handler's author must ask for another.
        """
        ...
