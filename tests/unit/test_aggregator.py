"""Aggregators: parts of one key become one result, whatever their order, and each counts once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import given as draws
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.inputs import Arrival
from sagaline.orchestrator.messages.outputs import DeadLetter
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.orchestrator.verify import lines as lines_of
from sagaline.orchestrator.verify import verify
from sagaline.sagas import Aggregator, DefinitionError, Event, Gathered, Resequencer
from sagaline.testing import World, after, given, has_state, has_status, needs_attention, published, receives

from .promises import shows

TIMEOUT = timedelta(minutes=5)


class Line(BaseModel):
    invoice: str = "i"
    number: int = 0
    name: str = ""
    of: int = 3
    cents: int = 10


class Totals(BaseModel):
    cents: int = 0
    expected: int = 0


class Checked(BaseModel):
    invoice: str
    cents: int
    count: int
    complete: bool


line, checked = Event("line", Line), Event("checked", Checked)


def add(totals: Totals, part: Line) -> Totals:
    if part.cents < 0:
        raise ValueError("a credit")
    return Totals(cents=totals.cents + part.cents, expected=part.of)


def result(gathered: Gathered[Totals]) -> Checked:
    return Checked(invoice=gathered.key, cents=gathered.state.cents, count=gathered.count, complete=gathered.complete)


RIGHT: dict[str, Any] = {
    "key": lambda part: part.invoice,
    "into": Totals,
    "add": add,
    "complete_when": lambda gathered: gathered.count == gathered.state.expected,
    "timeout": TIMEOUT,
    "emits": checked,
    "result": result,
}


def totals(**options: Any) -> Aggregator[Totals]:
    return Aggregator("totals", line, **(RIGHT | {"part": lambda part: part.number} | options))


def played(definition: Aggregator[Totals], *parts: Line) -> Scene:
    scene = Scene.of(definition, key="i")
    for part in parts:
        scene = scene.receives(line, part, key=f"{part.number}-{scene.count}")
    return scene


def results(scene: Scene) -> list[Any]:
    return [each.body for each in scene.published if each.event == "checked"]


def numbered(*numbers: int, of: int = 3) -> list[Line]:
    return [Line(number=number, of=of) for number in numbers]


def test_the_last_part_publishes_the_result_and_ends_the_gathering() -> None:
    two = given(totals(), key="i").when(*(receives(line, each) for each in numbered(2, 1)))
    two.then(has_status("running"), has_state(count=2, complete=False))
    whole = Checked(invoice="i", cents=30, count=3, complete=True)
    two.when(receives(line, Line(number=3))).then(has_status("completed"), published(checked, whole))


def test_a_single_part_can_be_all() -> None:
    one = given(totals(), key="i").when(receives(line, Line(number=1, of=1)))
    one.then(has_status("completed"), published(checked, Checked(invoice="i", cents=10, count=1, complete=True)))


@settings(max_examples=60, deadline=None)
@draws(st.data())
def test_any_order_with_duplicates_gives_the_same_result(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    extra = data.draw(st.lists(st.integers(1, count), max_size=8))
    order = data.draw(st.permutations([*range(1, count + 1), *extra]))
    scene = played(totals(), *numbered(*order, of=count))
    assert results(scene) == [{"invoice": "i", "cents": 10 * count, "count": count, "complete": True}]


@settings(max_examples=60, deadline=None)
@draws(st.sets(st.integers(-20, 20), max_size=25), st.randoms())
def test_ranges_remember_exactly_the_numbers_that_came(numbers: set[int], chance: Any) -> None:
    order = [*numbers]
    chance.shuffle(order)
    scene = played(totals(), *numbered(*order, of=100))
    if not order:
        return
    gathered = scene.state
    assert {n for n in range(-25, 25) if gathered.has(n)} == numbers
    starts = [n for n in numbers if n - 1 not in numbers]
    assert len(gathered.ranges) == 2 * len(starts)


def test_lost_parts_leave_an_incomplete_result_at_the_timeout() -> None:
    some = given(totals(), key="i").when(*(receives(line, each) for each in numbered(1, 3)), after(TIMEOUT))
    some.then(has_status("completed"), published(checked, Checked(invoice="i", cents=20, count=2, complete=False)))


def test_a_gathering_that_may_not_be_incomplete_publishes_nothing() -> None:
    some = played(totals(on_timeout="fail"), *numbered(1)).advance(TIMEOUT)
    assert (results(some), some.status) == ([], "compensated")


def test_parts_count_once_by_id_too() -> None:
    named = totals(part=lambda part: part.name)
    scene = played(named, Line(number=1, name="a"), Line(number=2, name="a"), Line(number=3, name="b"))
    assert (scene.state.count, scene.state.ids) == (2, ["a", "b"])


def test_without_an_id_a_part_counts_once_per_event() -> None:
    scene = played(totals(part=None), Line(), Line())
    assert (scene.state.count, scene.state.ranges) == (2, [])


def test_a_part_beyond_what_can_be_remembered_is_a_dead_letter_and_the_others_go_on() -> None:
    scene = played(totals(parts_max=1), *numbered(1, 3))
    (dead,) = _dead(totals(parts_max=1), scene.document, Line(number=3))
    assert "raise parts_max" in dead.reason
    assert played(totals(parts_max=1), *numbered(1, 3, 2)).state.ranges == [1, 2]


def _dead(definition: Aggregator[Totals], document: Document, part: Line) -> list[DeadLetter]:
    """The dead letters of one more part."""
    came = EventDelivered(
        id="e/1", instance="totals/i", place="", index=0, event="line", event_id="e", body=part.model_dump()
    )
    decision = decide(definition, document, Arrival(message=came, now_ms=document.updated_ms))
    return [each for each in decision.actions if isinstance(each, DeadLetter)]


@shows("ProcessManager", "an event that comes after the end")
@pytest.mark.parametrize(("late", "count"), [("ignore", 0), ("dead_letter", 1), ("restart", 0)])
def test_a_late_part_goes_where_the_declaration_says(
    late: Literal["ignore", "dead_letter", "restart"], count: int
) -> None:
    definition = totals(late=late)
    ended = played(definition, *numbered(1, of=1))
    assert len(_dead(definition, ended.document, Line(number=2))) == count
    again = ended.receives(line, Line(number=2, of=2), key="late")
    assert again.status == ("running" if late == "restart" else "completed")
    assert len(results(again)) == 1
    if late == "restart":
        assert again.document.incarnation != ended.document.incarnation
        assert again.document.revision == ended.document.revision + 1
        more = again.receives(line, Line(number=1, of=2), key="more")
        assert [each["cents"] for each in results(more)] == [10, 20]


def test_an_event_of_the_earlier_life_begins_no_new_one() -> None:
    """A delivery that is repeated after the end."""
    with World(totals(late="restart")) as world:
        world.publish(line, Line(number=1, of=1), key="i")
        before = world.documents()["totals/i"]
        assert before.managed is not None
        (seen,) = before.managed.seen

        again = EventDelivered(id="x", instance="totals/i", place="", index=0, event="line", event_id=seen, body={})
        assert decide(totals(late="restart"), before, Arrival(message=again, now_ms=1)).document == before


def test_a_function_that_raises_shows_it_and_loses_no_part() -> None:
    stands = given(totals(), key="i").when(receives(line, Line(number=1)), receives(line, Line(number=2, cents=-1)))
    stands.then(needs_attention("a credit", code="function-raised"), has_state(count=1))
    nothing = given(totals(add=lambda state, part: None), key="i").when(receives(line, Line(number=1)))
    nothing.then(needs_attention("return the Totals with the part in it"))


class Needs(BaseModel):
    cents: int


def declare(**options: Any) -> Callable[[], object]:
    return lambda: Aggregator("totals", line, **(RIGHT | options))


AGGREGATOR_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no default": (declare(into=Needs), "give each of its fields a default"),
    "no time": (declare(timeout=timedelta(0)), "timeout is 0:00:00; give a positive timedelta"),
    "too many parts": (declare(parts_max=20_000), "give a whole number, 1 to 10,000"),
    "on timeout": (declare(on_timeout="wait"), "give 'emit' or 'fail'"),
    "late": (declare(late="no"), "late is 'no'; give 'ignore' or 'dead_letter' or 'restart'"),
    "its own event": (declare(emits=line, result=lambda gathered: Line()), "give emits= another event"),
    "no event": (declare(emits=Checked), "give an Event(name, model)"),
    "add": (declare(add=lambda totals: totals), "let it take 2"),
    "part": (declare(part=lambda: 1), "let it take 1"),
}


@pytest.mark.parametrize("mistake", AGGREGATOR_MISTAKES)
def test_a_mistake_is_told_when_it_is_declared(mistake: str) -> None:
    provoke, says = AGGREGATOR_MISTAKES[mistake]
    with pytest.raises(DefinitionError, match="aggregator 'totals'") as error:
        provoke()
    assert says in str(error.value)


def test_a_gathering_survives_crashes_of_the_engine() -> None:
    with World(totals(), seed=3) as world:
        for number in (3, 1):
            world.publish(line, Line(number=number), key=f"i-{number}")
            world.crash("engine")
            world.advance(seconds=2)
        world.publish(line, Line(number=2), key="i-2")
        world.settle()
        assert (world.status("totals/i"), world.state("totals/i").state.cents) == ("completed", 30)


def test_verify_accepts_a_gathering_and_a_sequence() -> None:
    """No run breaks a law, and every phase is reached."""
    numbered_line = Event("numbered-line", Line)
    lines = Resequencer(
        "lines",
        line,
        key=lambda part: part.invoice,
        number=lambda part: part.number,
        emits=numbered_line,
        gap="skip",
        timeout=TIMEOUT,
    )
    examples = [Line(number=1, of=2), Line(number=2, of=2)]
    for definition in (totals(), lines):
        verified = verify(definition, examples={Line: examples})
        assert not verified.found, "\n".join(lines_of(verified))
