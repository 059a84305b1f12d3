"""The tables of transitions are exactly what can happen: no illegal move, and no legal one that nothing reaches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sagaline.orchestrator.kernel import block, decide
from sagaline.orchestrator.kernel.transitions import INSTANCE, STEP
from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Change
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Node
from sagaline.sagas.nodes import choose, expect, fail, run, scatter, sleep, wait, when

from .kernel_kit import ENGINE_FAILED, SEEN, Play, make_saga, play
from .kernel_nodes import HOUR, Do, Offer, Talk, flow_of, leg, paid, redeployed, waiting_again


def _blocked(run: Play) -> None:
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=run.now_ms)
    decision = block(run.document, arrival, ENGINE_FAILED)
    _saw(*decision.changes)
    run.stored = decision.document


def _saw(*changes: Change) -> None:
    for change in changes:
        if change.what == "instance":
            SEEN.add(("instance", Status(change.before) if change.before else None, Status(change.after)))
        else:
            SEEN.add(("step", StepStatus(change.before) if change.before else None, StepStatus(change.after)))


def _played(*scenes: Scene) -> None:
    _saw(*[change for scene in scenes for _, change in scene.changes])


def _completes_with_a_retry() -> None:
    run = play(make_saga("a"))
    run.fail("a")
    run.fire("a:retry")
    run.ok("a")


def _is_undone_with_a_retry() -> None:
    run = play()
    run.ok("a")
    run.reject("b")
    run.fail("a", undo=True)
    run.fire("a:retry")
    run.ok("a", undo=True)


def _is_undone_after_its_deadline() -> None:
    run = play()
    run.fire("a:deadline")
    run.reject("a", undo=True)
    run.act(ActName.RETRY)


def _is_cancelled_between_attempts() -> None:
    run = play()
    run.fail("a")
    run.act(ActName.CANCEL)
    run.fail("a", undo=True)
    run.fire("a:deadline")


def _cannot_be_built() -> None:
    run = play(make_saga(broken="a"))
    run.definition = make_saga()
    run.act(ActName.RETRY)


def _cannot_be_built_again() -> None:
    run = play()
    run.fail("a")
    run.definition = make_saga(broken="a")
    run.fire("a:retry")
    run.act(ActName.ABANDON)


def _cannot_be_undone() -> None:
    for deadline in (False, True):
        run = play(make_saga(broken_undo="a"))
        if deadline:
            run.fire("a:deadline")
        else:
            run.ok("a")
            run.reject("b")


def _is_blocked_and_cancelled() -> None:
    run = play()
    _blocked(run)
    run.act(ActName.CANCEL)
    _blocked(run)


def _stops_past_the_pivot() -> None:
    for refused in (False, True):
        for code in (make_saga("|a"), make_saga("|a", broken="a")):
            run = play(make_saga("|a"))
            if refused:
                run.reject("a")
            else:
                run.fire("a:deadline")
            run.definition = code
            run.act(ActName.RETRY)


def _with_lock(*, past_pivot: bool = False, broken: bool = False, template: str = "one") -> Scene:
    """Waits for a lock that another instance holds."""
    saga = flow_of(leg("a", undo=not past_pivot, locks=template), past_pivot=past_pivot)
    scene = Scene.start(saga, {}, key="holder").play(Start(id="2", definition="talk", key="k", input={}))
    scene = Scene(**{**{name: getattr(scene, name) for name in Scene.__slots__}, "id": "talk/k"})
    broken_saga = flow_of(leg("a", undo=not past_pivot, locks=template, broken=True), past_pivot=past_pivot)
    return redeployed(scene, broken_saga) if broken else scene


def _freed(scene: Scene) -> Scene:
    return scene.ok("a", of="talk/holder")


def _a_lock_is_waited_for() -> None:
    _played(_freed(_with_lock()).ok("a"), _with_lock().cancel(), _with_lock().advance(HOUR))
    blocked = _freed(_with_lock(broken=True))
    _played(blocked, blocked.cancel())
    past = _with_lock(past_pivot=True)
    _played(past.advance(HOUR).retry(), _freed(past).exhaust("a").retry())
    unnamed = Scene.start(flow_of(leg("a", locks="{did.ok}")), {})
    _played(redeployed(unnamed, flow_of(leg("a", locks="one"))).retry())


def _a_lock_is_waited_for_again() -> None:
    scene, document = waiting_again()
    cancel = Arrival(message=Act(id="c", instance=scene.id, act=ActName.CANCEL), now_ms=scene.now_ms)
    _saw(*decide(scene.definition, document, cancel).changes)


def _a_wait_ends() -> None:
    for past_pivot in (False, True):
        node: Node[Talk] = wait(expect(paid, key=lambda s: "k", into="paid"), timeout=HOUR)
        scene = Scene.start(flow_of(node, past_pivot=past_pivot))
        wrong = scene.receives("paid", {"amount": "much"})
        _played(scene.receives(paid), scene.advance(HOUR).retry(), scene.cancel(), wrong.retry(), wrong.cancel())
        _played(Scene.start(flow_of(sleep("doze", HOUR), past_pivot=past_pivot)).advance(HOUR))


def _a_choice_is_made_later() -> None:
    saga = flow_of(choose(when(lambda s: 1 // s.n == 1, leg("a")), otherwise=None, name="either"))
    _played(
        redeployed(
            Scene.start(saga, {}), flow_of(choose(when(lambda s: True, leg("a")), otherwise=None, name="either"))
        ).retry()
    )
    _played(Scene.start(saga, {"n": 1}))


def _the_flow_says_no() -> None:
    _played(Scene.start(flow_of(leg("a"), fail("no", reason="it is so"))).ok("a"))
    told = flow_of(fail("no", reason=lambda s: str(1 // s.n), name="no"))
    _played(redeployed(Scene.start(told, {}), flow_of(fail("no", reason="it is so", name="no"))).retry())


def _questions_are_dropped_and_asked_again() -> None:
    @scatter(Contract("quote", Do, Offer, queue="q"), queues=("q1", "q2"), into="offers", deadline=HOUR, name="ask")
    def question(s: Talk) -> Do:
        return Do()

    scene = Scene.start(flow_of(question, past_pivot=True))
    _played(scene.advance(HOUR).retry())


def _a_child_is_undone_with_its_parent() -> None:
    child = flow_of(leg("inner"), name="child")
    node: Node[Talk] = run(child, lambda s: Talk(), name="sub")
    _played(Scene.start(flow_of(node, leg("b"))).ok("inner").rejects("b").undo_ok("inner"))


def _operators_mend() -> None:
    for past_pivot in (False, True):
        saga = flow_of(leg("a", undo=not past_pivot), past_pivot=past_pivot)
        ends = (Scene.start(saga).crash("a"), Scene.start(saga).exhaust("a"), Scene.start(saga).rejects("a"))
        _played(*[scene.act(ActName.SKIP, step="a", value={}) for scene in ends])
    unmended = Scene.start(flow_of(leg("a"), leg("b"))).ok("a").rejects("b").undo_rejects("a")
    _played(unmended.act(ActName.WAIVE, "insured", step="a"))


def _a_flow_fails() -> None:
    no = fail("no", reason="no")
    wrong = Scene.start(flow_of(fail("no", reason=lambda s: s.absent)))  # type: ignore[attr-defined]  # what blocks it
    _played(Scene.start(flow_of(no)), redeployed(wrong, flow_of(no)).retry())


SCENES: list[Callable[[], None]] = [
    _operators_mend,
    _a_lock_is_waited_for,
    _a_lock_is_waited_for_again,
    _a_wait_ends,
    _a_choice_is_made_later,
    _the_flow_says_no,
    _questions_are_dropped_and_asked_again,
    _a_child_is_undone_with_its_parent,
    _completes_with_a_retry,
    _is_undone_with_a_retry,
    _is_undone_after_its_deadline,
    _is_cancelled_between_attempts,
    _cannot_be_built,
    _cannot_be_built_again,
    _cannot_be_undone,
    _is_blocked_and_cancelled,
    _stops_past_the_pivot,
    _a_flow_fails,
]


@pytest.fixture(scope="module")
def seen() -> set[tuple[str, Status | StepStatus | None, Status | StepStatus]]:
    """Transitions of these scenes alone: what other tests went through does not count."""
    before = set(SEEN)
    SEEN.clear()
    for scene in SCENES:
        scene()
    found = set(SEEN)
    SEEN.update(before)
    return found


def test_every_legal_transition_of_an_instance_is_reached_and_no_other(
    seen: set[tuple[str, Status | StepStatus | None, Status | StepStatus]],
) -> None:
    legal = {(before, after) for before, afters in INSTANCE.items() for after in afters}
    assert {(before, after) for kind, before, after in seen if kind == "instance"} == legal


def test_every_legal_transition_of_a_step_is_reached_and_no_other(
    seen: set[tuple[str, Status | StepStatus | None, Status | StepStatus]],
) -> None:
    legal = {(before, after) for before, afters in STEP.items() for after in afters}
    assert {(before, after) for kind, before, after in seen if kind == "step"} == legal


@pytest.mark.parametrize("status", Status)
def test_ended_instances_have_no_way_out(status: Status) -> None:
    """But one: a parent takes its completed child back."""
    ways = INSTANCE[status] - ({Status.COMPENSATING} if status is Status.COMPLETED else set())
    assert (ways == frozenset()) == status.is_final


@pytest.mark.parametrize("status", StepStatus)
def test_a_step_is_either_live_or_to_undo_or_closed(status: StepStatus) -> None:
    assert [status.is_live, status.is_to_undo, status.is_closed].count(True) == 1
    assert status.is_forward + status.is_undoing + (status is StepStatus.UNDO_FAILED) == status.is_live
    assert not status.is_attempting or status.is_forward


@pytest.mark.parametrize("status", StepStatus)
def test_what_is_to_undo_is_what_leads_to_an_undo(status: StepStatus) -> None:
    begins_undo = StepStatus.UNDO_SENT in STEP[status] and not status.is_undoing
    assert begins_undo == (status.is_to_undo or status is StepStatus.UNDO_FAILED)


@pytest.mark.parametrize("status", Status)
def test_an_instance_is_active_unless_it_has_ended_or_needs_an_operator(status: Status) -> None:
    assert [status.is_active, status.is_final, status is Status.ATTENTION].count(True) == 1
