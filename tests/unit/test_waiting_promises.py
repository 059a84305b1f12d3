"""What the docstrings of nodes that wait for others than workers say, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.document import CauseKind, Document, StepStatus
from sagaline.orchestrator.messages.entities import KeptEvent, Mailbox
from sagaline.orchestrator.messages.entity_messages import mailbox_id
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Event, Node, Saga, pivot
from sagaline.sagas.nodes import Escalation, ask, each, emit, expect, parallel, run, sleep, wait

from .kernel_nodes import HOUR, Paid, Talk, flow_of, leg, paid, redeployed
from .promises import shows
from .test_node_promises import FAILURES, failing, kind_of, names, waiting

other = Event("other", Paid)
HOUR_MS = 3_600_000


def broken(s: Talk) -> str:
    raise RuntimeError("it is broken")


# -- wait ------------------------------------------------------------------------------------------------------------


class Twice(Talk):
    """What a saga knows that is paid twice."""

    late: Paid | None = None


def key(s: Talk) -> str:
    return "k"


def awaiting(node: Node[Talk], *, past_pivot: bool = False) -> Scene:
    """A step that is done, then the node."""
    before = [] if past_pivot else [leg("first")]
    scene = Scene.start(flow_of(*before, node, past_pivot=past_pivot))
    return scene if past_pivot else scene.ok("first")


@shows("wait", "success")
def test_a_wait_ends_when_all_or_any_of_its_events_are_there_and_their_bodies_in_the_state() -> None:
    both = awaiting(wait(expect(paid, key=key, into="paid"), expect(other, key=key), timeout=HOUR))
    one = both.receives(paid, Paid(amount=7))
    assert one.status == "running"
    done = one.receives(other, Paid(amount=8))
    assert (done.status, done.state.paid) == ("completed", Paid(amount=7))
    any_one = awaiting(wait(expect(paid, key=key), expect(other, key=key), timeout=HOUR, need="any"))
    assert any_one.receives(other, Paid(amount=8)).status == "completed"


@shows("wait", "success")
def test_an_event_that_came_early_counts_once() -> None:
    twice = flow_of(
        leg("first"), wait(expect(paid, key=key), timeout=HOUR), wait(expect(paid, key=key), timeout=HOUR, name="again")
    )
    early = Scene.start(twice).receives(paid, Paid(amount=1), key="k").ok("first")
    assert early.step("wait-paid") is StepStatus.DONE
    assert early.step("again") is StepStatus.WAITING


@shows("wait", "an event is used by one wait of an instance")
@pytest.mark.parametrize("early", [0, 1, 2])
def test_two_branches_that_wait_for_one_event_need_two_whenever_they_come(early: int) -> None:
    """None, one or both of them before the waits begin."""
    one, two = (wait(expect(paid, key=key, into=into), timeout=HOUR, name=into) for into in ("paid", "late"))
    scene = Scene.start(Saga("talk", Twice, flow=[leg("first", model=Twice), parallel(one, two)]))
    for number in range(early):
        scene = scene.receives(paid, Paid(amount=number), key="k")
    scene = scene.ok("first")
    for number in range(early, 2):
        assert scene.status == "running"
        scene = scene.receives(paid, Paid(amount=number), key="k")
    assert (scene.status, scene.state.paid, scene.state.late) == ("completed", Paid(amount=0), Paid(amount=1))


@shows("wait", "a wait that fails or is cancelled uses none")
@pytest.mark.parametrize("early", [(), (paid,), (other,), (paid, other), (other, paid)])
def test_a_wait_for_any_uses_the_event_that_ends_it_and_leaves_the_other_to_the_next_wait(
    early: Sequence[Event[Paid]],
) -> None:
    """Whichever came before it began."""
    first = wait(expect(paid, key=key), expect(other, key=key), timeout=HOUR, need="any", name="any")
    flow = flow_of(leg("first"), first, *(wait(expect(each, key=key), timeout=HOUR) for each in (paid, other)))
    scene = Scene.start(flow)
    for event in early:
        scene = scene.receives(event, Paid(amount=1), key="k")
    scene = scene.ok("first")
    for event in (event for event in (paid, other) if event not in early):
        scene = scene.receives(event, Paid(amount=1), key="k")
    assert scene.status == "running"
    (index,) = scene.document.steps["any"].memo["got"]
    used = (paid, other)[index]
    assert scene.receives(used, Paid(amount=2), key="k").status == "completed"


@shows("wait", "timeout", "undo", "rejection", "exhaustion")
def test_a_wait_that_is_over_fails_or_goes_on_without() -> None:
    """Nothing but time can make it fail, and it leaves nothing to undo."""
    failed = awaiting(wait(expect(paid, key=key), timeout=HOUR)).advance(HOUR)
    assert (failed.status, kind_of(failed), names(failed.settle())) == ("compensating", CauseKind.TIMEOUT, ["first"])
    past = awaiting(wait(expect(paid, key=key), timeout=HOUR), past_pivot=True).advance(HOUR)
    assert past.status == "attention"
    assert past.retry().receives(paid, Paid(amount=1)).status == "completed"
    without = awaiting(wait(expect(paid, key=key), timeout=HOUR, on_timeout="go_on")).advance(HOUR)
    assert without.status == "completed"


@shows("wait", "cancel")
def test_a_cancelled_wait_ends_at_once_and_its_mailbox_forgets_it() -> None:
    scene = awaiting(wait(expect(paid, key=key), timeout=HOUR))
    assert [id for id in scene.entities if id.startswith("@mailbox")] == ["@mailbox/paid/k"]
    cancelled = scene.cancel()
    assert waiting(cancelled) == ["undo first"]
    assert [id for id in cancelled.entities if id.startswith("@mailbox")] == []


@shows("wait", "a key that raises")
def test_a_key_that_raises_or_a_body_that_does_not_fit_stands_in_attention() -> None:
    raised = awaiting(wait(expect(paid, key=broken), timeout=HOUR))
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)
    unfit = awaiting(wait(expect(paid, key=key, into="paid"), timeout=HOUR)).receives(paid, {"amount": "much"})
    assert (unfit.status, kind_of(unfit)) == ("attention", CauseKind.CODE)


# -- sleep -----------------------------------------------------------------------------------------------------------


@shows("sleep", "success", "rejection", "exhaustion", "timeout")
@pytest.mark.parametrize("node", [sleep("nap", HOUR), sleep("nap", lambda s: HOUR)])
def test_a_sleep_ends_when_its_time_is_over_and_never_before(node: Node[Talk]) -> None:
    """Nothing else can happen to it."""
    asleep = awaiting(node)
    early = asleep.advance(HOUR - timedelta(milliseconds=1))
    assert (early.status, early.has_timer) == ("running", True)
    assert early.advance(timedelta(milliseconds=1)).status == "completed"


@shows("sleep", "cancel", "undo")
def test_a_cancelled_sleep_ends_at_once_and_leaves_nothing_to_undo() -> None:
    cancelled = awaiting(sleep("nap", HOUR)).cancel()
    assert waiting(cancelled) == ["undo first"]
    assert names(cancelled.settle()) == ["first"]


@shows("sleep", "a function that raises")
@pytest.mark.parametrize("span", [lambda s: timedelta(seconds=-1), broken])
def test_a_sleep_of_a_span_that_is_none_stands_in_attention(span: object) -> None:
    raised = awaiting(sleep("nap", span))  # type: ignore[arg-type]  # the mistake
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)


# -- emit ------------------------------------------------------------------------------------------------------------


@shows("emit", "success", "rejection", "exhaustion", "timeout")
def test_an_event_is_published_once_and_nobody_answers() -> None:
    """The flow goes on at once: nothing can go wrong with it after that."""
    done = awaiting(emit(paid, lambda s: Paid(amount=9), key=lambda s: "k"))
    assert done.status == "completed"
    assert [(each.event, each.key, each.body) for each in done.published] == [("paid", "k", {"amount": 9})]


@shows("emit", "cancel", "undo")
def test_an_event_that_is_out_is_not_taken_back() -> None:
    flow = flow_of(leg("first"), emit(paid, lambda s: Paid(amount=9), key=key), leg("last"))
    scene = Scene.start(flow).ok("first")
    for turned, undone in ((scene.rejects("last"), ["first"]), (scene.cancel().ok("last"), ["last", "first"])):
        ended = turned.settle()
        assert (ended.status, names(ended), len(ended.published)) == ("compensated", undone, 1)


@shows("emit", "when nothing waits for the event and there is no room")
def test_an_event_that_cannot_be_kept_is_published_all_the_same() -> None:
    box, limits = mailbox_id("paid", "k"), Limits()
    kept = tuple(KeptEvent(id=f"e{n}", body={"amount": n}, until_ms=HOUR_MS) for n in range(limits.events_max))
    before = awaiting(leg("second"))
    full = replace(
        before, entities={**before.entities, box: Mailbox(id=box, event="paid", key="k", revision=1, kept=kept)}
    )
    flow = flow_of(leg("first"), leg("second"), emit(paid, lambda s: Paid(amount=9), key=lambda s: "k"))
    done = redeployed(full, flow).ok("second")
    assert (done.status, [each.body for each in done.published]) == ("completed", [{"amount": 9}])
    assert done.entities[box] == full.entities[box]


@shows("emit", "a function that raises")
def test_an_event_that_cannot_be_built_stands_in_attention() -> None:
    raised = awaiting(emit(paid, lambda s: Paid(amount=9), key=broken))
    assert (raised.status, kind_of(raised), raised.published) == ("attention", CauseKind.CODE, ())


# -- ask -------------------------------------------------------------------------------------------------------------


def question(**more: object) -> Node[Talk]:
    given = {"question": lambda s: "is it paid?", "who": lambda s: ["ann"], "into": "paid", "due": HOUR, **more}
    return ask("approval", Paid, **given)  # type: ignore[arg-type]  # options by name


@shows("ask", "success")
def test_a_valid_answer_of_somebody_who_may_is_in_the_state() -> None:
    done = awaiting(question()).answer("approval", Paid(amount=3), by="ann")
    assert (done.status, done.state.paid) == ("completed", Paid(amount=3))


@shows("ask", "rejection", "exhaustion")
def test_an_answer_that_cannot_be_taken_is_refused_and_changes_nothing() -> None:
    """Neither can end it: there is no business rejection and no number of attempts."""
    asked = awaiting(question())
    for _ in range(5):
        for by, form in (("bob", {"amount": 3}), ("ann", {"amount": "much"})):
            refused = asked.answer("approval", form, by=by)
            assert refused.last is not None
            assert refused.last.outcome == "denied"
            assert refused.last.reason
            assert refused.document == asked.document
    assert asked.status == "running"


@shows("ask", "timeout", "undo")
def test_a_question_that_nobody_answers_in_time_fails_and_leaves_nothing_to_undo() -> None:
    failed = awaiting(question()).advance(HOUR)
    assert (failed.status, kind_of(failed), names(failed.settle())) == ("compensating", CauseKind.TIMEOUT, ["first"])
    past = awaiting(question(), past_pivot=True).advance(HOUR)
    assert past.status == "attention"
    assert past.retry().answer("approval", Paid(amount=3)).status == "completed"


@shows("ask", "cancel")
def test_a_cancelled_question_is_withdrawn() -> None:
    cancelled = awaiting(question()).cancel()
    assert waiting(cancelled) == ["undo first"]
    late = cancelled.answer("approval", Paid(amount=3), by="ann")
    assert (late.last.outcome if late.last else None) == "denied"


@shows("ask", "a function that raises")
def test_a_question_that_cannot_be_asked_stands_in_attention() -> None:
    raised = awaiting(question(question=broken))
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)


@shows("ask", "a claimed question", "the escalation")
def test_who_claims_a_question_is_the_only_one_who_may_answer_until_it_is_given_away() -> None:
    escalation = Escalation(after=HOUR / 2, to=["carl"])
    asked = awaiting(question(who=lambda s: ["ann", "bob"], escalation=escalation))
    claimed = asked.act(ActName.CLAIM, step="approval", by="ann")
    assert claimed.answer("approval", Paid(amount=1), by="bob").status == "running"
    assert claimed.answer("approval", Paid(amount=1), by="ann").status == "completed"
    given = claimed.act(ActName.ASSIGN, step="approval", value={"to": "dora"})
    assert given.answer("approval", Paid(amount=1), by="ann").status == "running"
    assert given.answer("approval", Paid(amount=1), by="dora").status == "completed"
    assert asked.answer("approval", Paid(amount=1), by="carl").status == "running"
    for escalated in (asked.advance(HOUR / 2), claimed.advance(HOUR / 2), given.advance(HOUR / 2)):
        assert escalated.answer("approval", Paid(amount=1), by="carl").status == "completed"
        anew = escalated.act(ActName.CLAIM, step="approval", by="bob")
        assert anew.last is not None
        assert anew.last.outcome == "applied"


# -- run -------------------------------------------------------------------------------------------------------------


def child(*nodes: Node[Talk]) -> Saga[Talk]:
    return Saga("child", Talk, flow=nodes or [leg("c1"), leg("c2")])


def parent(*, past_pivot: bool = False, timeout: timedelta | None = None, of: Saga[Talk] | None = None) -> Scene:
    class Above(Talk):
        below: Talk | None = None

    node = run(of or child(), lambda s: Talk(n=s.n + 1), into="below", timeout=timeout, name="below")
    flow = [pivot, node] if past_pivot else [leg("first", model=Above), node]
    scene = Scene.start(Saga("talk", Above, flow=flow), {"n": 4})
    return scene if past_pivot else scene.ok("first")


def child_of(scene: Scene) -> Document:
    (found,) = [each for each in scene.documents if each.definition == "child"]
    return found


@shows("run", "success")
def test_the_last_state_of_a_completed_child_is_in_ours() -> None:
    done = parent().ok("c1").ok("c2")
    assert (done.status, done.state.below.n) == ("completed", 5)


@shows("run", "rejection", "exhaustion", "timeout")
@FAILURES
def test_a_child_that_fails_compensates_itself_and_is_a_business_no(how: str) -> None:
    failed = failing(parent().ok("c1"), "c2", how)
    assert failed.status == "running"
    ended = failed.settle()
    assert (child_of(ended).status, ended.status) == ("compensated", "compensated")
    assert ended.document.steps["below"].status is StepStatus.REJECTED
    assert names(ended) == [*(["c2"] if how != "rejects" else []), "c1", "first"]
    past = failing(parent(past_pivot=True).ok("c1"), "c2", how).settle()
    assert (past.status, kind_of(past)) == ("attention", CauseKind.CHILD)


@shows("run", "timeout")
def test_a_child_that_takes_too_long_is_cancelled_and_then_it_has_timed_out() -> None:
    late = parent(timeout=timedelta(seconds=30)).ok("c1").advance(timedelta(seconds=30))
    assert (late.status, child_of(late).status) == ("running", "compensating")
    failed = late.ok("c2").undo_ok("c2").undo_ok("c1")
    assert (failed.status, kind_of(failed)) == ("compensating", CauseKind.TIMEOUT)


@shows("run", "cancel")
def test_a_cancel_goes_down_to_every_level_and_comes_up_again() -> None:
    middle = Saga("middle", Talk, flow=[run(child(), lambda s: s, name="deep")])
    cancelled = parent(of=middle).ok("c1").cancel()
    assert child_of(cancelled).status == "compensating"
    ended = cancelled.ok("c2").settle()
    assert [each.status for each in ended.documents] == ["compensated"] * 3
    assert names(ended) == ["c2", "c1", "first"]


@shows("run", "undo")
def test_a_completed_child_is_compensated_as_a_unit() -> None:
    flow = flow_of(run(child(), lambda s: Talk(), name="below"), leg("last"))
    undone = Scene.start(flow).ok("c1").ok("c2").rejects("last").settle()
    assert (undone.status, child_of(undone).status) == ("compensated", "compensated")
    assert names(undone) == ["c2", "c1", "below"]


@shows("run", "the child in attention")
def test_a_parent_waits_for_the_operator_of_its_child_and_an_abandoned_one_needs_another() -> None:
    stuck = parent().ok("c1").rejects("c2").undo_exhaust("c1")
    assert (stuck.status, child_of(stuck).status) == ("running", "attention")
    closed = stuck.act(ActName.ABANDON, of=child_of(stuck).id)
    assert closed.status == "attention"
    assert closed.document.attention is not None
    assert closed.document.attention.kind is CauseKind.UNDO


@shows("run", "past the pivot")
def test_past_the_pivot_a_retry_starts_another_child() -> None:
    stuck = parent(past_pivot=True).rejects("c1")
    assert stuck.status == "attention"
    again = stuck.retry()
    assert len([each for each in again.documents if each.definition == "child"]) == 2
    assert again.ok("c1").ok("c2").status == "completed"


@shows("run", "a function that raises")
def test_an_input_that_raises_stands_in_attention() -> None:
    def broken_input(s: Talk) -> Talk:
        raise RuntimeError("it is broken")

    raised = Scene.start(flow_of(run(child(), broken_input, name="below")))
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)


# -- each ------------------------------------------------------------------------------------------------------------


def parts(
    count: int, *, tolerate: int = 0, concurrency: int = 2, past_pivot: bool = False, broken: bool = False
) -> Scene:
    def of(s: Talk) -> Sequence[Talk]:
        return [Talk(n=n if not broken else n // s.n) for n in range(count)]

    part = Saga("part", Talk, flow=[leg("p", undo=not past_pivot)])
    node = each(part, of=of, gather=gathered, concurrency=concurrency, tolerate=tolerate, name="all")
    scene = Scene.start(flow_of(*([] if past_pivot else [leg("first")]), node, past_pivot=past_pivot))
    return scene if past_pivot else scene.ok("first")


def gathered(s: Talk, part: Talk) -> Talk:
    return s.model_copy(update={"n": s.n + 10 + part.n})


def at(scene: Scene, index: int) -> str:
    """The instance of a part."""
    return next(each.id for each in scene.documents if each.id.endswith(f"/{index}") and each.definition == "part")


@shows("each", "success")
def test_every_part_ends_and_is_gathered_some_at_once() -> None:
    scene = parts(3)
    assert len(scene.waiting) == 2
    done = scene.settle()
    assert (done.status, done.state.n) == ("completed", 33)
    assert parts(0).status == "completed"


@shows("each", "success")
def test_as_many_parts_may_fail_as_are_tolerated() -> None:
    scene = parts(3, tolerate=1)
    done = scene.rejects("p", of=at(scene, 0)).settle()
    assert (done.status, done.state.n) == ("completed", 23)


@shows("each", "rejection", "exhaustion", "timeout")
@FAILURES
def test_with_too_many_failed_no_part_is_begun_those_under_way_are_cancelled_and_it_may_have_happened(how: str) -> None:
    scene = parts(4)
    first, second = at(scene, 0), at(scene, 1)
    failed: Scene = getattr(scene, how)("p", of=first)
    failed = failed if how == "rejects" else failed.undo_ok("p", of=first)
    assert failed.status == "running"
    ended = failed.ok("p", of=second)
    assert len([each for each in ended.documents if each.definition == "part"]) == 2
    ended = ended.settle()
    assert (ended.status, kind_of(ended)) == ("compensated", CauseKind.CHILD)
    assert ended.document.steps["all"].status is StepStatus.UNDONE


@shows("each", "cancel")
def test_a_cancelled_each_waits_for_its_parts_and_compensates_those_that_completed() -> None:
    scene = parts(4)
    cancelled = scene.ok("p", of=at(scene, 0)).ok("p", of=at(scene, 1)).cancel()
    assert cancelled.status == "compensating"
    ended = cancelled.settle()
    assert ended.status == "compensated"
    assert {each.status for each in ended.documents} == {"compensated"}
    assert len([each for each in ended.documents if each.definition == "part"]) <= 4


@shows("each", "undo")
def test_completed_parts_are_compensated_from_the_last_to_the_first() -> None:
    part = Saga("part", Talk, flow=[leg("p")])
    node = each(part, of=lambda s: [Talk(n=n) for n in range(5)], concurrency=2, name="all")
    failed = Scene.start(flow_of(node, leg("last")))
    for index in range(5):
        failed = failed.ok("p", of=at(failed, index))
    failed = failed.rejects("last")
    assert sorted(each.instance[-1] for each in failed.waiting) == ["3", "4"]
    ended = failed.settle()
    assert ended.status == "compensated"
    stuck = failed.undo_exhaust("p", of=at(failed, 4))
    closed = stuck.act(ActName.ABANDON, of=at(stuck, 4))
    assert (closed.status, kind_of(closed)) == ("attention", CauseKind.UNDO)


@shows("each", "past the pivot")
def test_past_the_pivot_a_retry_begins_again_what_failed_as_another_instance() -> None:
    scene = parts(2, past_pivot=True)
    stuck = scene.ok("p", of=at(scene, 1)).rejects("p", of=at(scene, 0))
    assert (stuck.status, kind_of(stuck)) == ("attention", CauseKind.CHILD)
    assert names(stuck) == []
    again = stuck.retry()
    assert len([each for each in again.documents if each.definition == "part"]) == 3
    assert again.ok("p").status == "completed"


@shows("each", "a function that raises")
def test_parts_that_cannot_be_told_stand_in_attention() -> None:
    raised = parts(3, broken=True)
    assert (raised.status, kind_of(raised)) == ("attention", CauseKind.CODE)
