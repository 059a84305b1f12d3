"""A mailbox: an event is brought to everybody who waits, kept for those who come later, and brought to one once."""

from __future__ import annotations

from dataclasses import replace

from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.entities import KeptEvent, Mailbox, Watcher
from sagaline.orchestrator.messages.entity_messages import (
    Acquire,
    Denied,
    EventDelivered,
    Lookup,
    Published,
    Unwatch,
    Watch,
)
from sagaline.orchestrator.messages.inputs import TimerFired
from sagaline.orchestrator.messages.outputs import Answer, DeadLetter, Outcome, Publish, Tell
from sagaline.orchestrator.messages.reasons import ReasonCode

from .kernel_entities import Told, told

ID = "@mailbox/paid/order/7"


def published(id: str = "e1", keep_ms: int = 500) -> Published:
    return Published(
        id=id, instance=ID, event="paid", key="order/7", body={"cents": 5}, keep_ms=keep_ms, traceparent="00-trace"
    )


def watch(by: str, place: str = "wait", index: int = 0) -> Watch:
    return Watch(id=f"w-{by}", instance=ID, by=by, place=place, index=index)


def unwatch(by: str, place: str = "wait", index: int = 0) -> Unwatch:
    return Unwatch(id=f"u-{by}", instance=ID, by=by, place=place, index=index)


def at(by: str, place: str = "wait", index: int = 0) -> Watcher:
    return Watcher(by=by, place=place, index=index)


def kept_by(box: Told) -> list[tuple[str, list[str]]]:
    """The events that are kept, and which places they were brought to."""
    assert isinstance(box.entity, Mailbox)
    return [(each.id, [f"{taker.by} {taker.place}".strip() for taker in each.taken_by]) for each in box.entity.kept]


def came(id: str, to: str, place: str = "wait", index: int = 0, event_id: str = "e1") -> EventDelivered:
    return EventDelivered(
        id=id,
        instance=to,
        place=place,
        index=index,
        event="paid",
        event_id=event_id,
        body={"cents": 5},
        traceparent="00-trace",
    )


def events(answer: Answer) -> list[str]:
    """The ids of the events that it brings."""
    return [each.event_id for each in told(answer) if isinstance(each, EventDelivered)]


def waited_for(*by: str) -> Told:
    box = Told()
    for each in by:
        box.hear(watch(each))
    return box


def test_who_waits_stands_in_the_box() -> None:
    """The event's name ends at the first slash after it; the key is the rest."""
    answer = Told().hear(watch("s/1", "until", 2))
    box = Mailbox(id=ID, event="paid", key="order/7", revision=1, watchers=(Watcher(by="s/1", place="until", index=2),))
    assert answer == Answer(entity=box, outcome=Outcome.APPLIED)


def test_an_event_that_nobody_waits_for_makes_a_mailbox() -> None:
    box = Told()
    box.hear(published(), now_ms=2_000)
    kept = KeptEvent(id="e1", body={"cents": 5}, until_ms=2_500, traceparent="00-trace")
    timers = {"keep": 2_500}
    assert box.entity == Mailbox(id=ID, event="paid", key="order/7", revision=1, kept=(kept,), timers=timers)


def test_who_waits_already_waits_once() -> None:
    """Another place, or another of its events, is another wait."""
    box = waited_for("s/1")
    assert box.hear(watch("s/1")) == Answer(
        entity=box.entity, outcome=Outcome.UNCHANGED, code=ReasonCode.DUPLICATE, reason="it waits already"
    )
    assert box.hear(watch("s/1", "other")).outcome is Outcome.APPLIED
    assert box.hear(watch("s/1", index=1)).outcome is Outcome.APPLIED


def test_an_event_is_brought_to_every_instance_that_waits_and_kept() -> None:
    """It is published, and a timer says how long it is kept."""
    box = waited_for("s/1", "s/2")
    answer = box.hear(published(), now_ms=2_000)
    takers = (at("s/1"), at("s/2"))
    kept = KeptEvent(id="e1", body={"cents": 5}, until_ms=2_500, taken_by=takers, traceparent="00-trace")
    assert answer.entity == Mailbox(
        id=ID, event="paid", key="order/7", revision=3, kept=(kept,), timers={"keep": 2_500}
    )
    assert answer.outcome is Outcome.APPLIED
    assert told(answer) == [came("e1/to/1", "s/1"), came("e1/to/2", "s/2")]
    assert answer.actions[-1] == Publish(event=published())


