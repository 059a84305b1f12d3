"""The law of schedules: what each has started, against a replay of its history by a calendar of our own."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sagaline.orchestrator.messages.inputs import Start, TimerFired
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.schedules import (
    Backfill,
    DeleteSchedule,
    PauseSchedule,
    Plan,
    PutSchedule,
    ResumeSchedule,
    ScheduleRequest,
    Trigger,
)

from .witness import Decided, Evidence

__all__ = ["scheduled"]


def scheduled(found: Evidence) -> Iterator[str]:
    expected: Counter[str] = Counter()
    for id, history in found.history.items():
        if id.startswith("@schedule/"):
            expected += Counter(_Replay(id).starts(history))
            yield from _twice(id, history)
    messages = [decided.record.message for history in found.history.values() for decided in history]
    came = Counter(message.id for message in messages if isinstance(message, Start) and message.schedule)
    for id in expected | came:
        if came[id] != expected[id]:
            yield f"{id} was started {came[id]} times, and due {expected[id]} times"


def _twice(id: str, history: Sequence[Decided]) -> Iterator[str]:
    """A request that comes again changes nothing: a put does not bring back what was deleted after it."""
    applied = Counter(
        decided.record.message.id
        for decided in history
        if isinstance(decided.record.message, ScheduleRequest) and decided.record.outcome is Outcome.APPLIED
    )
    for request, count in applied.items():
        if count > 1:
            yield f"{id}: request {request} was carried out {count} times"


@dataclass
class _Replay:
    """One schedule: how far it is, and what it should have started."""

    id: str
    plan: Plan | None = None
    paused: bool = False
    through_ms: int = 0
    started: list[str] = field(default_factory=list)

    def starts(self, history: Sequence[Decided]) -> list[str]:
        for decided in history:
            if decided.record.outcome is Outcome.APPLIED:
                self._decided(decided)
        return self.started

    def _decided(self, decided: Decided) -> None:
        now_ms, message = decided.record.at_ms, decided.record.message
        if self.plan is None and not isinstance(message, PutSchedule):
            return  # it is deleted
        match message:
            case PutSchedule(plan=plan):
                is_other = self.plan is None or plan.calendar != self.plan.calendar
                self._advance(now_ms, at_once=is_other)
                if is_other:
                    self.through_ms = max(self.through_ms, now_ms)
                self.plan = plan
            case PauseSchedule():
                self._advance(now_ms, at_once=True)
                self.paused = True
            case ResumeSchedule():
                self.paused, self.through_ms = False, max(self.through_ms, now_ms)
            case Trigger():
                self.started.append(f"{self.id}/{message.id}")
            case Backfill():
                due = self._due(message.from_ms - 1, message.to_ms)
                self.started += [f"{self.id}/{message.id}/{_text(each)}" for each in due]
            case DeleteSchedule():
                self.plan, self.paused = None, False
            case TimerFired():
                self._advance(now_ms)
            case _:
                pass

    def _advance(self, now_ms: int, *, at_once: bool = False) -> None:
        """``at_once``: without the rest of the jitter."""
        if self.plan is None or self.paused:
            return
        due = self._due(self.through_ms, now_ms)
        if not at_once:
            due = [each for each in due if self._leaves_ms(each) <= now_ms]
        for at_ms in due:
            self.through_ms = at_ms
            is_late = now_ms - self._leaves_ms(at_ms) > self.plan.grace_ms
            if self.plan.catch_up == "all" or not is_late or (self.plan.catch_up == "once" and at_ms == due[-1]):
                self.started.append(f"{self.id}/{_text(at_ms)}")

    def _leaves_ms(self, due_ms: int) -> int:
        assert self.plan is not None
        following_ms = self._due(due_ms, due_ms + 366 * 86_400_000)[0]
        drawn = zlib.crc32(f"{self.id.removeprefix('@schedule/')}/{due_ms}".encode())
        return due_ms + drawn % min(self.plan.jitter_ms + 1, following_ms - due_ms)

    def _due(self, after_ms: int, to_ms: int) -> list[int]:
        """The due times of ``s,s,s m h d M *``, a few seconds of one minute in every year."""
        assert self.plan is not None
        seconds, *rest = (self.plan.calendar.cron or "").split()[:-1]
        minute, hour, day, month = map(int, rest)
        first, last = (datetime.fromtimestamp(each / 1_000, UTC).year for each in (after_ms, to_ms))
        found = (
            int(datetime(year, month, day, hour, minute, int(second), tzinfo=UTC).timestamp() * 1_000)
            for year in range(first, last + 1)
            for second in seconds.split(",")
        )
        return sorted(each for each in found if after_ms < each <= to_ms)


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
