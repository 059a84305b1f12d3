"""``verify`` finds planted mistakes, and what it prints fails as long as the mistake is there."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.orchestrator.verify import Bounds, Law, lines, must, pytest_file, verify
from sagaline.sagas import Node, Saga
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.examples.flight_search import flight_search
from sagaline.sagas.examples.invoice_import import invoice_import
from sagaline.sagas.examples.loan_approval import loan_approval
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.examples.trip_booking import trip_booking
from sagaline.sagas.nodes import ask, choose, when
from tests.repo.tree import ROOT
from tests.unit.kernel_nodes import HOUR, Did, Talk, flow_of, leg

from .planted import PLANTED, Order, make

SHOP = "planted_shop"
SLOW = ("parts_are_taken_from_a_reply_that_may_say_none",)


def play(source: str, definition: AnyDefinition, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the tests of a printed file against a definition, which stands where the file imports it from."""
    module = ModuleType(SHOP)
    module.shop = definition  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, SHOP, module)
    names: dict[str, Any] = {}
    exec(compile(source, "printed", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests, "nothing was printed"
    for test in tests:
        test()


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in PLANTED])
def test_a_planted_mistake_is_found_and_its_test_fails_until_it_is_mended(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its own law is broken; mended, none is, and the printed test passes."""
    law, maker = PLANTED[name]
    verified = verify(maker(False))
    assert verified.laws == {law}, "\n".join(lines(verified))
    printed = pytest_file([(verified, f"{SHOP}:shop")])
    with pytest.raises(AssertionError):
        play(printed, maker(False), monkeypatch)
    mended = maker(True)
    play(printed, mended, monkeypatch)
    assert verify(mended).laws == frozenset(), "\n".join(lines(verify(maker(True))))


def test_every_law_that_an_author_can_break_is_planted() -> None:
    """The others are the kernel's: an author cannot break them."""
    kernels = {Law.NOT_UNDONE, Law.UNDONE_TWICE, Law.LATE_REPLY}
    assert {law for law, _ in PLANTED.values()} == {law.value for law in Law} - {law.value for law in kernels}


def page() -> str:
    """The text of docs/verify.md on one line."""
    return " ".join((ROOT / "docs" / "verify.md").read_text().split())


@pytest.mark.slow
def test_ten_steps_have_as_many_states_as_the_page_says() -> None:
    """States are what time is spent on."""
    ten = Saga("ten", Order, flow=[make(f"s{number}") for number in range(10)])
    verified = [verify(ten, bounds=Bounds(faults=faults)) for faults in (2, 4)]
    two, four = ((each.states, each.transitions) for each in verified)
    assert "{:,} states and {:,} transitions with two faults, {:,} and {:,} with four".format(*two, *four) in page()


@pytest.mark.slow
@pytest.mark.parametrize(
    "definition",
    [checkout, trip_booking, order_fulfilment, flight_search, invoice_import, loan_approval],
    ids=lambda each: each.name,
)
def test_a_shipped_example_holds(definition: AnyDefinition) -> None:
    """All that two faults can do to it was seen."""
    verified = verify(definition)
    assert verified.complete
    assert not verified.found, "\n".join(lines(verified))
    if definition is trip_booking:
        assert f"three parallel legs: {verified.states:,} states" in page()


def test_the_way_to_a_mistake_is_a_shortest_one() -> None:
    """Breadth first: whatever breaks the law sooner would have been found before."""
    _, maker = PLANTED["a_step_before_a_failing_one_has_no_undo"]
    found = verify(maker(False)).found[0]
    assert [(move.kind, move.step) for move in found.moves] == [
        ("ok", "price"),
        ("exhaust", "pay"),
        ("undo_ok", "price"),
    ]


def test_without_faults_only_happy_runs_are_looked_at() -> None:
    """The budget is a bound that is kept."""
    _, maker = PLANTED["a_step_before_a_failing_one_has_no_undo"]
    assert not verify(maker(False), bounds=Bounds(faults=0)).found


def test_a_bound_that_was_reached_is_told() -> None:
    """What was not looked at is not said to hold."""
    verified = verify(checkout, bounds=Bounds(depth=2))
    assert not verified.complete
    assert "NOT every run was explored" in "\n".join(lines(verified))


def test_events_that_nobody_emits_come_from_outside_unless_told_otherwise() -> None:
    """With ``external`` the app is closed."""
    _, maker = PLANTED["it_completes_unpaid_when_the_event_does_not_come"]
    assert not verify(maker(True)).found
    assert not verify(maker(True), external=["paid"]).found
    closed = verify(maker(True), external=["other"])
    assert closed.laws == {"nobody-emits"}
    assert 'verify(shop, external=["other"]).laws' in pytest_file([(closed, f"{SHOP}:shop")])


def test_the_same_definition_is_explored_in_the_same_way() -> None:
    """Twice the same: states, transitions and what is printed."""
    _, maker = PLANTED["an_undo_reads_a_reply_that_may_not_have_come"]
    one, other = verify(maker(False)), verify(maker(False))
    assert (one.states, one.transitions) == (other.states, other.transitions)
    assert lines(one) == lines(other)


def test_a_timer_of_a_process_that_is_unwound_does_nothing() -> None:
    """What verify found in the kernel: its handler failed the process a second time."""
    _, maker = PLANTED["a_handler_names_a_phase_wrongly"]
    cancelled = Scene.of(maker(True), key="id").receives("placed").cancel()
    later = cancelled.advance(timedelta(minutes=2))
    assert later.status is Status.COMPENSATING
    assert later.document.cause == cancelled.document.cause


def test_the_kernels_own_laws_are_looked_at_too() -> None:
    """No definition breaks them, so the scenes are forged."""
    scene = Scene.start(checkout).ok("reserve").rejects("charge").settle()
    must("not-undone", scene)
    must("undone-twice", scene)
    document = scene.document
    left = replace(document.steps["reserve"], status=StepStatus.DONE)
    forged = replace(document, steps={**document.steps, "reserve": left})
    with pytest.raises(AssertionError, match="'reserve' \\(done\\) is not undone"):
        must("not-undone", replace(scene, entities={scene.id: forged}))
    with pytest.raises(AssertionError, match="was undone 2 times"):
        must("undone-twice", replace(scene, changes=scene.changes * 2))


def test_what_a_person_answers_is_tried_too() -> None:
    """Both answers of the form, and none; so both ways behind the question are reached."""
    question: Node[Talk] = ask("sure", Did, question=lambda s: "?", who=lambda s: ["ann"], into="did", due=HOUR)
    yes = when(lambda s: s.did is not None and s.did.ok, leg("yes"), name="yes")
    found = verify(flow_of(leg("a"), question, choose(yes, otherwise=leg("no"), name="either")))
    assert (found.found, found.complete) == ((), True)
