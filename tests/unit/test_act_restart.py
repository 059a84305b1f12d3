"""Restart from a step: what lies from it on is taken back first, then begun anew as another generation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from sagaline.orchestrator.kernel import block
from sagaline.orchestrator.kernel.restarting import restart_objection
from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded, EventDelivered
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Completed, JsonObject, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Change, Decision, Outcome, effect_key, label_of, place_of_label
from sagaline.orchestrator.messages.reasons import Reason, not_now
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node, Saga, Step, pivot
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.nodes import choose, expect, loop, parallel, run, sleep, wait, when

from .kernel_kit import TOO_LARGE
from .kernel_nodes import HOUR, LIFE, Talk, flow_of, leg, paid, redeployed

ABC = flow_of(leg("a"), leg("b"), leg("c"))
BROKEN = flow_of(leg("a"), leg("b"), leg("c", broken=True))
STUCK = redeployed(redeployed(Scene.start(ABC).ok("a"), BROKEN).ok("b"), ABC)
"""a and b are done, c could not be built."""


def last(scene: Scene) -> Decision:
    assert scene.last is not None
    return scene.last


def restart(scene: Scene, step: str, value: JsonObject | None = None) -> Scene:
    return scene.act(ActName.RESTART, "again", step=step, value=value, by="ann")


def refused(scene: Scene, step: str, value: JsonObject | None = None) -> str:
    """Why a restart is refused; nothing has changed."""
    after = restart(scene, step, value)
    assert last(after).outcome is Outcome.DENIED
    assert after.document is scene.document
    assert last(after).actions == ()
    return last(after).reason


def test_what_lies_from_the_step_on_is_undone_and_then_begun_anew() -> None:
    """What lies before it stays. The history tells from where."""
    assert (STUCK.status, STUCK.step("c")) == (Status.ATTENTION, StepStatus.BLOCKED)
    undoing = restart(STUCK, "b")
    assert last(undoing).changes[0] == Change(what="restart", before=None, after="b")
    assert (undoing.status, undoing.step("b")) == (Status.RUNNING, StepStatus.UNDO_SENT)
    again = undoing.undo_ok("b")
    assert (again.step("a"), again.step("b"), again.step("c")) == (StepStatus.DONE, StepStatus.SENT, None)
    assert (again.document.restarts, again.document.restarting) == (1, None)
    assert Change(what="restart", before="b", after="over") in last(again).changes
    assert again.settle().status is Status.COMPLETED


def test_what_is_begun_anew_has_effect_keys_and_command_ids_of_its_own() -> None:
    """The participant has closed the old ones: it answers a forward with the stored reply, or shuts the door."""
    again = restart(STUCK, "b").undo_ok("b")
    command = again.open("b")
    assert (command.id, command.effect_key) == (f"talk/k/b~{LIFE}+1/1", f"talk/k/b~{LIFE}+1")
    turned = again.ok("b").rejects("c")
    undo = turned.open("b", undo=True)
    assert (undo.id, undo.effect_key) == (f"talk/k/b~{LIFE}+1/undo/1", f"talk/k/b~{LIFE}+1")
    ids = [command.id for command in turned.settle().sent]
    assert len(set(ids)) == len(ids)


def test_a_late_reply_to_what_was_taken_back_counts_for_nothing() -> None:
    """Nor does one to a generation that never was."""
    again = restart(STUCK, "b").undo_ok("b")
    for id in (f"talk/k/b~{LIFE}/1", f"talk/k/b~{LIFE}/undo/1", f"talk/k/b~{LIFE}+2/1", f"talk/k/b~{LIFE}+/1"):
        late = again.play(Completed(id="late", instance="talk/k", command_id=id, reply={"ok": True}))
        assert last(late).outcome is Outcome.IGNORED
        assert late.document is again.document


def test_an_undo_of_a_restart_that_fails_asks_an_operator() -> None:
    """A retry goes on with it, a loss may be accepted; the restart is not forgotten."""
    failed = restart(STUCK, "a").undo_ok("b").undo_rejects("a")
    assert (failed.status, failed.document.restarting is not None) == (Status.ATTENTION, True)
    assert failed.retry().undo_ok("a").open("a").effect_key == f"talk/k/a~{LIFE}+1"
    assert failed.act(ActName.WAIVE, "insured", step="a").open("a").effect_key == f"talk/k/a~{LIFE}+1"
    assert refused(failed, "b") == "a restart from 'a' is in progress; restart from there, or from a step before it"
    assert restart(failed, "a").open("a", undo=True).attempt == 2


def test_a_restart_is_paused_cancelled_and_abandoned_like_anything_else() -> None:
    """A cancel undoes all of it, what is undone already not once more."""
    undoing = restart(STUCK, "b")
    paused = undoing.act(ActName.PAUSE).undo_ok("b")
    assert paused.step("b") is StepStatus.UNDO_SENT
    assert paused.act(ActName.RESUME).step("b") is StepStatus.SENT
    cancelled = undoing.cancel().settle()
    assert (cancelled.status, cancelled.undone) == (Status.COMPENSATED, ("talk/k/b", "talk/k/a"))
    assert cancelled.document.restarting is None
    abandoned = undoing.undo_rejects("b").act(ActName.ABANDON)
    assert (abandoned.status, abandoned.document.restarting) == (Status.ABANDONED, None)
    assert last(undoing.act(ActName.SKIP, step="b", value={})).reason == "step 'b' is being undone"


def test_undos_are_built_from_the_state_as_it_was_and_steps_from_the_patched_one() -> None:
    """The patch is carried out when all is taken back."""
    patch: list[JsonObject] = [{"op": "replace", "path": "/n", "value": 7}]
    undoing = restart(STUCK, "b", {"patch": [*patch]})
    assert undoing.state.n == 0
    assert undoing.undo_ok("b").state.n == 7
    nothing_to_undo = restart(STUCK, "c", {"patch": [*patch]})
    assert (nothing_to_undo.state.n, nothing_to_undo.open("c").effect_key) == (7, f"talk/k/c~{LIFE}+1")


def test_a_patch_that_does_not_fit_any_more_asks_an_operator_again() -> None:
    """Nothing of it has been done; another restart brings another patch."""
    patch: list[JsonObject] = [{"op": "test", "path": "/n", "value": 0}, {"op": "replace", "path": "/n", "value": 7}]
    undoing = restart(STUCK, "b", {"patch": [*patch]})
    edited = undoing.act(ActName.EDIT, value={"patch": [{"op": "replace", "path": "/n", "value": 3}]})
    stuck = edited.undo_ok("b")
    assert stuck.attention is not None
    assert stuck.attention.kind is CauseKind.CODE
    assert stuck.attention.message == (
        "the patch of the restart from 'b' no longer fits: operation 1 (test /n): "
        "3 (<class 'int'>) is not equal to tested value 0 (<class 'int'>); restart with another patch"
    )
    assert (stuck.state.n, stuck.step("b")) == (3, StepStatus.UNDONE)
    assert stuck.retry().status is Status.ATTENTION
    assert restart(stuck, "b").open("b").effect_key == f"talk/k/b~{LIFE}+1"


def test_a_restart_that_makes_no_sense_is_refused() -> None:
    """With the reason, and what to do instead."""
    running = Scene.start(ABC).ok("a")
    assert refused(running, "a") == "it is running and does not need attention"
    assert refused(running.ok("b").ok("c"), "a") == "it is completed and can no longer change"
    undo_failed = running.rejects("b").undo_rejects("a")
    assert refused(undo_failed, "a") == "it is compensating and no longer goes forward"
    assert refused(STUCK, "z") == "it has no step 'z' on record; there are a, b, c"
    assert refused(STUCK, "b", {"pacth": []}) == "a restart takes patch, not pacth"
    assert refused(STUCK, "b", {"patch": 1}).startswith("the patch must be a list of 1 to 100 operations")
    assert refused(STUCK, "b", {"patch": [{"op": "remove", "path": "/x"}]}).startswith("operation 1 (remove /x): ")


def test_what_nothing_takes_back_is_not_done_twice() -> None:
    """Neither what is done nor what may be; a step that only reads leaves nothing."""
    saga = flow_of(
        leg("a"), leg("b", undo=False), leg("c", undo=False, read_only=True), leg("d"), leg("e", broken=True)
    )
    scene = Scene.start(saga).ok("a").ok("b").ok("c").ok("d")
    assert refused(scene, "a") == ("there is no undo for b (done); restart from a later step, or retry or skip it")
    assert refused(scene, "b").startswith("there is no undo for b (done); ")
    assert restart(scene, "c").step("d") is StepStatus.UNDO_SENT
    past = (
        Scene.start(flow_of(leg("a"), pivot, leg("b", undo=False), leg("c", undo=False))).ok("a").ok("b").exhaust("c")
    )
    assert refused(past, "a") == "it is past its pivot, and 'a' is before the pivot"
    assert refused(past, "c") == "there is no undo for c (failed); restart from a later step, or retry or skip it"


def test_past_the_pivot_what_left_nothing_is_begun_anew() -> None:
    """A choice is made again, by the edited state."""
    either = choose(when(lambda s: s.n == 0, leg("x", undo=False)), otherwise=leg("y", undo=False), name="either")
    stuck = Scene.start(flow_of(leg("a"), pivot, either)).ok("a").rejects("x")
    assert stuck.status is Status.ATTENTION
    again = restart(stuck, "either", {"patch": [{"op": "replace", "path": "/n", "value": 1}]})
    assert (again.step("x"), again.open("y").effect_key) == (None, f"talk/k/y~{LIFE}+1")
    assert refused(stuck, "x") == "'x' is inside 'either'; restart from there"


def test_branches_rounds_and_waits_are_taken_back_as_one() -> None:
    """The other leg of a parallel is waited for, the wait is told to the mailbox again."""
    waiting: Node[Talk] = wait(expect(paid, key=lambda s: "k", into="paid"), timeout=HOUR)
    broken: Step[Talk] = leg("r", broken=True)
    both = parallel(leg("p"), broken, name="both")
    twice = loop(leg("l"), while_=lambda s: s.rounds < 1, name="twice", rounds_max=3)
    saga = flow_of(waiting, both, twice)
    good = flow_of(waiting, parallel(leg("p"), leg("r"), name="both"), twice)
    stuck = redeployed(Scene.start(saga, {"rounds": 0}).receives(paid, {"amount": 1}), good)
    assert (stuck.status, stuck.step("p")) == (Status.ATTENTION, StepStatus.SENT)
    flying = restart(stuck, waiting.name)
    assert (flying.status, flying.step("p")) == (Status.RUNNING, StepStatus.SENT)
    again = flying.ok("p").undo_ok("p")
    assert again.step(waiting.name) is StepStatus.DONE, "the event that was brought before is brought again"
    assert {again.open("p").effect_key, again.open("r").effect_key} == {f"talk/k/p~{LIFE}+1", f"talk/k/r~{LIFE}+1"}


def test_a_child_of_another_generation_is_another_instance() -> None:
    """A word of the first one is not taken for one of the second."""
    child = flow_of(leg("inner"), name="child")
    sub: Node[Talk] = run(child, lambda s: Talk(), name="sub")
    saga, good = flow_of(sub, leg("b", broken=True)), flow_of(sub, leg("b"))
    stuck = redeployed(Scene.start(saga).ok("inner"), good)
    again = restart(stuck, "sub").undo_ok("inner", of=f"child/talk/k/sub~{LIFE}")
    assert again.open("inner").instance == f"child/talk/k/sub~{LIFE}+1"
    old = ChildEnded(
        id="late",
        instance="talk/k",
        place=f"sub~{LIFE}",
        index=None,
        child=f"child/talk/k/sub~{LIFE}",
        end=ChildEnd.COMPLETED,
    )
    assert last(again.play(old)).outcome is Outcome.IGNORED
    assert again.ok("inner").step("b") is StepStatus.SENT


def test_a_lock_is_given_back_and_asked_for_again() -> None:
    """Who waits in between gets it."""
    saga = flow_of(leg("a", locks="one"), leg("b", broken=True))
    scene = Scene.start(saga).ok("a").play(Start(id="2", definition="talk", key="other", input={}))
    assert not [command for command in scene.waiting if command.instance == "talk/other"]
    undoing = restart(scene, "a")
    again = undoing.undo_ok("a")
    assert [command.instance for command in again.waiting] == ["talk/other"]
    assert again.step("a") is StepStatus.LOCKING
    assert again.document.timers["a:lock"] > 0


def test_an_event_for_a_wait_of_another_generation_is_not_taken() -> None:
    """It was on its way while the wait was begun anew."""
    waiting: Node[Talk] = wait(expect(paid, key=lambda s: "k", into="paid"), timeout=HOUR, name="pay")
    both = parallel(waiting, leg("r", broken=True), name="both")
    good = flow_of(parallel(waiting, leg("r"), name="both"))
    again = restart(redeployed(Scene.start(flow_of(both)), good), "both")
    assert again.step("pay") is StepStatus.WAITING
    came = EventDelivered(
        id="e", instance="talk/k", place=f"pay~{LIFE}", index=0, event="paid", event_id="e", body={"amount": 1}
    )
    assert last(again.play(came)).outcome is Outcome.IGNORED
    assert again.receives(paid, {"amount": 2}).state.paid.amount == 2


def test_only_a_saga_has_an_order_to_restart_in() -> None:
    """A process manager's steps have none."""
    scene = Scene.of(order_fulfilment).receives("order-placed", {"order_id": "k", "skus": ["x"]}, key="k")
    scene = scene.receives("order-paid", {"order_id": "k", "amount_cents": 1}, key="k")
    arrival = Arrival(message=TimerFired(id="t", instance=scene.id, timer="x", due_ms=1), now_ms=scene.now_ms)
    blocked = block(scene.document, arrival, TOO_LARGE).document
    assert blocked is not None
    stuck = replace(scene, entities={**scene.entities, scene.id: blocked})
    assert refused(stuck, "pick") == "only a saga can be restarted or forked from a step"


