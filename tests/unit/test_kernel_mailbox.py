"""A mailbox: an event is brought to everybody who waits, kept for those who come later, and brought to one once."""

from __future__ import annotations

from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.entities import Acquire, EventCame, Lookup, Published, Unwatch, Watch
from sagaline.orchestrator.messages.helpers import KeptEvent, Mailbox, Watcher
from sagaline.orchestrator.messages.inputs import TimerFired
from sagaline.orchestrator.messages.outputs import Answer, DeadLetter, Outcome, Publish

from .kernel_helpers import Told, told

ID = "@mailbox/paid/order/7"


def published(id: str = "e1", keep_ms: int = 500) -> Published:
    return Published(
        id=id, instance=ID, event="paid", key="order/7", body={"cents": 5}, keep_ms=keep_ms, traceparent="00-trace"
    )


def watch(by: str, place: str = "wait", index: int = 0, *, again: bool = False) -> Watch:
    return Watch(id=f"w-{by}", instance=ID, by=by, place=place, index=index, again=again)


def came(id: str, to: str, place: str = "wait", index: int = 0, event_id: str = "e1") -> EventCame:
    return EventCame(id=id, instance=to, place=place, index=index, event="paid", event_id=event_id, body={"cents": 5})


def events(answer: Answer) -> list[str]:
    """The ids of the events that it brings."""
    return [each.event_id for each in told(answer) if isinstance(each, EventCame)]


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
    assert box.hear(watch("s/1")) == Answer(entity=box.entity, outcome=Outcome.UNCHANGED, reason="it waits already")
    assert box.hear(watch("s/1", "other")).outcome is Outcome.APPLIED
    assert box.hear(watch("s/1", index=1)).outcome is Outcome.APPLIED


def test_an_event_is_brought_to_everybody_who_waits_and_kept() -> None:
    """Then nobody waits any more, it is published, and a timer says how long it is kept."""
    box = waited_for("s/1", "s/2")
    box.hear(watch("s/1", "other", 3))
    answer = box.hear(published(), now_ms=2_000)
    kept = KeptEvent(id="e1", body={"cents": 5}, until_ms=2_500, taken_by=("s/1", "s/2"), traceparent="00-trace")
    assert answer.entity == Mailbox(
        id=ID, event="paid", key="order/7", revision=4, kept=(kept,), timers={"keep": 2_500}
    )
    assert answer.outcome is Outcome.APPLIED
    assert told(answer) == [
        came("e1/to/1", "s/1"),
        came("e1/to/2", "s/2"),
        came("e1/to/3", "s/1", "other", 3),
    ]
    assert answer.actions[-1] == Publish(event=published())


def test_subscribers_are_brought_an_event_whether_they_wait_or_not() -> None:
    """After those who wait; it does not count as taken by them."""
    answer = waited_for("s/1").hear(published(), subscribers=("pm/1", "pm/2"))
    assert told(answer) == [
        came("e1/to/1", "s/1"),
        came("e1/to/2", "pm/1", place=""),
        came("e1/to/3", "pm/2", place=""),
    ]
    assert isinstance(answer.entity, Mailbox)
    assert answer.entity.kept[0].taken_by == ("s/1",)


def test_an_event_of_the_same_id_changes_nothing_while_it_is_kept() -> None:
    box = Told()
    box.hear(published())
    assert box.hear(published()) == Answer(
        entity=box.entity, outcome=Outcome.UNCHANGED, reason="an event of this id is here already"
    )
    assert box.hear(published("e2")).outcome is Outcome.APPLIED


def test_who_comes_later_is_brought_the_first_event_that_it_has_not_had() -> None:
    """Each once; with ``again`` the last one once more when there is no other."""
    box = waited_for("s/1")
    box.hear(published("e1"), now_ms=1_000)
    box.hear(published("e2"), now_ms=1_100)
    answer = box.hear(watch("s/2", "late", 1))
    assert told(answer) == [came("w-s/2/event", "s/2", "late", 1)]
    assert isinstance(answer.entity, Mailbox)
    assert [each.taken_by for each in answer.entity.kept] == [("s/1", "s/2"), ()]
    assert answer.entity.revision == 4
    assert answer.entity.watchers == ()
    assert answer.entity.timers == {"keep": 1_500}
    assert events(box.hear(watch("s/2"))) == ["e2"]
    assert told(box.hear(watch("s/2"))) == []
    for _ in range(2):
        assert events(box.hear(watch("s/1", again=True))) == ["e2"]
    assert isinstance(box.entity, Mailbox)
    assert [each.taken_by for each in box.entity.kept] == [("s/1", "s/2"), ("s/2", "s/1")]
    assert box.entity.watchers == (Watcher(by="s/2", place="wait", index=0),)
    assert [type(each) for each in told(Told().hear(watch("s/1", again=True)))] == []


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
        assert box.hear(fired, now_ms) == Answer(entity=box.entity, outcome=Outcome.IGNORED, reason=reason)


def test_who_waits_no_more_is_brought_nothing() -> None:
    """At that place; with the last one the mailbox is gone."""
    box = waited_for("s/1", "s/2")
    box.hear(watch("s/1", "other"))
    answer = box.hear(Unwatch(id="u", instance=ID, by="s/1", place="wait"))
    assert isinstance(answer.entity, Mailbox)
    assert [(each.by, each.place) for each in answer.entity.watchers] == [("s/2", "wait"), ("s/1", "other")]
    box.hear(Unwatch(id="u", instance=ID, by="s/1", place="other"))
    last = box.hear(Unwatch(id="u", instance=ID, by="s/2", place="wait"))
    assert last == Answer(entity=None, outcome=Outcome.APPLIED)
    assert box.hear(Unwatch(id="u", instance=ID, by="s/2", place="wait")) == Answer(
        entity=None, outcome=Outcome.IGNORED, reason="nobody waits here"
    )


def test_a_full_mailbox_refuses_events_and_sends_them_to_the_dead_letters() -> None:
    """The limit counts what is still kept; a box that is not there is not made for it."""
    reason = "2 events of this kind and key are kept already; publish under other keys"
    box = Told(limits=Limits(events_max=2))
    box.hear(published("e1"))
    box.hear(published("e2"))
    assert box.hear(published("e3")) == Answer(
        entity=box.entity, outcome=Outcome.REFUSED, actions=(DeadLetter(reason=reason),), reason=reason
    )
    assert box.hear(published("e4"), now_ms=1_500).outcome is Outcome.APPLIED
    none = Told(limits=Limits(events_max=0)).hear(published())
    assert (none.entity, none.outcome) == (None, Outcome.REFUSED)


def test_no_more_than_the_limit_wait() -> None:
    box = Told(limits=Limits(watchers_max=2))
    box.hear(watch("s/1"))
    box.hear(watch("s/2"))
    reason = "2 wait for this event already; this one will time out"
    assert box.hear(watch("s/3")) == Answer(entity=box.entity, outcome=Outcome.REFUSED, reason=reason)


def test_what_is_for_another_kind_of_entity_is_ignored() -> None:
    """The entity stays as it is."""
    box = waited_for("s/1")
    for message, kind in (
        (Acquire(id="a", instance=ID, by="s/1", place="p"), "acquire"),
        (Lookup(id="l", instance=ID, by="s/1", place="p", facts={}), "lookup"),
    ):
        reason = f"a message of kind {kind!r} is not for '{ID}'"
        assert box.hear(message) == Answer(entity=box.entity, outcome=Outcome.IGNORED, reason=reason)
