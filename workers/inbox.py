"""The inbox port: what took effect, by effect key, so that a command that comes twice takes effect once.

What lives here: the port, its values and its laws; tests/contract/inbox_contract.py is their suite. What must not:
anything of a driver, and anything about records of the log.

- An *entry* is the reply to one direction (forward or undo) of one effect key, stored in one transaction with the
  effects of the handler that gave it. Only what took effect is stored: a ``Rejected`` or a failure leaves no entry.
- A second forward or undo finds its entry and gets the stored reply; its own effects are dropped.
- An undo's entry shuts the door on a forward that comes later (the participant fence), whether or not there was one.
- Entries are kept as long as their effect key can come again: as long as its instance lives, which nobody here knows.
  Another life of the same key has other effect keys, so an entry is never in the way.
- Forward and undo that race are settled by the store, not by their times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

__all__ = ["Applied", "Effect", "Found", "Inbox", "SqlValue", "Statement", "Verdict"]

SqlValue = str | int | float | bytes | None
Statement = tuple[str, tuple[SqlValue, ...]]
"""One SQL statement and its positional parameters."""


class Found(NamedTuple):
    """The stored replies (JSON) of an effect key; None: that direction has not taken effect."""

    forward: bytes | None = None
    undo: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a handler wants to take effect: its reply (JSON) and its own statements, together or not at all.

    ``forward_seen``: whether the handler knew the forward's entry when it ran. It matters for an undo only, whose
    effects and reply depend on it.
    """

    effect_key: str
    undo: bool
    command_id: str
    reply: bytes
    statements: tuple[Statement, ...] = ()
    forward_seen: bool = False
    at_ms: int


class Verdict(StrEnum):
    """What became of an effect."""

    STORED = "stored"
    """Entry and statements are durable."""
    REPEATED = "repeated"
    """This direction has an entry already; ``Applied.reply`` is what it says. Nothing was applied."""
    FENCED = "fenced"
    """A forward after its undo. Nothing was applied."""
    STALE = "stale"
    """An undo that ran on another knowledge of its forward than is stored now: run it again. Nothing was applied."""
    FAILED = "failed"
    """A statement was refused by the store; ``Applied.error`` says why. Nothing of this effect was applied."""


class Applied(NamedTuple):
    """The verdict on one effect, with the stored reply of REPEATED and the reason of FAILED."""

    verdict: Verdict
    reply: bytes | None = None
    error: str = ""


class Inbox(Protocol):
    """Entries by effect key. Safe for concurrent use by tasks of one event loop and by several processes."""

    async def find(self, effect_keys: Sequence[str]) -> Mapping[str, Found]:
        """What is stored for these effect keys; keys without any entry are left out.

        Raises:
            InboxUnavailable: no answer in time.
        """
        ...

    async def apply(self, effects: Sequence[Effect]) -> Sequence[Applied]:
        """One verdict per effect, in order, each as if applied alone; what is STORED is durable on return.

        Raises:
            InboxUnavailable: the outcome is unknown; applying the same effects again is safe.
        """
        ...

    async def forget(self, now_ms: int, *, limit: int) -> int:
        """Drops up to ``limit`` entries that are older than the inbox's retention; how many it dropped.

        An inbox without a retention keeps everything: an effect key can come again as long as its instance lives.

        Raises:
            InboxUnavailable: no answer in time.
        """
        ...

    async def close(self) -> None:
        """Never raises. Idempotent."""
        ...
