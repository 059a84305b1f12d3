"""Schedules: what starts when, and the messages to a schedule.

Id: ``@schedule/{name}``. A schedule starts an instance with a ``Start`` that names it, and is told what was decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from ...sagas.calendar import Calendar, at_utc
from ...sagas.schedule import KEY, CatchUp
from .parcels import DUE_MS_MAX
from .reasons import ReasonCode
from .values import JsonObject

__all__ = [
    "SCHEDULE",
    "Backfill",
    "DeleteSchedule",
    "PauseSchedule",
    "Plan",
    "PutSchedule",
    "ResumeSchedule",
    "ScheduleRequest",
    "StartDecided",
    "ToSchedule",
    "Trigger",
    "outcome_of",
    "schedule_id",
    "utc_text",
]

SCHEDULE: Final = "@schedule/"

Millis = Annotated[int, Field(strict=True, ge=0, le=DUE_MS_MAX)]


def schedule_id(name: str) -> str:
    """The entity of a schedule."""
    return f"{SCHEDULE}{name}"


def utc_text(at_ms: int) -> str:
    """A time as a part of a key: ISO 8601 in UTC, with milliseconds only where there are some."""
    spec = "milliseconds" if at_ms % 1000 else "seconds"
    return at_utc(at_ms).isoformat(timespec=spec).replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schedule does, as declared; see ``sagaline.sagas.schedule``. Exactly one of ``definition`` and ``event``.

    ``keep_ms``: of the event. ``due_into``: the field of the input that is set to the due time; empty: none.
    """

    definition: str = ""
    event: str = ""
    keep_ms: Millis = 0
    input: JsonObject
    calendar: Calendar
    key: Annotated[str, Field(min_length=1)] = KEY
    due_into: str = ""
    catch_up: CatchUp = "once"
    grace_ms: Millis = 60_000
    jitter_ms: Millis = 0

    def key_of(self, schedule: str, due: str) -> str:
        """The key of a start. ``due``: the due time, or what stands for it."""
        return self.key.replace("{schedule}", schedule).replace("{due}", due)

    def input_at(self, due_ms: int) -> JsonObject:
        """The input of a due time."""
        return self.input | ({self.due_into: self.calendar.local(due_ms)} if self.due_into else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSchedule:
    """To a schedule: creates it, or replaces its plan. Due times count from now on; a paused one stays paused."""

    id: str
    instance: str
    plan: Plan
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["put_schedule"] = "put_schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseSchedule:
    """To a schedule: what is due now is started or missed, and nothing more until it is resumed."""

    id: str
    instance: str
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["pause_schedule"] = "pause_schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeSchedule:
    """To a schedule: due times count again, from now on."""

    id: str
    instance: str
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["resume_schedule"] = "resume_schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """To a schedule: one start now, paused or not, besides its due times."""

    id: str
    instance: str
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["trigger"] = "trigger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """To a schedule: the starts of all due times from ``from_ms`` to ``to_ms``, both included, in the past."""

    id: str
    instance: str
    from_ms: Millis
    to_ms: Millis
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["backfill"] = "backfill"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSchedule:
    """To a schedule: ends it. What it has started goes on."""

    id: str
    instance: str
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["delete_schedule"] = "delete_schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDecided:
    """To a schedule: what was decided about one of its starts. ``start``: its id. ``code`` None: the instance began."""

    id: str
    instance: str
    start: str
    code: ReasonCode | None = None
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["start_decided"] = "start_decided"


def outcome_of(code: ReasonCode | None) -> Literal["started", "duplicate", "waits", "denied"]:
    """``duplicate``: the instance was there already; ``waits``: it waits for its code to be deployed."""
    if code is None:
        return "started"
    if code is ReasonCode.DUPLICATE:
        return "duplicate"
    return "waits" if code.wants_code else "denied"


ScheduleRequest = PutSchedule | PauseSchedule | ResumeSchedule | Trigger | Backfill | DeleteSchedule
"""What people ask of a schedule; each is answered in the history."""
ToSchedule = ScheduleRequest | StartDecided
