"""A paused instance does nothing, its clocks stand, and what comes waits in order of arrival; so does what a process
manager cannot take while it stands in attention.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sagaline.orchestrator.kernel.unusable import decline
from sagaline.orchestrator.kernel.waits import open_questions
from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.inputs import ActName, Arrival, TimerFired
from sagaline.orchestrator.messages.outputs import DeadLetter, Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Event, step
from sagaline.sagas.nodes import ask, expect, loop, parallel, run, scatter, sleep, wait
from sagaline.sagas.process_manager import Next, ProcessManager

from .kernel_kit import TOO_LARGE
from .kernel_nodes import HOUR, Did, Do, Offer, Paid, Talk, flow_of, leg, outcome_of, paid, redeployed

DAY = timedelta(days=1)
placed, packed = Event("placed", Paid), Event("packed", Paid)


def orders(*, broken: bool = False) -> ProcessManager[Talk]:
    """Three days to pay, else nobody has; a payment or a step that is done ends the waiting."""
    pick = leg("pick", timeout=10 * DAY)
    found = ProcessManager("pm", Talk, steps=[pick])
    found.starts_on(placed, key=lambda e: "k")(
        lambda e: Next("unpaid", Talk(n=e.amount), timers={"unpaid": 3 * DAY}, do=[pick])
    )

    def paid_for(s: Talk, e: Paid) -> Next[Talk]:
        return Next("paid", s.model_copy(update={"rounds": 1 // (0 if broken else 1)}), clear=["unpaid"])

    def picked(s: Talk) -> Next[Talk]:
        return Next("picked", s.model_copy(update={"rounds": 1 // (0 if broken else 1)}), clear=["unpaid"])

    found.on(paid, key=lambda e: "k", when="unpaid")(paid_for)
    found.on(packed, key=lambda e: "k", when="unpaid")(lambda s, e: Next("unpaid"))
    found.on_done(pick, when="unpaid")(picked)
    found.on_timer("unpaid")(lambda s: Next.fail("nobody paid"))
    return found


def unpaid(*, broken: bool = False) -> Scene:
    return Scene.of(orders(broken=broken)).receives(placed, Paid(amount=1), key="k")


def phase(scene: Scene) -> str | None:
    return scene.document.managed.phase if scene.document.managed is not None else None


def pays(scene: Scene) -> Scene:
    return scene.receives(paid, Paid(amount=1), key="k")


def picks(scene: Scene) -> Scene:
    return scene.ok("pick")


@pytest.mark.parametrize(("happens", "after"), [(pays, "paid"), (picks, "picked")])
def test_what_came_before_a_timer_was_due_is_taken_before_it_after_a_pause(happens: Any, after: str) -> None:
    """The event or the reply on day 0, the timer on day 3, the resume on day 4."""
    paused = happens(unpaid().act(ActName.PAUSE)).advance(4 * DAY)
    assert (phase(paused), outcome_of(paused)[0]) == ("unpaid", Outcome.DEFERRED)
    resumed = paused.act(ActName.RESUME)
    assert (resumed.status, phase(resumed)) == (Status.RUNNING, after)
    assert "unpaid:timer" not in resumed.document.timers


@pytest.mark.parametrize(("happens", "after"), [(pays, "paid"), (picks, "picked")])
def test_what_came_before_a_timer_was_due_is_taken_before_it_after_an_attention(happens: Any, after: str) -> None:
    """The handler raises on day 0, the timer is due on day 3, the handler is right on day 4."""
    stands = happens(unpaid(broken=True))
    assert stands.status is Status.ATTENTION
    late = stands.advance(4 * DAY)
    assert [timer.name for timer in late.timers] == ["pick:deadline"] * (after == "paid")
    mended = redeployed(late, orders()).retry()
    assert (mended.status, phase(mended)) == (Status.RUNNING, after)


def test_in_an_attention_whatever_comes_keeps_its_order() -> None:
    """An event whose handler raises, then a reply, then a timer, then another event: so they are taken."""
    stands = picks(pays(unpaid(broken=True))).advance(4 * DAY).receives(packed, Paid(amount=1), key="k")
    assert stands.document.managed is not None
    assert [each.kind for each in stands.document.managed.early] == ["event", "step_ended", "timer", "event"]
    mended = redeployed(stands, orders()).retry()
    assert mended.document.managed is not None
    assert (phase(mended), [each.kind for each in mended.document.managed.early]) == ("paid", ["step_ended", "event"])


def test_a_timer_that_was_due_before_the_pause_is_taken_before_what_came_in_it() -> None:
    scene = unpaid()
    late = scene.document.timers["unpaid:timer"]
    paused = pays(replace(scene, now_ms=late).act(ActName.PAUSE))
    assert paused.act(ActName.RESUME).document.cause is not None


def test_every_event_that_comes_in_a_pause_is_taken_after_it() -> None:
    """However many."""
    counter = ProcessManager("counter", Talk)
    counter.starts_on(placed, key=lambda e: "k")(lambda e: Next("counting", Talk()))
    for event in (paid, packed):
        counter.on(event, key=lambda e: "k")(lambda s, e: Next("counting", s.model_copy(update={"n": s.n + 1})))
    scene = Scene.of(counter).receives(placed, Paid(amount=0), key="k").act(ActName.PAUSE)
    for number in range(70):
        for event in (paid, packed):
            scene = scene.receives(event, Paid(amount=number), key="k")
    assert scene.act(ActName.RESUME).state.n == 140


def test_an_event_that_does_not_fit_into_a_waiting_instance_is_a_dead_letter() -> None:
    """One that is paused, or stands in attention, stays as it is; one that goes on needs an operator as well."""
    scene = unpaid()
    came = EventDelivered(id="m", instance=scene.id, place="", index=0, event="paid", event_id="e", body={"amount": 1})
    for waits in (scene.act(ActName.PAUSE), pays(unpaid(broken=True))):
        refused = decline(waits.document, Arrival(message=came, now_ms=1), TOO_LARGE)
        assert (refused.outcome, refused.document) == (Outcome.DENIED, waits.document)
        assert refused.actions == (DeadLetter(reason="too large"),)
    stands = decline(scene.document, Arrival(message=came, now_ms=1), TOO_LARGE)
    assert stands.document is not None
    assert (stands.document.status, stands.actions) == (Status.ATTENTION, (DeadLetter(reason="too large"),))
    assert "unpaid:timer" in stands.document.timers


def test_a_timer_whose_decision_cannot_be_stored_waits_for_the_retry() -> None:
    """So do the timers of what was not under way: a sleep beside a step that is blocked ends in its time."""
    scene = Scene.start(flow_of(parallel(sleep("nap", HOUR), sleep("doze", 2 * HOUR), leg("a"), name="all")))
    (timer,) = (each for each in scene.timers if each.name == "nap:due")
    fired = TimerFired(id="t", instance=scene.id, timer=timer.name, due_ms=timer.due_ms)
    arrival = Arrival(message=fired, now_ms=timer.due_ms)
    document = decline(scene.document, arrival, TOO_LARGE).document
    assert document is not None
    assert set(document.timers) == {"doze:due"}
    stands = replace(scene, entities={**scene.entities, scene.id: document}, now_ms=timer.due_ms)
    again = stands.retry()
    assert (again.step("nap"), again.step("doze"), again.step("a")) == (
        StepStatus.DONE,
        StepStatus.WAITING,
        StepStatus.SENT,
    )
    assert again.ok("a").advance(2 * HOUR).status is Status.COMPLETED


def test_a_step_that_was_refused_and_handled_is_not_begun_again_by_a_retry() -> None:
    """A later handler raises: the retry is for that one."""
    pick, pack = leg("pick"), leg("pack")

    def manager(*, broken: bool) -> ProcessManager[Talk]:
        found = ProcessManager("pm", Talk, steps=[pick, pack])
        found.starts_on(placed, key=lambda e: "k")(lambda e: Next("one", Talk(), do=[pick]))
        found.on_failed(pick)(lambda s: Next("two", do=[pack]))
        found.on_done(pack)(lambda s: Next.complete(Talk(n=1 // (0 if broken else 1))))
        return found

    scene = Scene.of(manager(broken=True)).receives(placed, Paid(amount=0), key="k").rejects("pick").ok("pack")
    assert scene.status is Status.ATTENTION
    mended = redeployed(scene, manager(broken=False)).retry()
    assert (mended.status, mended.step("pick")) == (Status.COMPLETED, StepStatus.REJECTED)


# -- clocks --------------------------------------------------------------------------------------------------------


def held(scene: Scene, span: timedelta = 10 * DAY) -> Scene:
    """Paused for so long."""
    paused = scene.act(ActName.PAUSE)
    assert paused.timers == [timer for timer in scene.timers if timer.instance != scene.id]
    return paused.advance(span).act(ActName.RESUME)


def left_ms(scene: Scene) -> dict[str, int]:
    return {name: due_ms - scene.now_ms for name, due_ms in scene.document.timers.items()}


def asked_in(scene: Scene) -> int:
    (question,) = open_questions(scene.document)
    return question.due_ms - scene.now_ms


question = ask("ok", Paid, question=lambda s: "is it?", who=lambda s: ["ann"], into="paid", due=HOUR)
NODES = {
    "sleep": sleep("nap", HOUR),
    "wait": wait(expect(paid, key=lambda s: "k"), timeout=HOUR),
    "ask": question,
    "step": leg("a"),
    "run": run(flow_of(leg("c"), sleep("nap", 30 * DAY), name="child"), lambda s: Talk(), timeout=HOUR, name="sub"),
    "loop": loop(sleep("nap", HOUR), while_=lambda s: True, rounds_max=2, name="again"),
    "parallel": parallel(sleep("nap", HOUR), sleep("doze", 2 * HOUR), name="both"),
}


@pytest.mark.parametrize("kind", NODES)
def test_whatever_waits_has_as_much_time_left_after_a_pause_as_before(kind: str) -> None:
    """And nothing has turned, timed out or been asked to end."""
    scene = Scene.start(flow_of(NODES[kind])).advance(timedelta(seconds=20))
    resumed = held(scene)
    assert (resumed.status, left_ms(resumed)) == (Status.RUNNING, left_ms(scene))
    assert resumed.document.state == scene.document.state


def test_the_question_of_a_person_is_due_as_much_later() -> None:
    """Where it is shown as well."""
    scene = Scene.start(flow_of(question))
    assert asked_in(held(scene)) == asked_in(scene)


def test_a_child_goes_on_while_its_parent_is_paused_and_its_end_waits() -> None:
    """The parent's timeout for it does not run."""
    sub = run(flow_of(leg("c", timeout=2 * DAY), name="child"), lambda s: Talk(), timeout=HOUR, name="sub")
    paused = Scene.start(flow_of(sub, leg("b"))).act(ActName.PAUSE).advance(DAY).ok("c")
    (child,) = [each for each in paused.documents if each.definition == "child"]
    assert (child.status, paused.step("sub")) == (Status.COMPLETED, StepStatus.SENT)
    resumed = paused.act(ActName.RESUME)
    assert (resumed.step("sub"), resumed.step("b")) == (StepStatus.DONE, StepStatus.SENT)


