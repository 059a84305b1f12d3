"""A record of the history: one decision, with the message that caused it, so that it can be recomputed."""

from __future__ import annotations

from dataclasses import dataclass

from .document import Status
from .inputs import Message
from .outputs import Change, Outcome
from .reasons import ReasonCode

__all__ = ["HistoryRecord", "SentCommand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCommand:
    """A command that the decision has sent."""

    id: str
    contract: str
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One decision. ``revision`` and ``status``: after it; ``status`` None: there is no instance. ``code`` and
    ``reason``: of the decision.

    ``at_ms``: the time of the decision. ``message`` None: it was too large to be kept; ``reason`` says so.
    """

    at_ms: int
    traceparent: str | None = None
    instance: str
    revision: int
    outcome: Outcome
    status: Status | None
    message: Message | None
    changes: tuple[Change, ...] = ()
    sent: tuple[SentCommand, ...] = ()
    code: ReasonCode | None = None
    reason: str = ""