def test_of_an_instance_the_place_that_waits_longest_gets_the_event_and_the_others_wait_on() -> None:
    """Whether it comes before they wait or after: each event is used once."""
    late = waited_for("s/1", "s/2")
    late.hear(watch("s/1", "other", 3))
    assert told(late.hear(published("e1"))) == [came("e1/to/1", "s/1"), came("e1/to/2", "s/2")]
    assert told(late.hear(published("e2"))) == [came("e2/to/1", "s/1", "other", 3, event_id="e2")]
    early = Told()
    early.hear(published("e1"))
    early.hear(published("e2"))
    assert events(early.hear(watch("s/1"))) == ["e1"]
    assert told(early.hear(watch("s/1", "other", 3))) == [came("w-s/1/event/1", "s/1", "other", 3, event_id="e2")]
    assert events(early.hear(watch("s/1", "third"))) == []


def test_subscribers_are_brought_an_event_whether_they_wait_or_not() -> None:
    """After those who wait."""
    box = waited_for("s/1")
    answer = box.hear(published(), subscribers=("pm/1", "pm/2"))
    assert told(answer) == [
        came("e1/to/1", "s/1"),
        came("e1/to/2", "pm/1", place=""),
        came("e1/to/3", "pm/2", place=""),
    ]
    assert kept_by(box) == [("e1", ["s/1 wait", "pm/1", "pm/2"])]


def test_an_event_of_the_same_id_changes_nothing_while_it_is_kept() -> None:
    box = Told()
    box.hear(published())
    assert box.hear(published()) == Answer(
        entity=box.entity,
        outcome=Outcome.UNCHANGED,
        code=ReasonCode.DUPLICATE,
        reason="an event with this id was published already",
    )
    assert box.hear(published("e2")).outcome is Outcome.APPLIED


def test_who_comes_later_is_brought_the_first_event_that_it_has_not_had() -> None:
    """Each once."""
    box = waited_for("s/1")
    box.hear(published("e1"), now_ms=1_000)
    box.hear(published("e2"), now_ms=1_100)
    answer = box.hear(watch("s/2", "late", 1))
    assert told(answer) == [came("w-s/2/event/1", "s/2", "late", 1)]
    assert isinstance(answer.entity, Mailbox)
    assert (answer.entity.revision, answer.entity.watchers, answer.entity.timers) == (4, (), {"keep": 1_500})
    assert events(box.hear(watch("s/2", "later"))) == ["e2"]
    assert told(box.hear(watch("s/2", "last"))) == []
    assert kept_by(box) == [("e1", ["s/1 wait", "s/2 late"]), ("e2", ["s/2 later"])]


def test_an_event_whose_time_is_over_is_not_brought_though_its_timer_has_not_fired() -> None:
    box = Told()
    box.hear(published("e1", keep_ms=500), now_ms=1_000)
    assert told(box.hear(watch("s/1"), now_ms=1_500)) == []


def test_a_place_that_waits_no_more_has_not_used_what_was_brought_to_it_meanwhile() -> None:
    """The next place of the instance gets it, whether it waits already or begins to later; other instances keep it."""
    for waits_already in (True, False):
        box = waited_for("s/1", "s/2")
        if waits_already:
            box.hear(watch("s/1", "next"))
        box.hear(published("e1"))
        if waits_already:
            assert told(box.hear(unwatch("s/1"))) == [came("u-s/1/event/1", "s/1", "next")]
        else:
            assert told(box.hear(unwatch("s/1"))) == []
            assert told(box.hear(watch("s/1", "next"))) == [came("w-s/1/event/1", "s/1", "next")]
        assert kept_by(box) == [("e1", ["s/2 wait", "s/1 next"])]


