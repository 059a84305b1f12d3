"""A schedule: which due times start something, what people may do with it, and what is shown of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from sagaline.orchestrator.kernel import Limits, decide_entity
from sagaline.orchestrator.kernel.schedule import due_times
from sagaline.orchestrator.messages.entities import Entity, Schedule
from sagaline.orchestrator.messages.entity_messages import Published
from sagaline.orchestrator.messages.inputs import Arrival, Message, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Action, Answer, Outcome, Tell
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.messages.schedules import (
    Backfill,
    DeleteSchedule,
    PauseSchedule,
    Plan,
    PutSchedule,
    ResumeSchedule,
    StartDecided,
    Trigger,
    schedule_id,
    utc_text,
)
from sagaline.orchestrator.ports.topics import INPUTS_RETENTION_MS
from sagaline.sagas.calendar import Calendar

HOUR_MS = 3_600_000
NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
ID = schedule_id("nightly")
HOURLY = Plan(definition="report", input={"n": 1}, calendar=Calendar(every_ms=HOUR_MS))


class Line:
    """One schedule, a clock, and everything that it has sent."""

    def __init__(self, plan: Plan | None = HOURLY, limits: Limits | None = None) -> None:
        self.entity: Entity | None = None
        self.now_ms, self.limits = NOW_MS, limits or Limits()
        self.sent: list[Message] = []
        self._count = 0
        if plan is not None:
            assert self.put(plan).outcome is Outcome.APPLIED

    @property
    def schedule(self) -> Schedule:
        assert isinstance(self.entity, Schedule)
        return self.entity

    def tell(self, message: Message) -> Answer:
        before = self.entity.revision if self.entity else 0
        answer = decide_entity(self.entity, Arrival(message=message, now_ms=self.now_ms), self.limits)
        if answer.entity is self.entity:
            assert answer.outcome is not Outcome.APPLIED
            assert answer.actions == ()
            assert answer.code is not None
        elif answer.entity is not None:
            assert answer.entity.revision == before + 1
        self.entity = answer.entity
        self.sent += told(answer.actions)
        return answer

    def put(self, plan: Plan, id: str = "") -> Answer:
        return self.tell(PutSchedule(id=id or self.fresh(), instance=ID, plan=plan, by="ann", reason="because"))

    def fresh(self) -> str:
        self._count += 1
        return f"r{self._count}"

    def advance(self, to_ms: int) -> None:
        """Time passes with an engine: every timer fires when it is due."""
        while self.entity is not None and self.entity.timers:
            timer, due_ms = min(self.entity.timers.items(), key=lambda each: each[1])
            if due_ms > to_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
            self.fire(timer, due_ms)
        self.now_ms = to_ms

    def outage(self, to_ms: int) -> None:
        """Time passes without an engine; then the timers fire that are due."""
        self.now_ms = to_ms
        while self.entity is not None and any(due <= self.now_ms for due in self.entity.timers.values()):
            self.fire(*min(self.entity.timers.items(), key=lambda each: each[1]))
            self.now_ms += 1

    def fire(self, timer: str, due_ms: int) -> Answer:
        answer = self.tell(TimerFired(id=f"{timer}/{due_ms}", instance=ID, timer=timer, due_ms=due_ms))
        assert answer.outcome is Outcome.APPLIED
        return answer

    @property
    def keys(self) -> list[str]:
        return [message.key for message in self.sent if isinstance(message, Start | Published)]


def told(actions: tuple[Action, ...]) -> list[Message]:
    assert all(isinstance(each, Tell) for each in actions)
    return [each.message for each in actions if isinstance(each, Tell)]


def keys(*hours: int) -> list[str]:
    return [f"nightly-{utc_text(NOW_MS + hour * HOUR_MS)}" for hour in hours]


def test_each_due_time_starts_one_instance_that_is_named_by_it() -> None:
    line = Line()
    line.advance(NOW_MS + 3 * HOUR_MS)
    assert line.keys == keys(1, 2, 3)
    assert line.keys[0] == "nightly-2026-01-01T01:00:00Z"
    first = line.sent[0]
    assert first == Start(
        id=f"{ID}/2026-01-01T01:00:00Z", definition="report", key=line.keys[0], input={"n": 1}, schedule=ID
    )
    assert (line.schedule.started, line.schedule.missed) == (3, 0)
    assert line.schedule.through_ms == NOW_MS + 3 * HOUR_MS
    assert line.schedule.timers == {"due": NOW_MS + 4 * HOUR_MS}


def test_the_due_time_goes_into_the_declared_field_in_the_zone() -> None:
    calendar = Calendar(cron="0 9 * * *", zone="Europe/Berlin")
    line = Line(replace(HOURLY, calendar=calendar, due_into="day", key="{due}/{schedule}"))
    line.advance(NOW_MS + 24 * HOUR_MS)
    (start,) = line.sent
    assert isinstance(start, Start)
    assert start.input == {"n": 1, "day": "2026-01-01T09:00:00+01:00"}
    assert start.key == "2026-01-01T08:00:00Z/nightly"


def test_an_event_is_published_with_an_id_of_its_due_time() -> None:
    line = Line(replace(HOURLY, definition="", event="day-opens", keep_ms=5))
    line.advance(NOW_MS + HOUR_MS)
    (event,) = line.sent
    key = keys(1)[0]
    assert event == Published(
        id=f"{ID}/2026-01-01T01:00:00Z",
        instance=f"@mailbox/day-opens/{key}",
        event="day-opens",
        key=key,
        body={"n": 1},
        keep_ms=5,
    )
    assert line.schedule.recent[0].decided


def test_a_clock_that_is_set_back_repeats_no_due_time() -> None:
    line = Line()
    line.advance(NOW_MS + 2 * HOUR_MS)
    line.now_ms = NOW_MS
    line.tell(PauseSchedule(id="p", instance=ID))
    line.tell(ResumeSchedule(id="r", instance=ID))
    line.put(replace(HOURLY, calendar=Calendar(every_ms=HOUR_MS // 2)))
    line.advance(NOW_MS + 2 * HOUR_MS + HOUR_MS // 2)
    assert line.keys == [*keys(1, 2), "nightly-2026-01-01T02:30:00Z"]


@pytest.mark.parametrize(
    ("policy", "late_ms", "hours", "missed"),
    [
        ("skip", 30_000, (5,), 4),
        ("skip", 600_000, (), 5),
        ("once", 30_000, (5,), 4),
        ("once", 600_000, (5,), 4),
        ("all", 600_000, (1, 2, 3, 4, 5), 0),
    ],
)
def test_an_outage_is_caught_up_with_by_policy(policy: str, late_ms: int, hours: tuple[int, ...], missed: int) -> None:
    line = Line(replace(HOURLY, catch_up=policy))  # type: ignore[arg-type]  # one of the three
    line.outage(NOW_MS + 5 * HOUR_MS + late_ms)
    assert line.keys == keys(*hours)
    assert line.schedule.missed == missed
    line.advance(NOW_MS + 6 * HOUR_MS)
    assert line.keys == keys(*hours, 6)


def test_a_long_outage_is_caught_up_with_in_limited_decisions() -> None:
    """2,500 due times: all are started in order, or all but the newest are missed."""
    for policy, started in (("all", 2_500), ("once", 1)):
        line = Line(replace(HOURLY, catch_up=policy))  # type: ignore[arg-type]  # one of the three
        revision = line.schedule.revision
        line.outage(NOW_MS + 2_500 * HOUR_MS + 600_000)
        assert (line.schedule.started, line.schedule.missed) == (started, 2_500 - started)
        assert line.keys == keys(*range(2_501 - started, 2_501))
        assert line.schedule.revision - revision == (25 if policy == "all" else 3)
        assert len(line.schedule.recent) == min(10, started)


def test_large_inputs_make_smaller_decisions() -> None:
    line = Line(replace(HOURLY, catch_up="all", input={"text": "x" * 400}), Limits(document_bytes=1_000))
    line.now_ms = NOW_MS + 5 * HOUR_MS
    line.fire("due", NOW_MS + HOUR_MS)
    assert line.keys == keys(1, 2)
    assert line.schedule.timers == {"due": line.now_ms + 1}


def test_jitter_delays_each_start_by_the_same_amount_every_time() -> None:
    plan = replace(HOURLY, jitter_ms=600_000)
    line, again = Line(plan), Line(plan)
    line.advance(NOW_MS + 200 * HOUR_MS)
    again.advance(NOW_MS + 200 * HOUR_MS)
    delays = [each.at_ms - each.due_ms for each in line.schedule.recent]
    assert line.schedule.recent == again.schedule.recent
    assert len(set(delays)) == 10
    assert all(0 <= delay <= 600_000 for delay in delays)
    assert line.keys == keys(*range(1, len(line.keys) + 1))


def test_jitter_ends_before_the_next_due_time_so_an_engine_that_is_up_misses_none() -> None:
    for calendar in (Calendar(every_ms=HOUR_MS), Calendar(cron="0,1 * * * *")):
        line = Line(replace(HOURLY, calendar=calendar, jitter_ms=3 * HOUR_MS, catch_up="skip", grace_ms=0))
        line.advance(NOW_MS + 100 * HOUR_MS - 1)
        due = [f"nightly-{utc_text(each)}" for each in islice(calendar.after(NOW_MS), len(line.keys))]
        assert line.keys == due
        assert line.schedule.through_ms >= NOW_MS + 98 * HOUR_MS
        assert line.schedule.missed == 0


def test_due_times_of_a_pause_start_nothing_and_those_before_it_are_decided() -> None:
    line = Line()
    line.now_ms = NOW_MS + HOUR_MS + 5
    line.tell(PauseSchedule(id="p", instance=ID))
    assert line.keys == keys(1)
    assert line.schedule.timers == {}
    line.now_ms = NOW_MS + 4 * HOUR_MS
    assert line.tell(PauseSchedule(id="p2", instance=ID)).code is ReasonCode.NOTHING_TO_CHANGE
    assert list(due_times(line.schedule, line.now_ms)) == []
    line.tell(ResumeSchedule(id="r", instance=ID))
    assert line.tell(ResumeSchedule(id="r2", instance=ID)).code is ReasonCode.NOTHING_TO_CHANGE
    line.advance(NOW_MS + 5 * HOUR_MS)
    assert line.keys == keys(1, 5)


@pytest.mark.parametrize("change", ["pause", "calendar"])
def test_what_is_due_leaves_before_a_change_without_the_rest_of_its_jitter(change: str) -> None:
    line = Line(replace(HOURLY, jitter_ms=HOUR_MS // 2, catch_up="skip"))
    due_ms, leaves_ms = NOW_MS + HOUR_MS, line.schedule.timers["due"]
    line.now_ms = due_ms + (leaves_ms - due_ms) // 2
    assert due_ms < line.now_ms < leaves_ms
    if change == "pause":
        line.tell(PauseSchedule(id="p", instance=ID))
        line.now_ms += 1_000
        line.tell(ResumeSchedule(id="r", instance=ID))
    else:
        line.put(replace(HOURLY, calendar=Calendar(every_ms=2 * HOUR_MS)))
    assert line.keys == keys(1)
    line.advance(NOW_MS + 2 * HOUR_MS + HOUR_MS // 2)
    assert line.keys == keys(1, 2)
    assert line.schedule.missed == 0


@pytest.mark.parametrize(("policy", "started"), [("all", 2_500), ("once", 1)])
def test_a_backlog_is_decided_before_a_pause_ends_or_another_calendar_counts(policy: str, started: int) -> None:
    line = Line(replace(HOURLY, catch_up=policy))  # type: ignore[arg-type]  # one of the three
    line.now_ms = NOW_MS + 2_500 * HOUR_MS + 600_000
    other = replace(line.schedule.plan, calendar=Calendar(every_ms=2 * HOUR_MS))
    assert "ask again in a few seconds" in line.put(other).reason
    line.tell(PauseSchedule(id="p", instance=ID))
    for answer in (line.tell(ResumeSchedule(id="r", instance=ID)), line.put(other)):
        assert (answer.outcome, answer.code) == (Outcome.DENIED, ReasonCode.WRONG_STATUS)
        assert "still being decided" in answer.reason
    line.outage(line.now_ms + 2 * HOUR_MS)
    assert (line.schedule.started, line.schedule.missed) == (started, 2_500 - started)
    assert line.schedule.timers == {}
    assert line.tell(ResumeSchedule(id="r", instance=ID)).outcome is Outcome.APPLIED
    line.advance(NOW_MS + 2_503 * HOUR_MS)
    assert line.keys == keys(*range(2_501 - started, 2_501), 2_503)


def test_a_trigger_starts_one_instance_now_and_once_per_request() -> None:
    line = Line(replace(HOURLY, due_into="due"))
    line.tell(PauseSchedule(id="p", instance=ID))
    for _ in range(2):
        line.tell(Trigger(id="t-1", instance=ID, by="ann"))
    assert line.tell(Trigger(id="t-1", instance=ID)).code is ReasonCode.DUPLICATE
    line.tell(Trigger(id="t-2", instance=ID, by="bob", reason="again"))
    first, second = line.sent
    assert isinstance(first, Start)
    assert isinstance(second, Start)
    assert first.key != second.key
    assert first.key.startswith("nightly-now-")
    assert first.input["due"] == "2026-01-01T00:00:00Z"
    assert (line.schedule.changed_by, line.schedule.reason) == ("bob", "again")


def test_a_backfill_starts_every_due_time_of_a_past_period() -> None:
    line = Line(limits=Limits(document_bytes=16))
    line.now_ms = NOW_MS + 10
    assert (
        line.tell(Backfill(id="b", instance=ID, from_ms=NOW_MS - 4 * HOUR_MS, to_ms=NOW_MS)).outcome is Outcome.APPLIED
    )
    assert line.keys == keys(-4, -3)
    assert line.tell(Backfill(id="c", instance=ID, from_ms=0, to_ms=1)).code is ReasonCode.WRONG_STATUS
    assert line.put(replace(HOURLY, input={})).code is ReasonCode.WRONG_STATUS
    assert (
        line.tell(Backfill(id="b", instance=ID, from_ms=NOW_MS - 4 * HOUR_MS, to_ms=NOW_MS)).code
        is ReasonCode.DUPLICATE
    )
    line.advance(NOW_MS + HOUR_MS)
    assert line.keys == keys(-4, -3, -2, -1, 0, 1)
    assert line.schedule.backfill is None
    assert line.schedule.timers == {"due": NOW_MS + 2 * HOUR_MS}
    ids = [message.id for message in line.sent]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "part"),
    [
        (NOW_MS, NOW_MS + 1, "in the past"),
        (NOW_MS - 1, NOW_MS - 2, "in the past"),
        (NOW_MS - 1_001 * HOUR_MS, NOW_MS, "more than 1,000"),
        (NOW_MS + 1 - HOUR_MS, NOW_MS - 1, "no due time"),
    ],
)
def test_a_backfill_that_cannot_be_done_says_why(from_ms: int, to_ms: int, part: str) -> None:
    line = Line()
    answer = line.tell(Backfill(id="b", instance=ID, from_ms=from_ms, to_ms=to_ms))
    assert part in answer.reason
    assert line.sent == []


def test_what_was_decided_about_a_start_is_shown() -> None:
    line = Line()
    line.advance(NOW_MS + 3 * HOUR_MS)
    ids = [message.id for message in line.sent]
    outcomes = (None, ReasonCode.INVALID, ReasonCode.CODE_NOT_DEPLOYED)
    for id, code in zip(ids, outcomes, strict=True):
        line.tell(StartDecided(id=f"{id}/decided", instance=ID, start=id, code=code, reason="why"))
    assert [(each.decided, each.code) for each in line.schedule.recent] == [(True, code) for code in outcomes]
    assert line.schedule.denied == 1
    line.tell(StartDecided(id="x", instance=ID, start=ids[0], code=ReasonCode.DUPLICATE))
    assert line.schedule.denied == 1


def test_a_new_plan_counts_from_now_and_the_same_plan_changes_nothing() -> None:
    line = Line()
    assert line.put(HOURLY).code is ReasonCode.NOTHING_TO_CHANGE
    line.now_ms = NOW_MS + HOUR_MS + 60_000
    other = replace(HOURLY, calendar=Calendar(cron="30 * * * *"), input={"n": 2})
    line.put(other)
    assert line.keys == keys(1)  # it was due before the change
    line.advance(NOW_MS + 2 * HOUR_MS)
    assert line.keys == [*keys(1), "nightly-2026-01-01T01:30:00Z"]
    assert line.put(HOURLY, id="r1").code is ReasonCode.DUPLICATE  # an old request comes again
    assert line.schedule.plan == other


def test_a_paused_schedule_stays_paused_when_it_is_put() -> None:
    line = Line()
    line.tell(PauseSchedule(id="p", instance=ID))
    line.put(replace(HOURLY, input={}))
    assert line.schedule.paused
    assert line.schedule.timers == {}


def test_a_deleted_schedule_starts_nothing_and_can_be_put_again() -> None:
    line = Line()
    line.advance(NOW_MS + HOUR_MS)
    assert line.tell(DeleteSchedule(id="d", instance=ID, by="ann", reason="old")).outcome is Outcome.APPLIED
    for request in (
        PauseSchedule(id="x", instance=ID),
        ResumeSchedule(id="x", instance=ID),
        Trigger(id="x", instance=ID),
        Backfill(id="x", instance=ID, from_ms=0, to_ms=1),
        DeleteSchedule(id="x", instance=ID),
    ):
        answer = line.tell(request)
        assert (answer.outcome, answer.code) == (Outcome.DENIED, ReasonCode.NO_SUCH_INSTANCE)
    late = StartDecided(id="x", instance=ID, start="s")
    assert line.tell(late).outcome is Outcome.IGNORED
    line.put(HOURLY)
    line.advance(NOW_MS + 2 * HOUR_MS)
    assert line.keys == keys(1, 2)


def test_a_request_from_before_a_delete_changes_nothing_when_it_comes_again() -> None:
    """Neither the put, which would bring the schedule back, nor the delete, which would end the one put after it."""
    line = Line(plan=None)
    line.put(HOURLY, id="p")
    line.tell(DeleteSchedule(id="d", instance=ID))
    again = line.put(HOURLY, id="p")
    assert (again.outcome, again.code) == (Outcome.UNCHANGED, ReasonCode.DUPLICATE)
    line.now_ms += HOUR_MS
    line.put(HOURLY, id="q")
    again = line.tell(DeleteSchedule(id="d", instance=ID))
    assert (again.outcome, again.code) == (Outcome.UNCHANGED, ReasonCode.DUPLICATE)
    line.advance(NOW_MS + 2 * HOUR_MS)
    assert line.keys == keys(2)


def test_a_schedule_put_after_a_delete_repeats_no_due_time_although_the_clock_was_set_back() -> None:
    line = Line()
    line.advance(NOW_MS + HOUR_MS)
    line.tell(DeleteSchedule(id="d", instance=ID))
    line.now_ms = NOW_MS + 1
    line.put(HOURLY)
    line.advance(NOW_MS + 2 * HOUR_MS)
    assert line.keys == keys(1, 2)


def test_the_mark_of_a_deleted_schedule_is_kept_as_long_as_its_requests() -> None:
    line = Line()
    line.tell(DeleteSchedule(id="d", instance=ID))
    assert Limits().deleted_retention_ms == INPUTS_RETENTION_MS
    line.advance(NOW_MS + INPUTS_RETENTION_MS - 1)
    assert line.entity is not None
    line.advance(NOW_MS + INPUTS_RETENTION_MS)
    assert line.entity is None


@pytest.mark.parametrize(
    ("plan", "part"),
    [
        (replace(HOURLY, event="also"), "either a definition to start or an event"),
        (replace(HOURLY, definition=""), "either a definition to start or an event"),
        (replace(HOURLY, definition="Not a name"), "not the name of a definition"),
        (replace(HOURLY, calendar=Calendar(cron="x")), "give five"),
        (replace(HOURLY, key="{schedule}\n{due}"), "control character"),
        (replace(HOURLY, key="x" * 300), "give 1 to 256"),
        (replace(HOURLY, input={"text": "x" * 300_000}), "send a reference"),
    ],
)
def test_a_plan_that_can_never_work_is_denied(plan: Plan, part: str) -> None:
    line = Line(None)
    answer = line.put(plan)
    assert (answer.outcome, answer.code) == (Outcome.DENIED, ReasonCode.INVALID)
    assert part in answer.reason
    assert line.entity is None


def test_a_name_that_is_none_is_denied() -> None:
    answer = Line(None).tell(PutSchedule(id="x", instance="@schedule/a/b", plan=HOURLY))
    assert "the schedule's name is 'a/b'" in answer.reason


def test_a_zone_that_is_not_known_here_waits_and_is_looked_at_again() -> None:
    """A process with older data of time zones than the one that has accepted the plan."""
    line = Line(replace(HOURLY, catch_up="all"))
    unknown = replace(HOURLY, catch_up="all", calendar=Calendar(cron="0 * * * *", zone="Mars/Olympus"))
    line.entity = replace(line.schedule, plan=unknown)
    line.advance(NOW_MS + HOUR_MS)
    assert "there is no time zone 'Mars/Olympus'" in line.schedule.wrong
    assert line.schedule.timers == {"due": NOW_MS + 2 * HOUR_MS}
    assert line.sent == []
    line.entity = replace(line.schedule, plan=replace(unknown, calendar=Calendar(cron="0 * * * *")))
    line.advance(NOW_MS + 2 * HOUR_MS)
    assert line.schedule.wrong == ""
    assert line.keys == keys(1, 2)


def test_a_timer_that_is_not_set_is_ignored() -> None:
    line = Line()
    answer = line.tell(TimerFired(id="t", instance=ID, timer="due", due_ms=NOW_MS))
    assert (answer.outcome, answer.code) == (Outcome.IGNORED, ReasonCode.STALE)


def test_the_next_due_times_begin_after_what_is_decided() -> None:
    line = Line()
    line.advance(NOW_MS + 2 * HOUR_MS)
    for now_ms in (NOW_MS, line.now_ms):
        assert list(islice(due_times(line.schedule, now_ms), 2)) == [NOW_MS + 3 * HOUR_MS, NOW_MS + 4 * HOUR_MS]
