"""What the docstrings of nodes that workers carry out say, row by row: steps, and nodes that hold others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sagaline.orchestrator.messages.document import CauseKind, StepStatus
from sagaline.orchestrator.messages.entity_messages import Rule, SetRules, table_id
from sagaline.orchestrator.messages.inputs import ActName, Start
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Node, Saga, pivot, step
from sagaline.sagas.nodes import choose, loop, parallel, route, scatter, sleep, when

from .kernel_nodes import HOUR, Did, Do, Offer, Talk, flow_of, leg, redeployed
from .promises import shows

MINUTE = timedelta(minutes=1)
FAILURES = pytest.mark.parametrize("how", ["rejects", "exhaust", "time_out"])
KINDS = {"rejects": CauseKind.REJECTED, "exhaust": CauseKind.ATTEMPTS, "time_out": CauseKind.TIMEOUT}


def failing(scene: Scene, step: str, how: str) -> Scene:
    failed: Scene = getattr(scene, how)(step)
    return failed


def kind_of(scene: Scene) -> CauseKind | None:
    """Why it is unwound, or what an operator must look at."""
    found = scene.attention or scene.document.cause
    return found.kind if found else None


def names(scene: Scene) -> list[str]:
    """The steps that were undone, in that order."""
    return [key.rpartition("/")[2] for key in scene.undone]


def waiting(scene: Scene) -> list[str]:
    return [f"{'undo ' if each.undo else ''}{each.step}" for each in scene.waiting]


# -- step ------------------------------------------------------------------------------------------------------------


@shows("step", "success")
def test_the_reply_of_a_step_is_put_into_the_state_and_the_flow_goes_on() -> None:
    one = step(Contract("do-one", Do, Did, queue="q"), into="did", name="one")(lambda s: Do())
    done = Scene.start(flow_of(one, leg("two"))).ok("one", Did(ok=False))
    assert done.state.did == Did(ok=False)
    assert waiting(done) == ["two"]


@shows("step", "rejection")
def test_a_refused_step_is_not_undone_but_what_was_done_is() -> None:
    refused = Scene.start(flow_of(leg("a"), leg("b"))).ok("a").rejects("b", "sold out", code="none-left")
    assert (refused.status, kind_of(refused)) == ("compensating", CauseKind.REJECTED)
    assert refused.document.cause is not None
    assert (refused.document.cause.message, refused.document.cause.code) == ("sold out", "none-left")
    assert names(refused.settle()) == ["a"]


@shows("step", "rejection")
def test_a_step_refused_after_an_attempt_that_may_have_happened_is_undone_too() -> None:
    refused = Scene.start(flow_of(leg("a"))).crash("a").tick().rejects("a")
    assert names(refused.settle()) == ["a"]


@shows("step", "exhaustion", "timeout")
@pytest.mark.parametrize("how", ["exhaust", "time_out"])
def test_a_step_that_may_have_happened_is_undone_with_the_others(how: str) -> None:
    failed = failing(Scene.start(flow_of(leg("a"), leg("b"))).ok("a"), "b", how)
    assert (failed.status, kind_of(failed)) == ("compensating", KINDS[how])
    assert names(failed.settle()) == ["b", "a"]


@shows("step", "past the pivot")
@FAILURES
def test_past_the_pivot_a_step_that_fails_stands_in_attention_and_is_sent_again(how: str) -> None:
    failed = failing(Scene.start(flow_of(leg("a", undo=False), past_pivot=True)), "a", how)
    assert (failed.status, kind_of(failed)) == ("attention", KINDS[how])
    assert failed.retry().ok("a").status == "completed"


@shows("step", "cancel")
@pytest.mark.parametrize(("how", "undone"), [("ok", ["a"]), ("rejects", []), ("crash", ["a"]), ("time_out", ["a"])])
def test_a_step_in_flight_is_undone_after_its_reply_or_its_timeout_and_not_sent_again(
    how: str, undone: list[str]
) -> None:
    cancelled = Scene.start(flow_of(leg("a"))).cancel()
    assert waiting(cancelled) == ["a"]
    ended = failing(cancelled, "a", how)
    assert [each.attempt for each in ended.sent if not each.undo] == [1]
    assert names(ended.settle()) == undone
    assert ended.settle().status == "compensated"


@shows("step", "cancel")
def test_a_step_between_two_attempts_or_before_its_lock_is_not_waited_for() -> None:
    assert waiting(Scene.start(flow_of(leg("a"))).crash("a").cancel()) == ["undo a"]
    locked = Scene.of(flow_of(leg("a", locks="l")))
    for key in ("other", "k"):
        locked = locked.play(Start(id=key, definition="talk", key=key, input={}))
    assert locked.step("a") is StepStatus.LOCKING
    assert locked.cancel().status == "compensated"


@shows("step", "undo")
def test_an_undo_has_attempts_of_its_own_and_one_that_does_not_succeed_is_shown() -> None:
    undoing = Scene.start(flow_of(leg("a"), leg("b"))).ok("a").rejects("b")
    assert waiting(undoing) == ["undo a"]
    again = undoing.undo_crash("a").tick()
    assert [each.attempt for each in again.sent if each.undo] == [1, 2]
    assert again.undo_ok("a").status == "compensated"
    for failed in (undoing.undo_exhaust("a"), undoing.undo_time_out("a"), undoing.undo_rejects("a")):
        assert (failed.status, kind_of(failed)) == ("attention", CauseKind.UNDO)
        assert failed.retry().undo_ok("a").status == "compensated"


@shows("step", "undo")
def test_a_step_without_an_undo_is_passed_over() -> None:
    assert names(Scene.start(flow_of(leg("a", undo=False), leg("b"))).ok("a").rejects("b")) == []


@shows("step", "a function that raises")
def test_a_step_whose_function_raises_goes_on_after_a_mended_deploy() -> None:
    raised = Scene.start(flow_of(leg("a", broken=True)))
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)
    assert redeployed(raised, flow_of(leg("a"))).retry().ok("a").status == "completed"


# -- parallel --------------------------------------------------------------------------------------------------------


@shows("parallel", "success")
@pytest.mark.parametrize(("need", "rest", "after"), [("all", "undo", 2), ("any", "undo", 1), (1, "finish", 1)])
def test_a_parallel_goes_on_when_enough_branches_are_done(need: int, rest: str, after: int) -> None:
    node = parallel(leg("a"), leg("b"), need=need, rest=rest)  # type: ignore[arg-type]  # as parametrised
    scene = Scene.start(flow_of(node, leg("next")))
    assert waiting(scene) == ["a", "b"]
    one = scene.ok("a")
    assert ("next" in waiting(one)) is (after == 1)
    ended = one.ok("b").settle()
    assert ended.status == "completed"
    assert names(ended) == (["b"] if rest == "undo" and need == "any" else [])


@shows("parallel", "rejection", "exhaustion", "timeout")
@FAILURES
def test_a_lost_branch_is_undone_at_once_and_the_flow_goes_on_without_it(how: str) -> None:
    scene = Scene.start(flow_of(parallel([leg("a"), leg("b")], leg("c"), need="any"), leg("next"))).ok("a")
    lost = failing(scene, "b", how)
    assert lost.status == "running"
    assert waiting(lost)[0] == "c"
    done = lost.ok("c").settle()
    assert done.status == "completed"
    assert names(done) == (["a"] if how == "rejects" else ["b", "a"])


@shows("parallel", "rejection", "exhaustion", "timeout")
@FAILURES
def test_with_too_few_branches_left_the_flow_fails_as_the_branch_did(how: str) -> None:
    failed = failing(Scene.start(flow_of(parallel(leg("a"), leg("b")))).ok("a"), "b", how)
    assert (failed.status, kind_of(failed)) == ("compensating", KINDS[how])
    assert names(failed.settle()) == (["a"] if how == "rejects" else ["b", "a"])


@shows("parallel", "past the pivot")
def test_past_the_pivot_what_a_lost_branch_did_stays() -> None:
    legs = [leg(name, undo=False) for name in "abc"]
    scene = Scene.start(flow_of(parallel([legs[0], legs[1]], legs[2], need="any"), past_pivot=True))
    assert scene.ok("a").rejects("b").ok("c").status == "completed"
    assert scene.ok("a").rejects("b").rejects("c").status == "attention"


@shows("parallel", "cancel")
def test_a_cancelled_parallel_waits_for_what_is_in_flight_in_every_branch() -> None:
    cancelled = Scene.start(flow_of(parallel(leg("a"), leg("b"), leg("c")))).ok("a").cancel()
    assert waiting(cancelled.ok("b")) == ["c"]
    assert names(cancelled.ok("b").time_out("c").settle()) == ["c", "b", "a"]


@shows("parallel", "undo")
def test_branches_are_undone_in_reverse_order_of_completion_or_beside_each_other() -> None:
    for undo, begun in (("reverse", ["undo a"]), ("parallel", ["undo a", "undo b"])):
        node = parallel(leg("a"), leg("b"), undo=undo)  # type: ignore[arg-type]  # as written
        failed = Scene.start(flow_of(node, leg("next"))).ok("b").ok("a").rejects("next")
        assert sorted(waiting(failed)) == begun


# -- choose ----------------------------------------------------------------------------------------------------------


def chosen(n: int, **more: Node[Talk] | None) -> Scene:
    cases = (when(lambda s: s.n > 1, leg("many")), when(lambda s: s.n > 0, leg("one")))
    return Scene.start(flow_of(leg("first"), choose(*cases, otherwise=more.get("otherwise"))), {"n": n}).ok("first")


@shows("choose", "success")
def test_the_first_case_that_is_true_runs_else_otherwise_else_nothing() -> None:
    assert waiting(chosen(2)) == ["many"]
    assert waiting(chosen(1)) == ["one"]
    assert waiting(chosen(0, otherwise=leg("none"))) == ["none"]
    assert chosen(0).status == "completed"
    assert chosen(1).ok("one").status == "completed"


@shows("choose", "rejection", "exhaustion", "timeout", "undo")
@FAILURES
def test_a_case_fails_and_is_undone_as_its_nodes_are(how: str) -> None:
    failed = failing(chosen(1), "one", how)
    assert (failed.status, kind_of(failed)) == ("compensating", KINDS[how])
    assert names(failed.settle()) == (["first"] if how == "rejects" else ["one", "first"])


@shows("choose", "cancel")
def test_a_cancelled_case_ends_as_its_nodes_do() -> None:
    cancelled = chosen(1).cancel()
    assert waiting(cancelled) == ["one"]
    assert names(cancelled.ok("one").settle()) == ["one", "first"]


@shows("choose", "a predicate that raises")
def test_a_predicate_that_raises_is_asked_again_after_a_mended_deploy() -> None:
    def broken(s: Talk) -> bool:
        raise RuntimeError("it is broken")

    raised = Scene.start(flow_of(choose(when(broken, leg("a")), otherwise=None)))
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)
    mended = flow_of(choose(when(lambda s: True, leg("a")), otherwise=None))
    assert waiting(redeployed(raised, mended).retry()) == ["a"]


# -- route -----------------------------------------------------------------------------------------------------------


def routing(otherwise: str | None = "slow") -> Saga[Talk]:
    to: dict[str, Node[Talk]] = {"fast": leg("fast"), "slow": leg("slow")}
    return flow_of(leg("first"), route("ways", by=lambda s: {"n": s.n}, to=to, otherwise=otherwise))


def routed(rules: dict[str, str] | None = None, otherwise: str | None = "slow") -> Scene:
    return Scene.start(routing(otherwise), rules=rules).ok("first")


@shows("route", "success")
def test_the_table_says_which_branch_runs_else_otherwise_else_nothing() -> None:
    assert waiting(routed({"ways": "fast"})) == ["fast"]
    assert waiting(routed()) == ["slow"]
    assert routed(otherwise=None).status == "completed"
    assert routed({"ways": "fast"}).ok("fast").status == "completed"


@shows("route", "rejection", "exhaustion", "timeout", "undo")
@FAILURES
def test_a_branch_of_a_route_fails_and_is_undone_as_its_nodes_are(how: str) -> None:
    failed = failing(routed({"ways": "fast"}), "fast", how)
    assert (failed.status, kind_of(failed)) == ("compensating", KINDS[how])
    assert names(failed.settle()) == (["first"] if how == "rejects" else ["fast", "first"])


@shows("route", "cancel")
def test_a_cancelled_branch_of_a_route_ends_as_its_nodes_do() -> None:
    cancelled = routed({"ways": "fast"}).cancel()
    assert waiting(cancelled) == ["fast"]
    assert names(cancelled.ok("fast").settle()) == ["fast", "first"]


@shows("route", "a rule that names a branch which is not declared here")
def test_a_rule_for_another_version_stands_in_attention_until_the_table_is_mended() -> None:
    """Version 2 has a branch that version 1 lacks; the table serves both."""
    scene = Scene.start(routing(), rules={"ways": "fast"})
    to: dict[str, Node[Talk]] = {"slow": leg("slow")}
    without = flow_of(leg("first"), route("ways", by=lambda s: {"n": s.n}, to=to, otherwise=None))
    stuck = redeployed(scene, without).ok("first")
    assert (stuck.status, kind_of(stuck)) == ("attention", CauseKind.ROUTE)
    rules = SetRules(id="mended", instance=table_id("ways"), rules=(Rule(when={}, to="slow"),))
    assert waiting(stuck.play(rules).retry()) == ["slow"]


@shows("route", "a by that raises")
def test_facts_that_raise_stand_in_attention() -> None:
    node = route("ways", by=lambda s: {"n": 1 // s.n}, to={"x": leg("x")}, otherwise=None)
    raised = Scene.start(flow_of(node), {"n": 0})
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)


# -- loop ------------------------------------------------------------------------------------------------------------


def counting(rounds_max: int = 3) -> Saga[Talk]:
    """Goes on until a reply says that it is not ok."""
    poll = step(Contract("poll", Do, Did, queue="q"), into="did", name="poll")(lambda s: Do())
    poll.undo(Contract("unpoll", Do, Did, queue="q"))(lambda s: Do())
    return flow_of(loop(poll, while_=lambda s: s.did is None or s.did.ok, rounds_max=rounds_max), leg("next"))


@shows("loop", "success")
def test_a_loop_ends_when_its_predicate_is_false_which_is_asked_before_the_first_round_too() -> None:
    scene = Scene.start(counting()).ok("poll@1", Did(ok=True))
    assert waiting(scene) == ["poll@2"]
    assert waiting(scene.ok("poll@2", Did(ok=False))) == ["next"]
    assert waiting(Scene.start(counting(), {"did": {"ok": False}})) == ["next"]


@shows("loop", "rejection", "exhaustion", "timeout", "undo")
@FAILURES
def test_a_loop_fails_as_its_nodes_do_and_every_round_is_undone_in_reverse(how: str) -> None:
    scene = Scene.start(counting()).ok("poll@1", Did(ok=True)).ok("poll@2", Did(ok=True))
    failed = failing(scene, "poll@3", how)
    assert (failed.status, kind_of(failed)) == ("compensating", KINDS[how])
    assert names(failed.settle()) == [*(["poll@3"] if how != "rejects" else []), "poll@2", "poll@1"]


@shows("loop", "exhaustion")
def test_a_round_too_many_fails_and_past_the_pivot_a_retry_allows_as_many_again() -> None:
    over = Scene.start(counting(rounds_max=1)).ok("poll@1", Did(ok=True))
    assert (over.status, kind_of(over)) == ("compensating", CauseKind.ROUNDS)
    assert names(over.settle()) == ["poll@1"]
    stuck = Scene.start(flow_of(loop(leg("a", undo=False), while_=lambda s: True, rounds_max=1), past_pivot=True))
    stuck = stuck.ok("a@1")
    assert (stuck.status, kind_of(stuck)) == ("attention", CauseKind.ROUNDS)
    assert waiting(stuck.retry()) == ["a@2"]


@shows("loop", "cancel")
def test_a_cancelled_loop_begins_no_further_round() -> None:
    cancelled = Scene.start(counting()).cancel().ok("poll@1", Did(ok=True))
    assert waiting(cancelled) == ["undo poll@1"]


@shows("loop", "a predicate that raises")
def test_a_loop_whose_predicate_raises_stands_in_attention() -> None:
    raised = Scene.start(flow_of(loop(leg("a"), while_=lambda s: 1 // s.n > 0)), {"n": 0})
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)


# -- scatter ---------------------------------------------------------------------------------------------------------


def asking(*, need: int = 3, at_least: int = 1, past_pivot: bool = False, broken: bool = False) -> Scene:
    """Three carriers are asked for offers."""

    def question(s: Talk) -> Do:
        return Do(n=1 // s.n if broken else 1)

    contract = Contract("quote", Do, Offer, queue="q")
    options = {"need": need, "at_least": at_least}
    node = scatter(contract, queues=["a", "b", "c"], into="offers", deadline=HOUR, name="ask", **options)(question)  # type: ignore[arg-type]  # numbers
    before = [] if past_pivot else [leg("first")]
    scene = Scene.start(flow_of(*before, node, past_pivot=past_pivot), {"n": 0})
    return scene if past_pivot else scene.ok("first")


def prices(scene: Scene) -> list[int]:
    return [offer.price for offer in scene.state.offers]


@shows("scatter", "success")
def test_the_answers_are_gathered_in_order_of_arrival_when_enough_are_there() -> None:
    scene = asking(need=2).ok("ask.b", Offer(price=2)).ok("ask.a", Offer(price=1))
    assert (scene.status, prices(scene)) == ("completed", [2, 1])
    assert asking(at_least=1).ok("ask.a", Offer(price=1)).advance(HOUR).status == "completed"


@shows("scatter", "success")
def test_with_best_the_answer_of_the_lowest_value_counts() -> None:
    contract = Contract("quote", Do, Offer, queue="q")
    options = scatter(contract, queues=["a", "b"], into="offer", deadline=HOUR, best=lambda o: o.price, name="ask")
    scene = Scene.start(flow_of(options(lambda s: Do()))).ok("ask.a", Offer(price=5)).ok("ask.b", Offer(price=3))
    assert scene.state.offer == Offer(price=3)


@shows("scatter", "rejection", "exhaustion")
@pytest.mark.parametrize("how", ["rejects", "crash"])
def test_who_refuses_or_fails_is_out_and_with_too_few_left_the_scatter_was_refused(how: str) -> None:
    scene = failing(asking(at_least=2), "ask.a", how)
    assert scene.ok("ask.b").ok("ask.c").status == "completed"
    failed = failing(scene, "ask.b", how).ok("ask.c")
    assert (failed.status, kind_of(failed)) == ("compensating", CauseKind.REJECTED)
    assert len([each for each in failed.sent if each.step.startswith("ask.")]) == 3
    assert names(failed.settle()) == ["first"]


@shows("scatter", "timeout", "undo")
def test_with_too_few_answers_at_the_deadline_it_has_timed_out_and_leaves_nothing_to_undo() -> None:
    failed = asking(at_least=2).ok("ask.a").advance(HOUR)
    assert (failed.status, kind_of(failed)) == ("compensating", CauseKind.TIMEOUT)
    assert names(failed.settle()) == ["first"]


@shows("scatter", "cancel")
def test_a_cancelled_scatter_waits_for_nobody() -> None:
    assert waiting(asking().cancel()) == ["undo first"]


@shows("scatter", "late answers")
def test_an_answer_after_enough_or_after_the_deadline_changes_nothing() -> None:
    for done in (asking(need=1).ok("ask.a", Offer(price=1)), asking().ok("ask.a", Offer(price=1)).advance(HOUR)):
        late = done.late("ask.b", Offer(price=2))
        assert (late.last.outcome if late.last else None) == "ignored"
        assert prices(late) == [1]


@shows("scatter", "past the pivot")
def test_past_the_pivot_a_retry_asks_those_again_that_have_not_answered() -> None:
    failed = asking(at_least=2, past_pivot=True).ok("ask.a").advance(HOUR)
    assert failed.status == "attention"
    again = failed.retry()
    assert waiting(again) == ["ask.b", "ask.c"]
    assert again.ok("ask.b").ok("ask.c").status == "completed"


@shows("scatter", "a function that raises")
def test_a_question_that_raises_stands_in_attention() -> None:
    raised = asking(broken=True)
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)


# -- pivot -----------------------------------------------------------------------------------------------------------


@shows("pivot", "success")
def test_the_pivot_is_passed_as_soon_as_nothing_before_it_is_under_way() -> None:
    rest = parallel(leg("a"), leg("b"), need="any", rest="finish")
    scene = Scene.start(flow_of(rest, pivot, leg("c", undo=False))).ok("a")
    assert waiting(scene) == ["b"]
    assert waiting(scene.ok("b")) == ["c"]
    assert scene.ok("b").document.pivot_passed


@shows("pivot", "rejection", "exhaustion", "timeout", "undo")
@FAILURES
def test_before_the_pivot_what_fails_is_compensated_and_behind_it_shown_and_never_undone(how: str) -> None:
    scene = Scene.start(flow_of(leg("a"), leg("b"), pivot, leg("c", undo=False))).ok("a")
    assert failing(scene, "b", how).status == "compensating"
    past = failing(scene.ok("b"), "c", how)
    assert (past.status, names(past)) == ("attention", [])
    assert past.retry().ok("c").status == "completed"


@shows("pivot", "cancel")
def test_past_the_pivot_a_cancel_is_refused_with_the_reason() -> None:
    scene = Scene.start(flow_of(leg("a"), pivot, sleep("nap", HOUR)))
    assert scene.cancel().ok("a").settle().status == "compensated"
    refused = scene.ok("a").act(ActName.CANCEL)
    assert refused.last is not None
    assert (refused.last.outcome, "pivot" in refused.last.reason) == ("denied", True)