def test_two_restarts_are_two_generations_and_nothing_is_lost() -> None:
    """After the second the ids say so; a sleep is slept again."""
    saga = flow_of(sleep("doze", HOUR), leg("a"), leg("b", broken=True))
    scene = Scene.start(saga).advance(HOUR).ok("a")
    first = restart(scene, "doze").undo_ok("a")
    assert (first.step("doze"), first.step("a")) == (StepStatus.WAITING, None)
    second = restart(first.advance(HOUR).ok("a"), "a").undo_ok("a")
    assert second.open("a").id == f"talk/k/a~{LIFE}+2/1"
    assert from_json(second.open("a").payload) == {"n": 0}
    assert second.advance(timedelta(seconds=1)).status is Status.RUNNING


@pytest.mark.parametrize("step", ["a", "b", "c"])
def test_a_restart_asks_for_nothing_twice(step: str) -> None:
    """Every effect is there once or was taken back; G5 through two lives."""
    ended = restart(STUCK, step).settle()
    assert ended.status is Status.COMPLETED
    done = [command.effect_key for command in ended.sent if not command.undo]
    undone = [command.effect_key for command in ended.sent if command.undo]
    assert len(set(done)) == len(done)
    standing = [place_of_label(key.rpartition("/")[2]) for key in done if key not in undone]
    assert sorted(standing) == ["a", "b", "c"]