def test_a_step_does_not_become_overdue_in_a_pause() -> None:
    @step(Contract("slow", Do, Did, queue="q"), timeout=HOUR, expected_within=timedelta(minutes=1), name="slow")
    def slow(s: Talk) -> Do:
        return Do()

    resumed = held(Scene.start(flow_of(slow)), timedelta(minutes=5))
    assert "overdue_ms" not in (resumed.document.steps["slow"].memo or {})
    assert "overdue_ms" in (resumed.advance(timedelta(minutes=1)).document.steps["slow"].memo or {})


def test_the_questions_of_a_scatter_are_asked_once_more_after_a_long_pause() -> None:
    """Whoever sees them only now lets them lie."""

    @scatter(
        Contract("offer", Do, Offer, queue="q"), queues=("x", "y"), into="offers", deadline=HOUR, name="ask", at_least=2
    )
    def quotes(s: Talk) -> Do:
        return Do()

    scene = Scene.start(flow_of(quotes))
    one, two = (command.step for command in scene.waiting)
    resumed = held(scene.ok(one, Offer(price=1)))
    assert [(command.step, command.attempt) for command in resumed.waiting] == [(two, 2)]
    assert left_ms(resumed) == left_ms(scene)
    assert resumed.ok(two, Offer(price=2)).status is Status.COMPLETED


