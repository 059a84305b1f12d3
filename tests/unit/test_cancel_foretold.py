"""What a cancel would do now, as the case tells it, is what a cancel then does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sagaline.orchestrator.kernel.inspection import inspect
from sagaline.orchestrator.kernel.outstanding import is_outstanding
from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName, JsonObject, Rejected, Start
from sagaline.orchestrator.messages.outputs import Change, Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node, Saga
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.examples.flight_search import flight_search
from sagaline.sagas.examples.invoice_import import invoice_import
from sagaline.sagas.examples.loan_approval import loan_approval
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.examples.trip_booking import trip_booking
from sagaline.sagas.nodes import Child, Each, Parallel, expect, loop, parallel, run, sleep, wait

from .kernel_nodes import HOUR, LIFE, Talk, flow_of, leg, paid


def racing(name: str = "talk") -> Saga[Talk]:
    """Of two branches one is needed; what the other did is taken back while the flow goes on."""
    return flow_of(parallel(leg("p"), [leg("q"), leg("r")], need=1, rest="undo", name="both"), leg("z"), name=name)


def lost(scene: Scene) -> Scene:
    """The undo of the branch that lost has failed."""
    failed = scene.ok("q").ok("p").ok("r").undo_rejects("r")
    assert failed.documents[-1].steps["r"].status is StepStatus.UNDO_FAILED
    return failed


def test_a_cancel_tries_an_undo_of_a_lost_branch_again_that_has_failed() -> None:
    """G4: nobody looks at it any more, so somebody must go on with it."""
    failed = lost(Scene.start(racing()))
    assert (failed.status, failed.document.backward) == (Status.ATTENTION, False)
    cancelled = failed.cancel().ok("z").undo_ok("z")
    assert (cancelled.status, cancelled.step("r")) == (Status.COMPENSATING, StepStatus.UNDO_SENT)
    ended = cancelled.settle()
    assert (ended.status, ended.undone) == (Status.COMPENSATED, ("talk/k/z", "talk/k/r", "talk/k/p", "talk/k/q"))


def test_a_parent_that_unwinds_a_child_tries_it_again_too() -> None:
    """The child stood in attention; the parent's word ends that."""
    node = run(racing("child"), lambda s: Talk(), name="sub")
    failed = lost(Scene.start(flow_of(parallel(node, leg("other"), name="outer"))))
    child = f"child/talk/k/sub~{LIFE}"
    assert [each.status for each in failed.documents if each.id == child] == [Status.ATTENTION]
    turned = failed.rejects("other")
    assert turned.settle().status is Status.COMPENSATED


def test_what_turns_a_paused_instance_lets_the_clock_of_an_undo_go_on() -> None:
    """A cancel and a parent's word end the pause as a resume does."""

    def held(scene: Scene, of: str) -> Scene:
        crashed = scene.ok("q").ok("p").ok("r").undo_crash("r")
        return crashed.act(ActName.PAUSE, of=of).advance(timedelta(seconds=5))

    cancelled = held(Scene.start(racing()), "talk/k").cancel().advance(timedelta(seconds=5))
    assert cancelled.open("r", undo=True).attempt == 2
    node = run(racing("child"), lambda s: Talk(), name="sub")
    parent = Scene.start(flow_of(parallel(node, leg("other"), name="outer")))
    turned = held(parent, f"child/talk/k/sub~{LIFE}").rejects("other").advance(timedelta(seconds=5))
    assert turned.open("r", undo=True).attempt == 2


DEFINITIONS: dict[str, AnyDefinition] = {
    each.name: each for each in (checkout, trip_booking, flight_search, invoice_import, order_fulfilment, loan_approval)
}
NODES: dict[str, Saga[Talk]] = {
    "lossy": racing("lossy"),
    "apart": flow_of(parallel([leg("p"), leg("q")], leg("r"), undo="parallel", name="both"), leg("z"), name="apart"),
    "locked": flow_of(leg("a", locks="one"), leg("b"), name="locked"),
    "waiting": flow_of(
        leg("a"),
        parallel(wait(expect(paid, key=lambda s: "k", into="paid"), timeout=HOUR), leg("b"), name="both"),
        sleep("doze", HOUR),
        leg("c"),
        name="waiting",
    ),
    "child": flow_of(
        leg("a"), run(flow_of(leg("i"), leg("j"), name="inner"), lambda s: Talk(), name="sub"), leg("b"), name="child"
    ),
    "rounds": flow_of(leg("a"), loop(leg("l"), while_=lambda s: True, rounds_max=3, name="on"), name="rounds"),
    "no undo": flow_of(leg("a", undo=False), leg("b", undo=False, read_only=True), leg("c"), name="no-undo"),
}
UNDOING = (StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF)
HAPPENINGS = ("ok", "ok", "ok", "rejects", "crash", "exhaust", "tick", "event", "pause", "resume", "retry", "edit")