HAPPENINGS = (
    "ok",
    "rejects",
    "crash",
    "tick",
    "retry",
    "waive",
    "restart a",
    "restart b",
    "restart both",
    "restart c",
    "cancel",
    "skip",
)


def happen(scene: Scene, what: str, pick: int) -> Scene:
    """One of the things that may happen, to one of those whose answer is waited for; what cannot happen does not."""
    waiting = [command for command in scene.waiting if command.instance == scene.id]
    match what.split():
        case ["restart", step]:
            return restart(scene, step)
        case ["retry"]:
            return scene.retry()
        case ["cancel"]:
            return scene.cancel()
        case ["waive"]:
            failed = [place for place, each in scene.document.steps.items() if each.status is StepStatus.UNDO_FAILED]
            return scene.act(ActName.WAIVE, "insured", step=failed[0]) if failed else scene
        case ["tick"]:
            return scene.tick() if scene.has_timer else scene
        case _ if not waiting:
            return scene
    command = waiting[pick % len(waiting)]
    if what == "skip":
        return scene.act(ActName.SKIP, step=command.step, value={})
    verb = f"undo_{what}" if command.undo else what
    after: Scene = getattr(scene, verb)(command.step)
    return after


def check_books(scene: Scene) -> None:
    """G3 and G5 over all generations, from what left alone: no id twice, nothing undone twice or left behind."""
    ids = [command.id for command in scene.sent]
    assert len(set(ids)) == len(ids), "a command id was used twice"
    undone = [command.effect_key for command in scene.sent if command.undo and command.attempt == 1]
    assert len(set(undone)) == len(undone)
    life = scene.document.incarnation
    labels = {label_of(place, each.generation, life) for place, each in scene.document.steps.items()}
    known = {effect_key(scene.id, label) for label in labels}
    for key in {command.effect_key for command in scene.sent if not command.undo} - known:
        assert key in undone, f"{key} was forgotten and not taken back"


