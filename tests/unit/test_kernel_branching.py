"""Nodes that hold others: which branch is taken, how many rounds, which branches may be lost, and what is gathered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Node, pivot, step
from sagaline.sagas.nodes import choose, loop, parallel, scatter, sleep, when

from .kernel_nodes import (
    HOUR,
    Did,
    Do,
    Offer,
    Talk,
    flow_of,
    leg,
    memo_of,
    outcome_of,
    redeployed,
    timers_of,
)

HOUR_MS = 3_600_000


def either(otherwise: Any = None) -> Node[Talk]:
    return choose(
        when(lambda s: s.n == 1, leg("one"), name="first"),
        when(lambda s: s.n <= 2, leg("two"), leg("three"), name="second"),
        otherwise=otherwise,
        name="either",
    )


@pytest.mark.parametrize(
    ("n", "otherwise", "branch", "steps"),
    [
        (1, None, "first", ["one"]),
        (2, None, "second", ["two"]),
        (3, None, None, ["last"]),
        (3, leg("other"), "otherwise", ["other"]),
    ],
)
def test_a_choice_takes_the_first_case_that_holds(n: int, otherwise: Any, branch: str | None, steps: list[str]) -> None:
    """Once and for all; without one ``otherwise``, or nothing."""
    scene = Scene.start(flow_of(either(otherwise), leg("last")), {"n": n})
    assert (scene.step("either"), memo_of(scene, "either")) == (StepStatus.DONE, {"branch": branch})
    assert [each.step for each in scene.sent] == steps


def test_a_branch_is_gone_through_before_the_flow_goes_on() -> None:
    scene = Scene.start(flow_of(either(), leg("last")), {"n": 2}).ok("two")
    assert [each.step for each in scene.waiting] == ["three"]
    assert [each.step for each in scene.ok("three").waiting] == ["last"]


def test_a_case_that_raises_stops_the_instance() -> None:
    scene = Scene.start(flow_of(choose(when(lambda s: 1 // s.n > 0, leg("a")), otherwise=None, name="either")))
    assert scene.attention is not None
    assert scene.attention.message.startswith("a case of choose 'either' raised ZeroDivisionError: ")
    assert (scene.attention.step, scene.attention.kind) == ("either", CauseKind.CODE)


# -- loop ------------------------------------------------------------------------------------------------------------


def rounds(most: int = 3, *, wanted: list[int] | None = None, undo: bool = True) -> Node[Talk]:
    """Goes on as long as less than ``wanted`` rounds have begun, by default for ever."""
    begun = wanted if wanted is not None else [99]
    return loop(leg("poll", undo=undo), while_=lambda s: begun[0] > 0, rounds_max=most, name="again")


def test_a_loop_without_a_first_round_is_done() -> None:
    scene = Scene.start(flow_of(rounds(wanted=[0]), leg("last")))
    assert (scene.step("again"), memo_of(scene, "again")) == (StepStatus.DONE, {"rounds": 0, "most": 3})
    assert [each.step for each in scene.waiting] == ["last"]


def test_each_round_has_places_of_its_own() -> None:
    """The loop ends when its condition does not hold any more."""
    left = [1]
    scene = Scene.start(flow_of(rounds(wanted=left), leg("last")))
    assert memo_of(scene, "again") == {"rounds": 1, "most": 3}
    second = scene.ok("poll@1")
    assert memo_of(second, "again") == {"rounds": 2, "most": 3}
    assert [each.step for each in second.sent] == ["poll@1", "poll@2"]
    left[0] = 0
    done = second.ok("poll@2")
    assert (done.step("again"), done.step("last")) == (StepStatus.DONE, StepStatus.SENT)
    assert done.rejects("last").settle().undone == ("talk/k/poll@2", "talk/k/poll@1")


@pytest.mark.parametrize("last", [False, True])
def test_a_branch_that_is_not_needed_finishes_also_when_its_round_is_over(last: bool) -> None:
    """In the rounds behind it, and when the loop has ended: all that its branch has is gone through."""
    left = [1 if last else 2]
    race = parallel([leg("fast")], [leg("slow"), leg("behind")], need="any", rest="finish", name="race")
    scene = Scene.start(flow_of(loop(race, while_=lambda s: left[0] > 0, name="again"), leg("last")))
    left[0] -= 1
    scene = scene.ok("fast@1")
    assert (scene.step("again"), scene.step("fast@2")) == (("done", None) if last else ("waiting", "sent"))
    behind = scene.ok("slow@1")
    assert behind.step("behind@1") == "sent"
    left[0] = 0
    ended = behind.settle()
    assert (ended.status, ended.step("behind@1")) == ("completed", "done")


def test_a_loop_that_would_go_on_past_its_last_round_fails() -> None:
    """Every round is undone."""
    scene = Scene.start(flow_of(rounds(2))).ok("poll@1").ok("poll@2")
    cause = scene.document.cause
    assert cause is not None
    assert (cause.kind, cause.step, cause.message) == (
        CauseKind.ROUNDS,
        "again",
        "loop 'again' has run 2 rounds, the maximum, and its condition still holds",
    )
    assert scene.document.steps["again"].error == cause.message
    assert scene.settle().undone == ("talk/k/poll@2", "talk/k/poll@1")


def test_past_the_pivot_a_retry_gives_a_loop_as_many_rounds_again() -> None:
    scene = Scene.start(flow_of(rounds(2, undo=False), past_pivot=True)).ok("poll@1").ok("poll@2")
    assert scene.status is Status.ATTENTION
    again = scene.retry()
    assert memo_of(again, "again") == {"rounds": 3, "most": 4}
    assert [each.step for each in again.waiting] == ["poll@3"]
    assert again.ok("poll@3").ok("poll@4").status is Status.ATTENTION


def test_a_condition_that_raises_stops_the_instance_and_is_asked_again_after_a_retry() -> None:
    """Before the first round as after any other."""

    def looping(broken: bool) -> Node[Talk]:
        return loop(leg("poll"), while_=lambda s: 1 // (not broken) > 0, name="again")

    first = Scene.start(flow_of(looping(True)))
    assert first.attention is not None
    assert first.attention.message.startswith("while of loop 'again' raised ZeroDivisionError: ")
    begun = redeployed(first, flow_of(looping(False))).retry()
    assert memo_of(begun, "again") == {"rounds": 1, "most": 100}
    later = redeployed(begun, flow_of(looping(True))).ok("poll@1")
    assert later.attention is not None
    assert later.attention.message.startswith("while of loop 'again' raised ZeroDivisionError: ")
    assert (later.attention.step, later.step("again")) == ("again", StepStatus.BLOCKED)
    assert [each.step for each in redeployed(later, flow_of(looping(False))).retry().waiting] == ["poll@2"]


def test_a_loop_in_a_loop_has_places_for_both() -> None:
    left = [2]

    def inner_goes_on(s: Talk) -> bool:
        left[0] -= 1
        return left[0] >= 0

    node: Node[Talk] = loop(
        loop(leg("deep"), while_=inner_goes_on, name="inner"), while_=lambda s: True, rounds_max=2, name="outer"
    )
    scene = Scene.start(flow_of(node)).ok("deep@1.1")
    assert [each.step for each in scene.waiting] == ["deep@1.2"]
    assert memo_of(scene, "inner@1")["rounds"] == 2


# -- parallel --------------------------------------------------------------------------------------------------------


def three(need: Any = "all", **options: Any) -> Node[Talk]:
    return parallel(leg("x"), [leg("y"), leg("y2")], leg("z"), need=need, name="all3", **options)


def test_all_branches_begin_and_the_flow_goes_on_when_all_are_done() -> None:
    scene = Scene.start(flow_of(three(), leg("last")))
    assert [each.step for each in scene.sent] == ["x", "y", "z"]
    assert (scene.step("all3"), memo_of(scene, "all3")) == (StepStatus.WAITING, {"lost": {}})
    almost = scene.ok("z").ok("y").ok("x")
    assert [each.step for each in almost.waiting] == ["y2"]
    done = almost.ok("y2")
    assert (done.step("all3"), done.step("last")) == (StepStatus.DONE, StepStatus.SENT)


def test_one_that_fails_where_all_are_needed_turns_the_flow() -> None:
    """What is in flight is waited for, then undone in reverse order of completion."""
    scene = Scene.start(flow_of(three())).ok("x").rejects("z", "no room")
    cause = scene.document.cause
    assert cause is not None
    assert (cause.message, cause.step, cause.code) == ("no room", "z", "no")
    ended = scene.ok("y").undo_ok("y").undo_ok("x")
    assert (ended.status, ended.undone) == (Status.COMPENSATED, ("talk/k/y", "talk/k/x"))


def test_a_branch_that_is_not_needed_is_lost_and_taken_back() -> None:
    """The flow goes on with the others, and ends when the lost one is undone."""
    scene = Scene.start(flow_of(three(2), leg("last"))).ok("y").rejects("y2", "sold out")
    assert scene.status is Status.RUNNING
    assert memo_of(scene, "all3") == {"lost": {memo_label(scene, 1): "sold out"}}
    assert scene.open("y", undo=True).step == "y"
    joined = scene.ok("x").ok("z")
    assert (joined.step("all3"), joined.step("last")) == (StepStatus.DONE, StepStatus.SENT)
    waits = joined.ok("last")
    assert waits.status is Status.RUNNING
    assert waits.undo_ok("y").status is Status.COMPLETED


def memo_label(scene: Scene, index: int) -> str:
    """What the n-th branch of the parallel is called."""
    node: Any = scene.definition.tree["all3"].node
    return str(node.branches[index].label)


def test_one_lost_more_than_can_be_done_without_turns_the_flow() -> None:
    scene = Scene.start(flow_of(three(2))).rejects("x").rejects("z", "no room")
    assert (scene.status, scene.document.cause and scene.document.cause.message) == (Status.COMPENSATING, "no room")
    assert list(memo_of(scene, "all3")["lost"]) == [memo_label(scene, 0)]  # type: ignore[call-overload]


def test_with_enough_done_the_rest_is_taken_back_or_goes_on_as_declared() -> None:
    first = Scene.start(flow_of(three("any"), leg("last"))).ok("x")
    assert first.step("last") is StepStatus.SENT
    assert memo_of(first, "all3")["lost"] == {
        memo_label(first, 1): "no longer needed",
        memo_label(first, 2): "no longer needed",
    }
    late = first.ok("y")
    assert (late.step("y2"), late.step("y")) == (None, StepStatus.DONE)
    assert late.ok("z").open("z", undo=True).step == "z"
    assert late.rejects("z").open("y", undo=True).step == "y"
    goes_on = Scene.start(flow_of(three("any", rest="finish"), leg("last"))).ok("x")
    assert (memo_of(goes_on, "all3"), goes_on.step("last")) == ({"lost": {}}, StepStatus.SENT)
    assert goes_on.ok("y").step("y2") is StepStatus.SENT
    waits = goes_on.ok("last")
    assert waits.status is Status.RUNNING
    assert waits.ok("y").ok("y2").ok("z").status is Status.COMPLETED
    assert waits.rejects("z").ok("y").ok("y2").status is Status.COMPLETED


@pytest.mark.parametrize(("undo", "first"), [("reverse", ["x"]), ("parallel", ["x", "z"])])
def test_branches_are_undone_one_after_another_or_beside_each_other(undo: str, first: list[str]) -> None:
    """As was declared; within a branch always one after another."""
    scene = Scene.start(flow_of(leg("a"), three(undo=undo), leg("last"))).ok("a")
    turned = scene.ok("y").ok("y2").ok("z").ok("x").rejects("last")
    asked = [each.step for each in turned.waiting if each.undo]
    assert sorted(asked) == sorted(first + (["y2"] if undo == "parallel" else []))
    assert "y" not in asked
    ended = turned.settle()
    assert ended.status is Status.COMPENSATED
    assert sorted(ended.undone) == [f"talk/k/{name}" for name in ("a", "x", "y", "y2", "z")]
    assert ended.undone[-1] == "talk/k/a"


def test_an_attempt_that_failed_in_a_lost_branch_is_not_made_again() -> None:
    """It may have happened: it is undone."""
    first = Scene.start(flow_of(three("any"), leg("last"))).crash("y").ok("x")
    assert first.step("y") is StepStatus.FAILED
    assert "y:retry" not in timers_of(first)
    assert first.rejects("z").open("y", undo=True).step == "y"
    in_flight = Scene.start(flow_of(three("any"), leg("last"))).ok("x").rejects("y").crash("z")
    assert in_flight.open("z", undo=True).step == "z"
    assert in_flight.document.steps["z"].error == "it crashed"


def test_the_pivot_is_not_passed_while_something_before_it_is_taken_back() -> None:
    scene = Scene.start(flow_of(three("any"), pivot, leg("last", undo=False))).ok("x")
    assert (scene.document.pivot_passed, scene.step("last")) == (False, None)
    waits = scene.ok("y").rejects("z")
    assert (waits.document.pivot_passed, waits.step("y")) == (False, StepStatus.UNDO_SENT)
    on = waits.undo_ok("y")
    assert (on.document.pivot_passed, on.step("last")) == (True, StepStatus.SENT)


# -- scatter ---------------------------------------------------------------------------------------------------------


def quotes(need: Any = "all", at_least: int = 1, best: Any = None) -> Node[Talk]:
    @scatter(
        Contract("quote", Do, Offer, queue="q"),
        queues=("q1", "q2", "q3"),
        into="offers",
        deadline=HOUR,
        need=need,
        at_least=at_least,
        best=best,
        name="ask",
    )
    def question(s: Talk) -> Do:
        return Do(n=s.n)

    return question


def asking(*names: str, scene: Scene) -> list[str]:
    return [each.step for each in scene.waiting]


def legs_of(scene: Scene) -> list[str]:
    node: Any = scene.definition.tree["ask"].node
    return [each.name for each in node.legs]


def test_a_scatter_asks_every_queue_with_one_deadline() -> None:
    scene = Scene.start(flow_of(quotes()), {"n": 3})
    assert [(each.queue, each.payload) for each in scene.sent] == [(f"q{n}", b'{"n":3}') for n in (1, 2, 3)]
    assert timers_of(scene) == {"ask:deadline": HOUR_MS}
    assert scene.step("ask") is StepStatus.WAITING


def test_answers_are_gathered_in_the_order_in_which_they_came() -> None:
    scene = Scene.start(flow_of(quotes(), leg("last")))
    one, two, three_ = legs_of(scene)
    done = scene.ok(two, Offer(price=2)).ok(three_, Offer(price=3)).ok(one, Offer(price=1))
    assert [each.price for each in done.state.offers] == [2, 3, 1]
    assert (done.step("ask"), done.step("last")) == (StepStatus.DONE, StepStatus.SENT)
    assert [name for name in timers_of(done) if name.startswith("ask")] == []


def test_with_as_many_answers_as_are_needed_nobody_waits_for_the_others() -> None:
    """A late one changes nothing."""
    scene = Scene.start(flow_of(quotes(2), leg("last")))
    one, two, three_ = legs_of(scene)
    done = scene.ok(three_, Offer(price=3)).ok(one, Offer(price=1))
    assert [each.price for each in done.state.offers] == [3, 1]
    assert done.step(two) is StepStatus.DROPPED
    assert done.late(two, Offer(price=9)).document == done.document


def test_who_says_no_or_fails_is_counted_out() -> None:
    """With the last answer or no it ends; with fewer answers than the least it fails."""
    scene = Scene.start(flow_of(leg("a"), quotes(), leg("last"))).ok("a")
    one, two, three_ = legs_of(scene)
    enough = scene.rejects(one).exhaust(two)
    assert enough.step("ask") is StepStatus.WAITING
    done = enough.ok(three_, Offer(price=3))
    assert ([each.price for each in done.state.offers], done.step("last")) == ([3], StepStatus.SENT)
    nobody = enough.rejects(three_)
    cause = nobody.document.cause
    assert cause is not None
    assert (cause.kind, cause.step, cause.message) == (
        CauseKind.REJECTED,
        "ask",
        "0 of 3 answers, at least 1 are needed",
    )
    assert nobody.document.steps["ask"].error == cause.message
    few = Scene.start(flow_of(quotes(at_least=2))).rejects(one).rejects(two).ok(three_)
    assert few.document.cause is not None
    assert few.document.cause.message == "1 of 3 answers, at least 2 are needed"


def test_at_the_deadline_what_is_there_must_do() -> None:
    scene = Scene.start(flow_of(quotes(), leg("last")))
    one, two, _ = legs_of(scene)
    done = scene.ok(two, Offer(price=2)).advance(HOUR)
    assert ([each.price for each in done.state.offers], done.step("last")) == ([2], StepStatus.SENT)
    assert done.step(one) is StepStatus.DROPPED
    nobody = scene.advance(HOUR)
    assert nobody.document.cause is not None
    assert (nobody.document.cause.kind, nobody.document.cause.message) == (
        CauseKind.TIMEOUT,
        "0 of 3 answers, at least 1 are needed",
    )


def test_past_the_pivot_a_retry_asks_those_who_gave_no_answer() -> None:
    scene = Scene.start(flow_of(quotes(at_least=2), past_pivot=True))
    one, two, three_ = legs_of(scene)
    stuck = scene.ok(two, Offer(price=2)).advance(HOUR)
    assert stuck.status is Status.ATTENTION
    again = stuck.retry()
    assert [each.step for each in again.waiting] == [one, three_]
    assert timers_of(again) == {"ask:deadline": 2 * HOUR_MS}
    assert memo_of(again, "ask") == {}
    assert [each.price for each in again.ok(one, Offer(price=1)).advance(HOUR).state.offers] == [2, 1]


def test_the_best_answer_is_the_one_of_the_lowest_rank() -> None:
    @scatter(
        Contract("quote", Do, Offer, queue="q"),
        queues=("q1", "q2"),
        into="offer",
        deadline=HOUR,
        best=lambda offer: offer.price,
        name="ask",
    )
    def question(s: Talk) -> Do:
        return Do()

    scene = Scene.start(flow_of(question))
    one, two = legs_of(scene)
    assert scene.ok(one, Offer(price=7)).ok(two, Offer(price=3)).state.offer == Offer(price=3)


def test_a_rank_that_raises_stops_the_instance() -> None:
    @scatter(
        Contract("quote", Do, Offer, queue="q"),
        queues=("q1", "q2"),
        into="offer",
        deadline=HOUR,
        best=lambda offer: 1 / offer.price,
        name="ask",
    )
    def question(s: Talk) -> Do:
        return Do()

    scene = Scene.start(flow_of(question))
    one, two = legs_of(scene)
    stuck = scene.ok(one, Offer(price=0)).ok(two, Offer(price=3))
    assert stuck.attention is not None
    assert stuck.attention.message.startswith("best of scatter 'ask' raised ZeroDivisionError: ")


def test_a_cancelled_scatter_waits_for_nobody() -> None:
    scene = Scene.start(flow_of(quotes())).cancel()
    assert scene.status is Status.COMPENSATED
    assert {scene.step(name) for name in legs_of(scene)} == {StepStatus.DROPPED}


def test_nothing_goes_on_beside_a_branch_that_stopped_the_instance() -> None:
    """In a pause neither; what comes in it is applied after it, and what sleeps sleeps on."""
    scene = Scene.start(flow_of(parallel(leg("x", broken=True), leg("y"), name="all3")))
    assert (scene.status, scene.step("y")) == (Status.ATTENTION, None)
    paused = Scene.start(flow_of(parallel(leg("x"), sleep("doze", HOUR), name="all3"), leg("last")))
    paused = paused.act(ActName.PAUSE).ok("x").advance(HOUR + timedelta(seconds=1))
    assert (paused.step("x"), paused.step("doze"), paused.step("last")) == (StepStatus.SENT, StepStatus.WAITING, None)
    resumed = paused.act(ActName.RESUME)
    assert (resumed.step("x"), resumed.step("doze")) == (StepStatus.DONE, StepStatus.WAITING)
    assert resumed.advance(HOUR).step("last") is StepStatus.SENT


def test_a_loop_goes_on_as_long_as_the_state_says() -> None:
    """Which it asks before every round."""
    poll: Any = step(Contract("poll", Do, Did, queue="q"), into="did", name="poll")(lambda s: Do())
    poll.undo(Contract("unpoll", Do, Did, queue="q"))(lambda s: Do())
    node: Node[Talk] = loop(poll, while_=lambda s: s.did is None or not s.did.ok, name="again")
    scene = Scene.start(flow_of(node)).ok("poll@1", Did(ok=False))
    assert [each.step for each in scene.waiting] == ["poll@2"]
    assert scene.ok("poll@2", Did(ok=True)).status is Status.COMPLETED
    assert Scene.start(flow_of(node), {"did": {"ok": True}}).status is Status.COMPLETED


def test_what_a_lost_branch_is_doing_cannot_be_skipped() -> None:
    """It is being taken back."""
    both = parallel([leg("p"), parallel(leg("x"), leg("y"), name="inner")], leg("q"), need="any", name="all3")
    in_flight = Scene.start(flow_of(both)).ok("p").rejects("x")
    refused = in_flight.act(ActName.SKIP, step="y", value={})
    assert outcome_of(refused) == (Outcome.DENIED, "step 'y' is being undone")
