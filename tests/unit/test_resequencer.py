"""Resequencers: any order comes out sorted; a gap waits, is skipped, or turns what waits into dead letters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given as draws
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json

from sagaline.orchestrator.codec.documents import decode_document, encode_document
from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, TimerFired
from sagaline.orchestrator.messages.outputs import DeadLetter, Tell
from sagaline.sagas import DefinitionError, Event, Resequencer
from sagaline.testing import World, given, has_state, needs_attention, receives

MINUTE = timedelta(minutes=1)


class Tick(BaseModel):
    key: str = "k"
    number: int
    end: bool = False


tick, sorted_tick = Event("tick", Tick), Event("sorted-tick", Tick)
RIGHT: dict[str, Any] = {"key": lambda t: t.key, "number": lambda t: t.number, "emits": sorted_tick}


def ticks(**options: Any) -> Resequencer:
    return Resequencer("ticks", tick, **(RIGHT | options))


class Line:
    """One instance, as its processor drives it; it is stored and read again after each decision."""

    def __init__(self, definition: Resequencer, limits: Limits | None = None) -> None:
        self.definition, self.limits, self.now_ms, self.count = definition, limits or Limits(), 1_000, 0
        self.document: Document | None = None
        self.out: list[int] = []
        self.dead: list[DeadLetter] = []

    def take(self, message: EventDelivered | TimerFired | Act) -> None:
        arrival = Arrival(message=message, now_ms=self.now_ms)
        decision = decide(self.definition, self.document, arrival, self.limits)
        assert decision.document is not None
        self.document = decode_document(encode_document(decision.document))
        for action in decision.actions:
            if isinstance(action, DeadLetter):
                self.dead.append(action)
            elif isinstance(action, Tell):
                self.out.append(action.message.body["number"])  # type: ignore[union-attr]

    def deliver(self, *numbers: int, end: bool = False) -> Line:
        for number in numbers:
            self.count += 1
            body = {"key": "k", "number": number, "end": end}
            id = f"e{self.count}"
            self.take(
                EventDelivered(id=id, instance="ticks/k", place="", index=0, event="tick", event_id=id, body=body)
            )
        return self

    def wait(self) -> Line:
        assert self.document is not None
        for name, due_ms in [*self.document.timers.items()]:
            self.now_ms = due_ms
            self.take(TimerFired(id="t", instance="ticks/k", timer=name, due_ms=due_ms))
        return self

    def retry(self) -> Line:
        self.count += 1
        self.take(Act(id=f"a{self.count}", instance="ticks/k", act=ActName.RETRY))
        return self

    @property
    def held(self) -> list[int]:
        assert self.document is not None
        assert self.document.managed is not None
        return [each.body["number"] for each in self.document.managed.early]  # type: ignore[union-attr,misc]


@settings(max_examples=80, deadline=None)
@draws(st.data())
def test_any_permutation_with_duplicates_comes_out_sorted(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    extra = data.draw(st.lists(st.integers(1, count), max_size=6))
    line = Line(ticks()).deliver(*data.draw(st.permutations([*range(1, count + 1), *extra])))
    assert (line.out, line.dead, line.held) == ([*range(1, count + 1)], [], [])


@settings(max_examples=80, deadline=None)
@draws(st.data())
def test_with_losses_a_sequence_that_skips_stays_sorted_and_loses_only_what_never_came(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    lost = data.draw(st.sets(st.integers(1, count)))
    came = data.draw(st.permutations([n for n in range(1, count + 1) if n not in lost]))
    line = Line(ticks(gap="skip", timeout=MINUTE))
    for number in came:
        line.deliver(number)
        if data.draw(st.booleans()):
            line.wait()
    for _ in came:
        if came:
            line.wait()
    late = [each.reason for each in line.dead]
    assert line.out == sorted(set(line.out))
    assert sorted([*line.out, *(int(reason.split()[1]) for reason in late)]) == sorted(came)


def test_a_gap_waits_for_ever_without_a_timer() -> None:
    line = Line(ticks()).deliver(2, 3)
    assert (line.out, line.held, line.document.timers) == ([], [2, 3], {})  # type: ignore[union-attr]
    assert line.deliver(1).out == [1, 2, 3]


def test_the_timer_of_a_gap_ends_with_it() -> None:
    line = Line(ticks(gap="skip", timeout=MINUTE)).deliver(2)
    assert [*line.document.timers] == ["gap:timer"]  # type: ignore[union-attr]
    assert line.deliver(1).document.timers == {}  # type: ignore[union-attr]


def test_a_skipped_number_that_comes_late_is_a_dead_letter_and_a_duplicate_is_not() -> None:
    line = Line(ticks(gap="skip", timeout=MINUTE)).deliver(1, 4).wait().deliver(1, 2, 4)
    assert (line.out, [each.reason for each in line.dead]) == ([1, 4], ["number 2 came after it was skipped"])


@settings(max_examples=80, deadline=None)
@draws(st.data())
def test_a_number_that_could_not_be_read_comes_out_in_its_place_once_it_can_be(data: st.DataObject) -> None:
    """The queue is in order again, whatever came while ``number`` raised."""
    count = data.draw(st.integers(2, 12))
    order = data.draw(st.permutations(range(1, count + 1)))
    fails_from, bad = data.draw(st.integers(0, count)), data.draw(st.sets(st.integers(1, count)))
    broken: set[int] = set()

    def number(t: Tick) -> int:
        return t.number if t.number not in broken else 1 // 0

    line = Line(ticks(number=number, gap="skip", timeout=MINUTE)).deliver(*order[:fails_from])
    broken |= bad
    line.deliver(*order[fails_from:])
    assert line.document is not None
    stands = line.document.status is Status.ATTENTION
    assert stands or not line.held
    broken.clear()
    if stands:
        line.retry()
    assert (line.out, line.dead, line.held) == ([*range(1, count + 1)], [], [])


def test_what_cannot_be_read_behind_a_gap_says_so_at_once() -> None:
    """Otherwise it would be found when the gap closes, out of its place."""
    line = Line(ticks(number=lambda t: 1 // (t.number != 7) and t.number)).deliver(1, 3, 4, 7)
    assert line.document is not None
    assert (line.document.status, line.held) == (Status.ATTENTION, [7, 3, 4])


def test_what_waits_behind_a_gap_becomes_dead_letters_until_it_closes() -> None:
    line = Line(ticks(gap="dead_letter", timeout=MINUTE)).deliver(1, 3, 4).wait().deliver(5)
    assert line.held == []
    assert [each.message.event_id for each in line.dead] == ["e2", "e3", "e4"]  # type: ignore[union-attr]
    line.deliver(2)
    for each in line.dead:
        assert isinstance(each.message, EventDelivered)
        line.take(each.message)  # a redrive
    assert line.out == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("limits", [Limits(deferred_max=2), Limits(document_bytes=600)], ids=["count", "bytes"])
def test_what_finds_no_room_is_a_dead_letter_and_the_sequence_goes_on(limits: Limits) -> None:
    line = Line(ticks(), limits).deliver(5, 4, 3)
    assert line.held == [4, 5]
    assert ["redrive this event" in each.reason for each in line.dead] == [True]
    assert line.deliver(1, 2, 3).out == [1, 2, 3, 4, 5]


def test_the_last_message_ends_the_sequence() -> None:
    line = Line(ticks(last=lambda t: t.end)).deliver(2, end=True).deliver(1)
    assert (line.out, line.document.status) == ([1, 2], "completed")  # type: ignore[union-attr]
    assert line.deliver(3).out == [1, 2]


def test_a_number_that_is_none_shows_it() -> None:
    stands = given(ticks(number=lambda t: None), key="k").when(receives(tick, Tick(number=1)))
    stands.then(needs_attention("return a whole number", code="function-raised"), has_state(next=1))


def declare(**options: Any) -> Callable[[], object]:
    return lambda: ticks(**options)


RESEQUENCER_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "gap": (declare(gap="no"), "give 'wait' or 'skip' or 'dead_letter'"),
    "skip without a time": (declare(gap="skip"), "give timeout=timedelta(…)"),
    "wait with a time": (declare(timeout=MINUTE), "leave timeout out"),
    "no time": (declare(gap="skip", timeout=timedelta(0)), "give a positive timedelta"),
    "its own event": (declare(emits=tick), "give emits= another event"),
    "another model": (
        declare(emits=Event("other", type("Other", (BaseModel,), {}))),
        "give emits= an event of the same model",
    ),
    "first": (declare(first=-1), "give a whole number, 0 or more"),
    "number": (declare(number=lambda: 1), "let it take 1"),
    "last": (declare(last=7), "give a function"),
}


@pytest.mark.parametrize("mistake", RESEQUENCER_MISTAKES)
def test_a_mistake_is_told_when_it_is_declared(mistake: str) -> None:
    provoke, says = RESEQUENCER_MISTAKES[mistake]
    with pytest.raises(DefinitionError, match="resequencer 'ticks'") as error:
        provoke()
    assert says in str(error.value)


def test_a_sequence_survives_crashes_of_the_engine() -> None:
    with World(ticks(last=lambda t: t.end), seed=5) as world:
        for number in (4, 2, 3, 1):
            world.publish(tick, Tick(number=number, end=number == 4), key=f"k-{number}")
            world.crash("engine")
        world.settle()
        records = [each for partition in world.broker.snapshot()[world.topics.events] for each in partition]
        out = [each for each in records if dict(each.headers)["ce_type"] == b"sorted-tick"]
        assert [from_json(each.value or b"")["number"] for each in out] == [1, 2, 3, 4]