FLOWS = {
    "plain": (ABC, BROKEN),
    "parallel": tuple(
        flow_of(leg("a"), parallel(leg("b"), [leg("y"), leg("x", broken=broken)], name="both"), leg("c"), name="talk")
        for broken in (False, True)
    ),
}


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 3)), max_size=25),
    st.sampled_from(["plain", "parallel"]),
)
@settings(max_examples=400, deadline=None)
def test_whatever_happens_in_between_nothing_is_done_twice_or_left(
    happenings: list[tuple[str, int]], kind: str
) -> None:
    """And with good workers, and an operator who retries, it comes to an end (G4)."""
    good, bad = FLOWS[kind]
    scene = redeployed(Scene.start(good).ok("a"), bad).ok("b")
    scene = scene.ok("y") if kind == "parallel" else scene
    scene = redeployed(scene, good)
    for what, pick in happenings:
        scene = happen(scene, what, pick)
        check_books(scene)
    for _ in range(30):
        scene = scene.settle()
        if scene.status is not Status.ATTENTION:
            break
        scene = scene.retry()
    assert scene.status in (Status.COMPLETED, Status.COMPENSATED), str(scene)
    check_books(scene)
    if scene.status is Status.COMPLETED:
        assert all(each.status in (StepStatus.DONE, StepStatus.DROPPED) for each in scene.document.steps.values())