def test_a_pause_alone_never_compensates() -> None:
    """Not even a step with one attempt whose worker was away all the time."""
    only: Any = step(Contract("once", Do, Did, queue="q"), timeout=timedelta(seconds=30), name="once")(lambda s: Do())
    only.undo(Contract("unonce", Do, Did, queue="q"))(lambda s: Do())
    scene = Scene.start(flow_of(only)).crash("once")
    for _ in range(3):
        scene = held(scene)
        assert scene.status is Status.RUNNING
    assert scene.settle().status is Status.COMPLETED


def test_several_pauses_add_up() -> None:
    scene = Scene.start(flow_of(sleep("nap", HOUR)))
    again = held(held(scene, HOUR), 2 * HOUR)
    assert left_ms(again) == left_ms(scene)
    assert again.advance(HOUR).status is Status.COMPLETED


def test_a_cancel_and_a_parent_end_a_pause_and_what_waited_counts() -> None:
    """A step that was done in it is undone."""
    cancelled = Scene.start(flow_of(leg("a"), leg("b"))).act(ActName.PAUSE).ok("a").cancel()
    assert (cancelled.document.paused, cancelled.step("a"), cancelled.step("b")) == (False, StepStatus.UNDO_SENT, None)
    sub = run(flow_of(leg("c"), leg("d"), name="child"), lambda s: Talk(), name="sub")
    parent = Scene.start(flow_of(parallel(sub, leg("b"), name="both")))
    (child,) = [each.id for each in parent.documents if each.definition == "child"]
    turned = parent.act(ActName.PAUSE, of=child).ok("c").rejects("b")
    assert turned.open("c", undo=True).instance == child
    assert turned.settle().status is Status.COMPENSATED
