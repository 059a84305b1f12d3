"""Nodes in nodes: whatever stands in a loop has places of its own in every round, however deep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Node
from sagaline.sagas.nodes import choose, loop, parallel, scatter, when

from .kernel_nodes import HOUR, Do, Offer, Talk, flow_of, leg, memo_of


def times(count: int) -> Callable[[Talk], bool]:
    """A condition that holds so often."""
    left = [count]

    def goes_on(s: Talk) -> bool:
        left[0] -= 1
        return left[0] >= 0

    return goes_on


def looped(*nodes: Node[Talk], count: int = 2, name: str = "again") -> Node[Talk]:
    return loop(*nodes, while_=times(count), name=name)


def places(scene: Scene) -> list[str]:
    return [each.step for each in scene.waiting]


def test_branches_in_a_loop_begin_anew_in_every_round() -> None:
    scene = Scene.start(flow_of(looped(parallel(leg("x"), leg("y"), name="both")), leg("last")))
    assert places(scene) == ["x@1", "y@1"]
    second = scene.ok("y@1").ok("x@1")
    assert places(second) == ["x@2", "y@2"]
    assert (second.step("both@1"), second.step("both@2")) == (StepStatus.DONE, StepStatus.WAITING)
    done = second.ok("x@2").ok("y@2").rejects("last").settle()
    assert done.undone == ("talk/k/y@2", "talk/k/x@2", "talk/k/x@1", "talk/k/y@1")


def test_a_choice_in_a_loop_is_made_in_every_round() -> None:
    cases = iter([True, False])
    either = choose(when(lambda s: next(cases), leg("one"), name="first"), otherwise=leg("other"), name="either")
    begun = Scene.start(flow_of(looped(either)))
    assert memo_of(begun, "either@1") == {"branch": "first"}
    scene = begun.ok("one@1")
    assert places(scene) == ["other@2"]
    assert ("either@1" in scene.document.steps, memo_of(scene, "either@2")) == (False, {"branch": "otherwise"})
    assert scene.ok("other@2").status is Status.COMPLETED


def test_a_branch_that_is_lost_in_one_round_is_none_in_another() -> None:
    """Only what it did in its own round is taken back."""
    scene = Scene.start(flow_of(looped(parallel(leg("x"), [leg("y"), leg("z")], need="any", name="both"))))
    lost = scene.ok("y@1").rejects("z@1")
    assert (places(lost), [each.undo for each in lost.waiting]) == (["x@1", "y@1"], [False, True])
    second = lost.ok("x@1")
    assert places(second) == ["y@1", "x@2", "y@2"]
    assert memo_of(second, "both@2") == {"lost": {}}
    undone = second.undo_ok("y@1").ok("y@2")
    assert undone.step("y@2") is StepStatus.DONE
    assert undone.ok("z@2").rejects("x@2").settle().status is Status.COMPLETED


def test_a_parallel_in_a_loop_in_a_loop_is_found_by_its_own_rounds() -> None:
    """The failure of a branch is that of the innermost parallel around it."""
    inner = looped(parallel(leg("x"), leg("y"), need="any", name="both"), count=3, name="inner")
    scene = Scene.start(flow_of(looped(inner, count=1, name="outer")))
    assert places(scene) == ["x@1.1", "y@1.1"]
    second = scene.ok("x@1.1").rejects("y@1.1")
    assert places(second) == ["x@1.2", "y@1.2"]
    lost = second.rejects("x@1.2", "sold out")
    assert list(memo_of(lost, "both@1.2")["lost"].values()) == ["sold out"]  # type: ignore[union-attr]
    assert lost.status is Status.RUNNING
    assert places(lost.ok("y@1.2")) == ["x@1.3", "y@1.3"]
    assert lost.rejects("y@1.2").status is Status.COMPENSATING


def test_branches_of_one_round_are_undone_beside_each_other_those_of_two_rounds_are_not() -> None:
    """The later round first."""
    both = parallel(leg("x"), leg("y"), undo="parallel", name="both")
    scene = Scene.start(flow_of(looped(both), leg("last"))).ok("x@1").ok("y@1").ok("x@2").ok("y@2")
    turned = scene.rejects("last")
    assert places(turned) == ["y@2", "x@2"]
    half = turned.undo_ok("x@2")
    assert places(half) == ["y@2"]
    assert places(half.undo_ok("y@2")) == ["y@1", "x@1"]


def test_loops_within_a_branch_are_undone_beside_those_of_another() -> None:
    """Their rounds have nothing to do with each other."""
    both = parallel(looped(leg("x"), name="many"), leg("y"), undo="parallel", name="both")
    scene = Scene.start(flow_of(both, leg("last"))).ok("x@1").ok("x@2").ok("y").rejects("last")
    assert sorted(places(scene)) == ["x@2", "y"]
    assert sorted(places(scene.undo_ok("x@2"))) == ["x@1", "y"]


def test_a_scatter_in_a_loop_asks_in_every_round() -> None:
    @scatter(Contract("quote", Do, Offer, queue="q"), queues=("q1", "q2"), into="offers", deadline=HOUR, name="ask")
    def question(s: Talk) -> Do:
        return Do()

    scene = Scene.start(flow_of(looped(question)))
    one, two = places(scene)
    assert one.endswith("@1")
    second = scene.ok(one, Offer(price=1)).ok(two, Offer(price=2))
    assert [place.partition("@")[2] for place in places(second)] == ["2", "2"]
    assert [each.price for each in second.state.offers] == [1, 2]
    three, four = places(second)
    assert [each.price for each in second.rejects(three).ok(four, Offer(price=4)).state.offers] == [4]


def test_what_was_refused_in_a_lost_branch_is_not_begun_again_by_a_retry() -> None:
    """Only what put the instance into attention is."""
    wrong: list[Any] = [0]

    def divided(s: Talk) -> bool:
        return 1 // wrong[-1] > 0

    choice: Node[Talk] = choose(when(divided, leg("z")), otherwise=None, name="either")
    stuck = Scene.start(flow_of(parallel(leg("x"), [leg("y"), choice], need="any", name="both"))).rejects("x").ok("y")
    assert stuck.status is Status.ATTENTION
    wrong.append(1)
    again = stuck.retry()
    assert (again.step("x"), places(again)) == (StepStatus.REJECTED, ["z"])
    assert again.ok("z").status is Status.COMPLETED