def begin(name: str) -> Scene:
    if name == "order-fulfilment":
        scene = Scene.of(order_fulfilment).receives("order-placed", {"order_id": "k", "skus": ["x"]}, key="k")
        return scene.receives("order-paid", {"order_id": "k", "amount_cents": 1}, key="k")
    if name == "locked":
        held = Scene.start(NODES[name], key="other")
        return replace(held.play(Start(id="2", definition=name, key="k", input={})), id="locked/k")
    return Scene.start(DEFINITIONS.get(name) or NODES[name])


def happen(scene: Scene, what: str, pick: int) -> Scene:
    """One of the things that may happen; what cannot happen does not."""
    if what == "tick":
        return scene.tick() if scene.has_timer else scene
    if what == "event":
        body: JsonObject = {"amount": 1}
        return scene.receives(paid, body, key="k") if scene.id.startswith("waiting/") else scene
    if what in ("pause", "resume", "retry"):
        return scene.act(ActName(what))
    if what == "edit":
        return scene.act(ActName.EDIT, value={"patch": [{"op": "test", "path": "", "value": scene.document.state}]})
    if not scene.waiting:
        return scene
    command = scene.waiting[pick % len(scene.waiting)]
    after: Scene = getattr(scene, f"undo_{what}" if command.undo else what)(command.step, of=command.instance)
    return after


def taken_back(before: Scene, after: Scene) -> list[str]:
    """What was undone of the instance between two scenes, in the order in which that began; what was being undone
    before comes first, and a child that left nothing counts when it says so.
    """
    own = heard(before, after)
    children = {place for place, node in places(before) if isinstance(node, Child | Each)}
    undone = {each.what for each in own if each.after == StepStatus.UNDONE}
    begun = [place for place in before.document.steps if before.step(place) in UNDOING and place in undone]
    for each in own:
        in_child = each.after == StepStatus.REJECTED and each.what in children
        if in_child or (each.after == StepStatus.UNDO_SENT and each.what in undone):
            begun.append(each.what)
    return list(dict.fromkeys(begun))


def heard(before: Scene, after: Scene) -> list[Change]:
    return [change for id, change in after.changes[len(before.changes) :] if id == before.id]


def places(scene: Scene) -> list[tuple[str, Node[BaseModel]]]:
    tree = scene.definition.tree
    return [(place, tree[place.partition("@")[0]].node) for place in scene.document.steps]


def answered(scene: Scene) -> Scene:
    """What is under way succeeds, in the order in which it was begun."""
    for place, record in scene.document.steps.items():
        if record.status is StepStatus.SENT and place.partition("@")[0] in scene.definition.steps:
            scene = scene.ok(place, of=scene.id)
    return scene


def check_order(scene: Scene, told: list[str], done: list[str]) -> None:
    """The same undos; in the same order, but for branches that are undone beside each other."""
    assert sorted(told) == sorted(done)
    for one, other in combinations(told, 2):
        met = scene.definition.tree.meeting(one.partition("@")[0], other.partition("@")[0])
        if met is None or not isinstance(met[0], Parallel) or met[0].options.undo != "parallel":
            assert done.index(one) < done.index(other), f"{told} was told, {done} was done\n{scene}"


def check_cancel(scene: Scene) -> None:
    """Compares what is told with what is done."""
    told = inspect(scene.definition, scene.document).cancel
    cancelled = scene.cancel()
    assert cancelled.last is not None
    if told.denied is not None:
        assert cancelled.last.outcome in (Outcome.DENIED, Outcome.UNCHANGED)
        assert cancelled.document is scene.document
        if cancelled.last.outcome is Outcome.DENIED:
            assert (cancelled.last.code, cancelled.last.reason) == told.denied
        return
    assert cancelled.last.outcome is Outcome.APPLIED, cancelled.last.reason
    still = {place for place, record in cancelled.document.steps.items() if record.status is StepStatus.SENT}
    assert still == set(told.awaited)
    if cancelled.status is Status.ATTENTION:
        assert any(isinstance(each, Rejected) for each in scene.document.deferred), str(cancelled)
        return  # an undo was refused in a pause, which is heard now
    ended = answered(cancelled).settle()
    if any(each.status is Status.ATTENTION for each in ended.documents if each.id != scene.id):
        return  # a child that somebody must look at first
    assert ended.status is Status.COMPENSATED, str(ended)
    ended_in_the_pause = {change.what for change in heard(scene, cancelled) if change.after == StepStatus.REJECTED}
    done_now = [place for place in taken_back(scene, ended) if place not in ended_in_the_pause]
    check_order(scene, [each.step for each in told.undone], done_now)
    done = {place for place, record in ended.document.steps.items() if is_outstanding(scene.definition, place, record)}
    assert done == {each.step for each in told.stays}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DEFINITIONS, *NODES])
@given(happenings=st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 5)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_what_is_foretold_of_a_cancel_is_what_it_does(name: str, happenings: list[tuple[str, int]]) -> None:
    """At every moment, whatever has happened before; what is awaited succeeds, the oldest first."""
    scene = begin(name)
    check_cancel(scene)
    for what, pick in happenings:
        scene = happen(scene, what, pick)
        check_cancel(scene)