def test_what_is_given_back_goes_in_order_of_arrival_to_the_places_that_wait() -> None:
    """One event each."""
    box = waited_for("s/1")
    box.hear(published("e1"))
    box.hear(watch("s/1", "b"))
    box.hear(watch("s/1", "c"))
    assert events(box.hear(unwatch("s/1"))) == ["e1"]
    box.hear(published("e2"))
    assert kept_by(box) == [("e1", ["s/1 b"]), ("e2", ["s/1 c"])]
    assert events(box.hear(watch("s/1", "d"))) == []
    assert told(box.hear(unwatch("s/1", "b"))) == [came("u-s/1/event/1", "s/1", "d")]


def test_a_place_that_begins_anew_gets_what_it_has_not_had_else_once_more_what_it_had_last() -> None:
    """It would not begin anew if it had used it. What another place has used it does not get."""
    box = waited_for("s/1")
    box.hear(published("e1"))
    for _ in range(2):
        assert events(box.hear(watch("s/1"))) == ["e1"]
    assert events(box.hear(watch("s/1", "other"))) == []
    box.hear(unwatch("s/1", "other"))
    box.hear(published("e2"))
    assert events(box.hear(watch("s/1"))) == ["e2"]
    assert events(box.hear(watch("s/1"))) == ["e2"]
    assert kept_by(box) == [("e1", ["s/1 wait"]), ("e2", ["s/1 wait"])]


def test_an_event_whose_time_is_over_is_dropped_when_the_next_comes() -> None:
    """To the millisecond."""
    box = Told()
    box.hear(published("e1", keep_ms=500), now_ms=1_000)
    box.hear(published("e2", keep_ms=501), now_ms=1_000)
    answer = box.hear(published("e3"), now_ms=1_500)
    assert isinstance(answer.entity, Mailbox)
    assert [each.id for each in answer.entity.kept] == ["e2", "e3"]


def test_the_timer_drops_what_is_over_and_looks_for_the_next() -> None:
    box = Told()
    box.hear(published("e1", keep_ms=500))
    box.hear(published("e2", keep_ms=900))
    fired = TimerFired(id="t", instance=ID, timer="keep", due_ms=1_500)
    answer = box.hear(fired, now_ms=1_500)
    assert isinstance(answer.entity, Mailbox)
    assert [each.id for each in answer.entity.kept] == ["e2"]
    assert answer.entity.timers == {"keep": 1_900}
    last = box.hear(TimerFired(id="t", instance=ID, timer="keep", due_ms=1_900), now_ms=1_900)
    assert last == Answer(entity=None, outcome=Outcome.APPLIED)


def test_a_timer_that_is_not_set_or_not_due_changes_nothing() -> None:
    box = Told()
    box.hear(published())
    reason = "the timer is not set, or not due yet"
    for timer, due_ms, now_ms in (("keep", 1_500, 1_499), ("keep", 1_400, 2_000), ("other", 1_500, 2_000)):
        fired = TimerFired(id="t", instance=ID, timer=timer, due_ms=due_ms)
        assert box.hear(fired, now_ms) == Answer(
            entity=box.entity, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason=reason
        )


def test_who_waits_no_more_is_brought_nothing() -> None:
    """At that place, for that event; with the last one the mailbox is gone."""
    box = waited_for("s/1", "s/2")
    box.hear(watch("s/1", "other"))
    box.hear(watch("s/1", index=1))
    answer = box.hear(unwatch("s/1"))
    assert isinstance(answer.entity, Mailbox)
    assert answer.entity.watchers == (at("s/2"), at("s/1", "other"), at("s/1", index=1))
    box.hear(unwatch("s/1", "other"))
    box.hear(unwatch("s/1", index=1))
    not_here = Answer(entity=box.entity, outcome=Outcome.IGNORED, code=ReasonCode.STALE, reason="it does not wait here")
    assert box.hear(unwatch("s/1")) == not_here
    last = box.hear(unwatch("s/2"))
    assert last == Answer(entity=None, outcome=Outcome.APPLIED)
    assert box.hear(unwatch("s/2")) == replace(not_here, entity=None)


