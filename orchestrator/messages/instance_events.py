"""What happened to an instance in one decision, for programs that follow it: a word, and a summary without contents.

``event_type`` is total: every record of the history has one type, or none where nothing happened to an instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .document import Status
from .outputs import Change, Outcome

__all__ = ["EventType", "InstanceEvent", "event_type"]


class EventType(StrEnum):
    """What happened. The status words are those of the status that the instance has entered; ``running`` is the return
    from ``attention``. ``started``: it exists and runs. ``changed``: anything else about it, such as a reply.
    ``denied``: a request was not allowed, nothing changed. ``removed``: its retention is over.
    """

    STARTED = "started"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    ATTENTION = "attention"
    ABANDONED = "abandoned"
    PAUSED = "paused"
    RESUMED = "resumed"
    CHANGED = "changed"
    DENIED = "denied"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEvent:
    """One event: the decision at ``offset`` of ``partition`` of the history. ``at_ms``: the time of the decision.

    ``status`` and ``revision``: after it; ``status`` None: it was removed. ``before``: the status that it has left;
    None: the status is unchanged, or it is new. ``code`` and ``reason``: why, of the decision, the act or the worker's
    reply. ``by``: who sent the act.
    """

    partition: int
    offset: int
    instance: str
    type: EventType
    at_ms: int
    status: Status | None
    before: Status | None
    revision: int
    code: str = ""
    reason: str = ""
    by: str = ""
    traceparent: str | None = None

    @property
    def id(self) -> str:
        """The same on every node and after every restart."""
        return f"{self.partition}-{self.offset}"

    @property
    def definition(self) -> str:
        return self.instance.partition("/")[0]

    @property
    def key(self) -> str:
        return self.instance.partition("/")[2]


def event_type(outcome: Outcome, status: Status | None, changes: Sequence[Change]) -> EventType | None:
    """The type of the event of a decision about an instance; None: nothing happened to one.

    A decision that does several things has the type of its last change of status: an instance that completes at once
    is ``completed``.
    """
    if outcome in (Outcome.IGNORED, Outcome.UNCHANGED):
        return None
    if outcome is Outcome.DENIED:
        return EventType.DENIED if status is not None else None
    if status is None:
        return EventType.REMOVED if outcome is Outcome.APPLIED else None
    moved = [change for change in changes if change.what == "instance"]
    if moved:
        is_new = status is Status.RUNNING and any(change.before is None for change in moved)
        return EventType.STARTED if is_new else EventType(status.value)
    paused = [change.after for change in changes if change.what == "paused"]
    return EventType(paused[-1]) if paused else EventType.CHANGED
