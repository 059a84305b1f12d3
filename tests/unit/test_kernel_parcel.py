"""A parcel: what it forwards and when, what people may do with it, and what it never loses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sagaline.orchestrator.kernel import Limits, decide_entity
from sagaline.orchestrator.messages.entities import Entity, Mailbox, Parcel, ParcelStatus, Route
from sagaline.orchestrator.messages.inputs import Arrival, Message, TimerFired
from sagaline.orchestrator.messages.outputs import Action, Answer, DeadLetter, Forward, Outcome
from sagaline.orchestrator.messages.parcels import (
    Discard,
    Edit,
    Handled,
    Letter,
    ParcelRequest,
    Posted,
    Redrive,
    Reschedule,
    RetryPolicy,
    Skip,
    Source,
    delayed_id,
    parcel_id,
    parked_letter,
    to_base64,
)
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.sagas.policy import spread_ms

NOW_MS, DAY_MS = 1_000_000, 86_400_000
KEY, LATER = parcel_id("billing", b"A-1"), delayed_id("m-1")
RETRY = RetryPolicy(max_attempts=3, first_ms=1_000, factor=2.0, most_ms=60_000)
MAIL = Letter(id="m-1", topic="mail", partition=2, key=to_base64(b"k"), value=to_base64(b"v"), headers=(("a", "Yg=="),))
FORWARDED = Forward(topic="mail", partition=2, key=b"k", value=b"v", headers=(("a", b"b"),))


def post(offset: int, *, error: str | None = None, partition: int = 0, value: bytes = b"v", **fields: object) -> Posted:
    source = Source(topic="shop", partition=partition, offset=offset)
    posted = Posted(
        id=f"p{offset}",
        instance=KEY,
        letter=parked_letter("billing", source, b"A-1", value, (("a", b"b"),)),
        group="billing",
        redeliver_to="again",
        redeliver_partition=partition,
        retry=RETRY,
        error=error,
        attempts=0 if error is None else 1,
    )
    return replace(posted, **fields)  # type: ignore[arg-type]  # names of fields, as the caller writes them


def outcome(offset: int, attempt: int, *, ok: bool = True, poison: bool = False, **at: Any) -> Handled:
    source = replace(Source(topic="shop", partition=0, offset=offset), **at)
    return Handled(id="h", instance=KEY, source=source, attempt=attempt, ok=ok, error="" if ok else "x", poison=poison)


class Line:
    """One parcel to which one message after the other comes."""

    def __init__(self, *messages: Message, limits: Limits | None = None) -> None:
        self.entity: Entity | None = None
        self.limits = limits or Limits()
        self.now_ms = NOW_MS
        self.answer: Answer | None = None
        for message in messages:
            self.take(message)

    def take(self, message: Message) -> tuple[Action, ...]:
        self.answer = decide_entity(self.entity, Arrival(message=message, now_ms=self.now_ms), self.limits)
        self.entity = self.answer.entity
        return self.answer.actions

    def due(self) -> tuple[Action, ...]:
        """The only timer fires at its time."""
        ((timer, due_ms),) = self.parcel.timers.items()
        self.now_ms = due_ms
        return self.take(TimerFired(id="t", instance=self.parcel.id, timer=timer, due_ms=due_ms))

    def denied(self, message: ParcelRequest) -> tuple[ReasonCode | None, str]:
        before = self.entity
        assert self.take(message) == ()
        assert self.answer is not None
        assert (self.answer.outcome, self.entity) == (Outcome.DENIED, before)
        return self.answer.code, self.answer.reason

    @property
    def parcel(self) -> Parcel:
        assert isinstance(self.entity, Parcel)
        return self.entity

    @property
    def offsets(self) -> list[int]:
        return [letter.source.offset for letter in self.parcel.letters if letter.source is not None]


def delayed(value: str, due_ms: int) -> Posted:
    letter = Letter(id="d", topic="shop", key="QQ==", value=to_base64(value.encode()))
    return Posted(id=value, instance="@parcel/d", letter=letter, due_ms=due_ms, newest=True)


def test_the_newest_delayed_message_takes_the_place_of_the_one_that_waits() -> None:
    line = Line(delayed("old", NOW_MS + 10), delayed("new", NOW_MS + 20), limits=Limits(document_bytes=600))
    assert (line.parcel.revision, line.parcel.timers) == (2, {"due": NOW_MS + 20})
    assert [type(each) for each in line.take(delayed("x" * 600, NOW_MS + 30))] == [DeadLetter]
    (sent,) = line.due()
    assert isinstance(sent, Forward)
    assert sent.value == b"new"


def redelivered(offset: int, attempt: int, *, partition: int = 0, value: bytes = b"v") -> Forward:
    headers = (
        ("a", b"b"),
        ("sagaline-parcel", KEY.encode()),
        ("sagaline-source", b"shop/%d/%d" % (partition, offset)),
        ("sagaline-attempt", b"%d" % attempt),
    )
    return Forward(topic="again", partition=partition, key=b"A-1", value=value, headers=headers)


def release(last: int, partition: int = 0) -> Forward:
    headers = (("sagaline-parcel", KEY.encode()), ("sagaline-release", b"%d" % last))
    return Forward(topic="again", partition=partition, key=b"A-1", value=None, headers=headers)


def in_ms(delay_ms: int, attempts: int) -> int:
    return delay_ms - spread_ms(delay_ms, f"{KEY}/{attempts}")


# A delayed message


def delay(due_ms: int = NOW_MS + 5_000) -> Posted:
    return Posted(id="p", instance=LATER, letter=MAIL, due_ms=due_ms)


def test_a_delayed_message_is_forwarded_when_its_time_has_come_and_leaves_nothing() -> None:
    line = Line(delay())
    assert (line.parcel.status, line.parcel.timers) == (ParcelStatus.DELAYED, {"due": NOW_MS + 5_000})
    assert line.due() == (FORWARDED,)
    assert line.entity is None


@pytest.mark.parametrize("due_ms", [0, NOW_MS])
def test_a_time_in_the_past_forwards_at_once(due_ms: int) -> None:
    line = Line()
    assert line.take(delay(due_ms)) == (FORWARDED,)
    assert line.entity is None


def test_a_message_that_is_delayed_already_is_not_delayed_twice() -> None:
    line = Line(delay())
    assert line.take(delay(NOW_MS + 9)) == ()
    assert line.parcel.timers == {"due": NOW_MS + 5_000}


def test_a_message_too_large_to_wait_is_a_dead_letter() -> None:
    line = Line(limits=Limits(document_bytes=300))
    (dead,) = line.take(delay())
    assert isinstance(dead, DeadLetter)
    assert "the limit is 300" in dead.reason
    assert line.entity is None


def test_a_timer_fires_neither_early_nor_twice() -> None:
    line = Line(delay())
    for due_ms in (NOW_MS + 5_000, NOW_MS):
        assert line.take(TimerFired(id="t", instance=LATER, timer="due", due_ms=due_ms)) == ()
    assert line.parcel.status is ParcelStatus.DELAYED


def test_a_delayed_message_is_rescheduled_and_cancelled() -> None:
    line = Line(delay(), Reschedule(id="r", instance=LATER, due_ms=NOW_MS + 60_000))
    assert line.parcel.timers == {"due": NOW_MS + 60_000}
    assert line.take(Discard(id="d", instance=LATER, by="ann")) == ()
    assert line.entity is None
    assert line.answer is not None
    assert line.answer.outcome is Outcome.APPLIED


def test_a_message_that_is_rescheduled_into_the_past_is_forwarded() -> None:
    line = Line(delay())
    assert line.take(Reschedule(id="r", instance=LATER, due_ms=NOW_MS)) == (FORWARDED,)
    assert line.entity is None


def test_a_delayed_message_is_edited() -> None:
    line = Line(delay(), Edit(id="e", instance=LATER, letter="m-1", value="bmV3", headers=()))
    assert line.due() == (replace(FORWARDED, value=b"new", headers=()),)


# The messages of a key


def test_a_failed_message_is_redelivered_after_its_backoff_and_the_key_released() -> None:
    line = Line(post(5, error="boom", detail="line 7"))
    assert line.parcel.timers == {"retry": NOW_MS + in_ms(1_000, 1)}
    assert (line.parcel.error, line.parcel.detail, line.parcel.failed_ms) == ("boom", "line 7", NOW_MS)
    assert line.due() == (redelivered(5, 2),)
    assert line.parcel.timers == {}
    assert line.take(outcome(5, 2)) == (release(5),)
    assert (line.parcel.status, line.parcel.letters) == (ParcelStatus.RELEASED, ())


def test_the_messages_that_follow_are_delivered_one_at_a_time_in_order() -> None:
    line = Line(post(5, error="boom"), post(6), post(9))
    assert line.offsets == [5, 6, 9]
    assert line.due() == (redelivered(5, 2),)
    assert line.take(outcome(5, 2)) == (redelivered(6, 1),)
    assert line.take(outcome(6, 1)) == (redelivered(9, 1),)
    assert line.take(outcome(9, 1)) == (release(9),)


def test_a_follower_of_a_key_whose_release_is_under_way_is_delivered_at_once() -> None:
    line = Line(post(5, error="boom"))
    line.due()
    line.take(outcome(5, 2))
    assert line.take(post(6)) == (redelivered(6, 1),)


def test_backoff_grows_until_the_attempts_are_used_up_and_the_key_is_parked() -> None:
    line = Line(post(5, error="boom"), post(6))
    line.due()
    line.take(outcome(5, 2, ok=False))
    assert line.parcel.timers == {"retry": line.now_ms + in_ms(2_000, 2)}
    assert line.due() == (redelivered(5, 3),)
    assert line.take(outcome(5, 3, ok=False)) == ()
    assert (line.parcel.status, line.parcel.timers, line.offsets) == (ParcelStatus.PARKED, {}, [5, 6])


def test_poison_is_parked_at_once() -> None:
    assert Line(post(5, error="killed", park=True)).parcel.status is ParcelStatus.PARKED
    assert Line(post(5, park=True)).parcel.status is ParcelStatus.PARKED
    line = Line(post(5, error="boom"))
    line.due()
    line.take(outcome(5, 2, ok=False, poison=True))
    assert line.parcel.status is ParcelStatus.PARKED


@pytest.mark.parametrize(
    "stale", [outcome(5, 1), outcome(5, 3), outcome(6, 2), outcome(5, 2, topic="returns"), outcome(5, 2, partition=1)]
)
def test_an_outcome_of_another_delivery_changes_nothing(stale: Handled) -> None:
    line = Line(post(5, error="boom"))
    line.due()
    before = line.entity
    assert line.take(stale) == ()
    assert line.entity is before
    assert line.answer is not None
    assert (line.answer.outcome, line.answer.code) == (Outcome.IGNORED, ReasonCode.STALE)


def test_an_outcome_before_or_after_the_parcel_changes_nothing() -> None:
    line = Line()
    assert line.take(outcome(5, 2)) == ()
    assert line.entity is None
    line = Line(post(5, error="boom"))
    assert line.take(outcome(5, 2)) == ()


@pytest.mark.parametrize("again", [post(5, error="boom"), post(5), post(6)])
def test_a_letter_that_the_parcel_has_had_is_dropped(again: Posted) -> None:
    line = Line(post(5, error="boom"), post(6))
    before = line.entity
    assert line.take(again) == ()
    assert line.entity is before


def test_an_empty_parcel_answers_such_a_letter_with_its_release_again() -> None:
    """The owner of the partition crashed, and may not have seen the first."""
    line = Line(post(5, error="boom"), post(6))
    line.due()
    line.take(outcome(5, 2))
    line.take(outcome(6, 1))
    before = line.entity
    assert line.take(post(5)) == (release(6),)
    assert line.entity is before


def test_a_message_that_fails_again_after_its_group_was_set_back_is_retried_again() -> None:
    """Otherwise it would be lost: its owner has handed it over."""
    line = Line(post(5, error="boom"), post(6))
    line.due()
    line.take(outcome(5, 2))
    line.take(outcome(6, 1))
    line.take(post(5, error="boom"))
    assert line.offsets == [5]
    assert line.due() == (redelivered(5, 2),)
    assert line.take(outcome(5, 2)) == (release(5),)


def test_an_empty_parcel_is_forgotten_once_no_duplicate_can_come() -> None:
    line = Line(post(5, error="boom"))
    line.due()
    line.take(outcome(5, 2))
    assert line.parcel.timers == {"expiry": line.now_ms + 7 * DAY_MS}
    assert line.due() == ()
    assert line.entity is None
    assert line.take(post(6)) == (redelivered(6, 1),)


def test_each_partition_that_has_posted_is_released_up_to_its_own_offset() -> None:
    """Of a key that moved when its topic grew, or of a group that reads several topics."""
    line = Line(post(50, error="boom"), post(3, partition=4))
    line.due()
    assert line.take(outcome(50, 2)) == (redelivered(3, 1, partition=4),)
    assert line.take(outcome(3, 1, partition=4)) == (release(50), release(3, 4))
    assert [route.last for route in line.parcel.routes] == [50, 3]


def test_a_letter_beyond_the_limit_becomes_a_dead_letter_and_is_released_with_the_others() -> None:
    line = Line(post(5, error="boom"), limits=Limits(letters_max=2))
    assert line.take(post(6)) == ()
    (dead,) = line.take(post(7))
    assert isinstance(dead, DeadLetter)
    assert (dead.letter, dead.reason.partition(" wait")[0]) == (post(7).letter, "2 letters of this key")
    assert line.offsets == [5, 6]
    line.due()
    line.take(outcome(5, 2))
    assert line.take(outcome(6, 1)) == (release(7),)


def test_a_first_letter_too_large_becomes_a_dead_letter_and_its_key_is_free() -> None:
    line = Line(limits=Limits(document_bytes=1_000))
    dead, freed = line.take(post(5, error="boom", value=b"x" * 2_000))
    assert isinstance(dead, DeadLetter)
    assert dead.letter is not None
    assert freed == release(5)
    assert line.parcel.status is ParcelStatus.RELEASED


def test_our_headers_of_an_earlier_delivery_are_replaced() -> None:
    source = Source(topic="shop", partition=0, offset=5)
    old = (
        ("sagaline-attempt", b"9"),
        ("a", b"b"),
        ("sagaline-timestamp", b"1"),
        ("sagaline-parcel", b"other"),
        ("sagaline-release", b"1"),
    )
    line = Line(post(5, error="boom", letter=parked_letter("billing", source, b"A-1", b"v", old)))
    assert line.due() == (redelivered(5, 2),)


# What people do


def parked(*, followers: int = 1) -> Line:
    return Line(post(5, error="boom", park=True), *(post(6 + number) for number in range(followers)))


def test_a_parked_key_is_redriven_with_all_its_attempts() -> None:
    line = parked()
    assert line.take(Redrive(id="r", instance=KEY, by="ann")) == (redelivered(5, 2),)
    for attempt in (2, 3):
        line.take(outcome(5, attempt, ok=False))
        assert line.parcel.status is ParcelStatus.RETRYING
        assert line.due() == (redelivered(5, attempt + 1),)
    line.take(outcome(5, 4, ok=False))
    assert line.parcel.status is ParcelStatus.PARKED


def test_a_redrive_of_a_key_in_backoff_delivers_now_and_an_older_outcome_no_longer_counts() -> None:
    line = Line(post(5, error="boom"))
    assert line.take(Redrive(id="r1", instance=KEY)) == (redelivered(5, 2),)
    assert line.take(Redrive(id="r2", instance=KEY)) == (redelivered(5, 3),)
    assert line.take(outcome(5, 2)) == ()
    assert line.take(outcome(5, 3)) == (release(5),)


def test_a_request_is_carried_out_once() -> None:
    line = parked()
    line.take(Redrive(id="r", instance=KEY))
    assert line.take(Redrive(id="r", instance=KEY)) == ()
    assert line.answer is not None
    assert (line.answer.outcome, line.answer.code) == (Outcome.UNCHANGED, ReasonCode.DUPLICATE)


def test_a_skipped_letter_becomes_a_dead_letter_and_the_next_is_delivered() -> None:
    line = Line(post(5, error="boom", detail="line 7", park=True), post(6))
    dead = DeadLetter(reason="skipped by ann: known", letter=line.parcel.letters[0], detail="line 7")
    assert line.take(Skip(id="s", instance=KEY, by="ann", reason="known")) == (dead, redelivered(6, 1))
    last = DeadLetter(reason="skipped", letter=line.parcel.letters[0])
    assert line.take(Skip(id="s2", instance=KEY, letter="billing/shop/0/6")) == (last, release(6))


def test_a_discarded_key_loses_nothing_silently() -> None:
    """The first letter, which has failed, keeps its traceback."""
    line = Line(post(5, error="boom", detail="line 7", park=True), post(6), post(7))
    letters = line.parcel.letters
    actions = line.take(Discard(id="d", instance=KEY, by="ann", reason="test data"))
    details = ("line 7", "", "")
    dead = tuple(
        DeadLetter(reason="discarded by ann: test data", letter=letter, detail=detail)
        for letter, detail in zip(letters, details, strict=True)
    )
    assert actions == (*dead, release(7))
    assert line.parcel.status is ParcelStatus.RELEASED


def test_a_letter_of_a_parked_key_is_edited() -> None:
    line = parked()
    line.take(Edit(id="e", instance=KEY, letter="billing/shop/0/5", value="bmV3"))
    assert line.take(Redrive(id="r", instance=KEY)) == (redelivered(5, 2, value=b"new"),)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (Skip(id="r", instance=KEY, letter="billing/shop/0/6"), ReasonCode.STALE, "first letter is 'billing/shop/0/5'"),
        (Edit(id="r", instance=KEY, letter="billing/shop/0/5"), ReasonCode.INVALID, "give a value, headers or both"),
        (Edit(id="r", instance=KEY, letter="other", value=""), ReasonCode.STALE, "there is no letter 'other' in it"),
        (Reschedule(id="r", instance=KEY, due_ms=1), ReasonCode.WRONG_STATUS, "redrive a key"),
    ],
)
def test_what_a_parked_key_cannot_do_is_denied(message: ParcelRequest, code: ReasonCode, text: str) -> None:
    found, reason = parked().denied(message)
    assert found is code
    assert text in reason


@pytest.mark.parametrize("message", [Redrive(id="r", instance=LATER), Skip(id="r", instance=LATER)])
def test_a_delayed_message_is_neither_redriven_nor_skipped(message: ParcelRequest) -> None:
    code, reason = Line(delay()).denied(message)
    assert code is ReasonCode.WRONG_STATUS
    assert "reschedule or discard it" in reason


def test_a_key_that_is_being_retried_is_not_edited() -> None:
    line = Line(post(5, error="boom"))
    code, reason = line.denied(Edit(id="r", instance=KEY, letter="billing/shop/0/5", value=""))
    assert code is ReasonCode.WRONG_STATUS
    assert "edit it once it is parked" in reason


def test_an_edit_too_large_is_denied() -> None:
    line = Line(post(5, error="boom", park=True), limits=Limits(document_bytes=1_500))
    value = to_base64(b"x" * 2_000)
    code, _ = line.denied(Edit(id="r", instance=KEY, letter="billing/shop/0/5", value=value))
    assert code is ReasonCode.TOO_LARGE


def test_an_empty_or_unknown_parcel_is_said_to_have_nothing() -> None:
    line = Line()
    code, reason = line.denied(Redrive(id="r", instance=KEY))
    assert code is ReasonCode.NO_SUCH_INSTANCE
    assert reason.startswith(f"there is nothing in {KEY}")
    line = parked(followers=0)
    line.take(Discard(id="d", instance=KEY))
    assert line.denied(Skip(id="s", instance=KEY))[0] is ReasonCode.NO_SUCH_INSTANCE


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (Reschedule(id="r", instance=LATER, due_ms=NOW_MS + 5_000), Line(delay())),
        (Edit(id="e", instance=LATER, letter="m-1", value=MAIL.value), Line(delay())),
    ],
)
def test_what_is_so_already_changes_nothing(message: ParcelRequest, line: Line) -> None:
    before = line.entity
    assert line.take(message) == ()
    assert line.answer is not None
    assert (line.answer.code, line.entity) == (ReasonCode.NOTHING_TO_CHANGE, before)


def test_a_message_of_another_kind_is_misdirected() -> None:
    box = Mailbox(id="@mailbox/e/k", event="e", key="k")
    answer = decide_entity(box, Arrival(message=post(5), now_ms=1))
    assert (answer.code, answer.entity) == (ReasonCode.MISDIRECTED, box)
    lost = replace(post(5), letter=replace(MAIL, source=None))
    assert decide_entity(None, Arrival(message=lost, now_ms=1)).code is ReasonCode.MISDIRECTED


def test_a_parcel_counts_its_revisions_and_keeps_its_routes() -> None:
    line = Line(post(5, error="boom"), post(6))
    assert line.parcel.revision == 2
    assert line.parcel.routes == (
        Route(topic="shop", partition=0, redeliver_to="again", redeliver_partition=0, last=6),
    )