def test_a_full_mailbox_refuses_who_publishes_before_anything_has_happened() -> None:
    """Of events that nobody has taken; the limit counts what is still kept, and a box that is not there is not made."""
    reason = "2 events of this kind and key are kept and none was delivered: there is no room for another"
    letter = DeadLetter(reason=f"{reason}; redrive this one after an instance has received some of them")
    box = Told(limits=Limits(events_max=2))
    box.hear(published("e1"))
    box.hear(published("e2"))
    code = ReasonCode.NO_ROOM
    refused = Answer(entity=box.entity, outcome=Outcome.DENIED, actions=(letter,), code=code, reason=reason)
    assert box.hear(published("e3")) == refused
    emitted = replace(published("e3"), source="flow/k")
    assert box.hear(emitted) == replace(refused, actions=(Publish(event=emitted), letter))
    assert box.hear(replace(published("e3"), source="/shop/client")).actions == (letter,)
    assert box.hear(published("e4"), now_ms=1_500).outcome is Outcome.APPLIED
    none = Told(limits=Limits(events_max=0)).hear(published())
    assert (none.entity, none.outcome) == (None, Outcome.DENIED)


def test_what_somebody_has_taken_makes_room_the_oldest_first() -> None:
    """So no number of events is too many for who takes them."""
    box = Told(limits=Limits(events_max=2))
    box.hear(published("e1"))
    for number in range(2, 9):
        assert box.hear(published(f"e{number}"), subscribers=("pm/1",)).outcome is Outcome.APPLIED
    assert kept_by(box) == [("e1", []), ("e8", ["pm/1"])]
    assert box.hear(published("e9")).outcome is Outcome.APPLIED
    assert kept_by(box) == [("e1", []), ("e9", [])]


def test_who_waits_gets_the_event_though_nothing_more_can_be_kept() -> None:
    box = Told(limits=Limits(events_max=2))
    box.hear(published("e1"))
    box.hear(published("e2"))
    answer = box.hear(published("e3"), subscribers=("pm/1",))
    assert [type(action) for action in answer.actions] == [Tell, Publish]
    assert kept_by(box) == [("e1", []), ("e2", [])]
    for place in ("a", "b", "c"):
        box.hear(watch("s/1", place))
    assert told(box.hear(published("e4"))) == [came("e4/to/1", "s/1", "c", event_id="e4")]


def test_the_size_of_what_is_kept_is_limited_as_its_number_is() -> None:
    """By the limit of a document."""
    big = {"text": "x" * 400}
    box = Told(limits=Limits(document_bytes=1_000))
    assert box.hear(replace(published("e1"), body=big), subscribers=("pm/1",)).outcome is Outcome.APPLIED
    assert box.hear(replace(published("e2"), body=big)).outcome is Outcome.APPLIED
    assert box.hear(replace(published("e3"), body=big)).outcome is Outcome.APPLIED
    assert kept_by(box) == [("e2", []), ("e3", [])]
    assert box.hear(replace(published("e4"), body=big)).outcome is Outcome.DENIED


def test_who_finds_no_room_to_wait_is_told_at_once() -> None:
    """Who gets an event that is kept needs none, and who leaves makes some."""
    box = Told(limits=Limits(watchers_max=2))
    box.hear(watch("s/1"))
    box.hear(watch("s/2"))
    reason = "2 places already wait for this event and key; retry when there are fewer"
    answer = box.hear(watch("s/3", "until"))
    assert told(answer) == [
        Denied(id="w-s/3/denied", instance="s/3", place="until", code=ReasonCode.NO_ROOM, reason=reason)
    ]
    assert (answer.entity, answer.outcome, answer.reason) == (box.entity, Outcome.DENIED, reason)
    box.hear(unwatch("s/1"))
    assert box.hear(watch("s/3")).outcome is Outcome.APPLIED
    none = Told(limits=Limits(watchers_max=0))
    assert none.hear(watch("s/1")).entity is None
    none.hear(published())
    assert events(none.hear(watch("s/1"))) == ["e1"]


def test_what_is_for_another_kind_of_entity_is_ignored() -> None:
    """The entity stays as it is."""
    box = waited_for("s/1")
    for message, kind in (
        (Acquire(id="a", instance=ID, by="s/1", place="p"), "acquire"),
        (Lookup(id="l", instance=ID, by="s/1", place="p", facts={}), "lookup"),
    ):
        reason = f"a message of kind {kind!r} is not for '{ID}'"
        assert box.hear(message) == Answer(
            entity=box.entity, outcome=Outcome.IGNORED, code=ReasonCode.MISDIRECTED, reason=reason
        )