def test_a_restart_under_way_is_ended_by_the_version_that_began_it() -> None:
    """A newer one that migrates waits for it, visibly."""
    undoing = restart(STUCK, "b")
    newer = Saga("talk", Talk, version=2, flow=[leg("a"), leg("b"), leg("c")])
    newer.migrate(from_version=1)(Talk.model_validate)
    waits = redeployed(undoing, newer).undo_ok("b")
    assert waits.attention is not None
    assert waits.attention.message == (
        "the migration of 'talk' from version 1 to 2 waits: a restart from 'b' is in progress; deploy version 1"
    )
    back = redeployed(waits, ABC).retry()
    assert (back.step("b"), back.document.restarts) == (StepStatus.SENT, 1)
    assert redeployed(back, newer).ok("b").document.version == 2


def test_a_step_that_waits_for_its_lock_again_may_have_happened_before() -> None:
    """Its first commands have left; one that waits for the first time has done nothing."""

    def locking(attempt: int) -> Reason | None:
        b = replace(STUCK.document.steps["b"], status=StepStatus.LOCKING, attempt=attempt, undo=None)
        document = replace(STUCK.document, steps={**STUCK.document.steps, "b": b})
        return restart_objection(ABC, document, "b")

    assert locking(1) == not_now("there is no undo for b (locking); restart from a later step, or retry or skip it")
    assert locking(0) is None
