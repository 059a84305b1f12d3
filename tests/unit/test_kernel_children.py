"""Children: what a parent starts, asks and is told, and what becomes of it when they fail, are late or are undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Attention, CauseKind, Document, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded, Expire, ExpiryRequested, Unwind
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Change, DeadLetter, Outcome, Tell
from sagaline.orchestrator.messages.values import Parent
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node, Saga, pivot
from sagaline.sagas.nodes import parallel, run

from .kernel_nodes import (
    HOUR,
    LIFE,
    Did,
    Talk,
    flow_of,
    leg,
    life_at,
    memo_of,
    outcome_of,
    redeployed,
    timers_of,
    told_by,
)

CHILD = f"child/talk/k/sub~{LIFE}"
PARENT = Parent(instance="talk/k", place=f"sub~{LIFE}", root="talk/k", root_incarnation=LIFE)
MINUTE = timedelta(minutes=1)


def child(*nodes: Node[Talk]) -> Saga[Talk]:
    return Saga("child", Talk, flow=nodes or (leg("inner"),), version=3)


def parent(*, timeout: timedelta | None = HOUR, kid: Saga[Talk] | None = None) -> Saga[Talk]:
    """A step, a child, a step."""
    inner = kid or child()
    return flow_of(leg("a"), run(inner, lambda s: Talk(n=s.n + 1), into="inner", timeout=timeout, name="sub"), leg("b"))


class Above(Talk):
    """With a place for what the child knows at its end."""

    inner: Talk | None = None


def above(*, timeout: timedelta | None = HOUR, kid: Saga[Talk] | None = None) -> Scene:
    node: Node[Above] = run(kid or child(), lambda s: Talk(n=s.n + 1), into="inner", timeout=timeout, name="sub")
    a, b = leg("a", model=Above), leg("b", model=Above)
    return Scene.start(Saga("talk", Above, flow=[a, node, b]), {"n": 4}).ok("a")


def ended(end: ChildEnd, *, reason: str = "", index: int | None = None, name: str = CHILD) -> ChildEnded:
    return ChildEnded(id="x", instance="talk/k", place=f"sub~{LIFE}", index=index, child=name, end=end, reason=reason)


def test_a_child_is_started_once_as_one_of_its_parent() -> None:
    """By a key that names parent and place; its version is the one that the parent runs."""
    scene = above()
    assert told_by(scene) == [
        Start(
            id=f"talk/k/~2.1~{LIFE}",
            definition="child",
            key=f"talk/k/sub~{LIFE}",
            input={"n": 5, "rounds": 0, "did": None, "paid": None, "offer": None, "offers": []},
            version=3,
            parent=PARENT,
        )
    ]
    record = scene.document.steps["sub"]
    assert (record.status, record.attempt, record.undo, record.memo) == (StepStatus.SENT, 1, "unwind", {"child": CHILD})
    assert timers_of(scene) == {"sub:deadline": 3_600_000}
    assert timers_of(above(timeout=None)) == {}


def test_what_a_child_knows_at_its_end_is_kept_by_its_parent() -> None:
    scene = above().ok("inner", of=CHILD)
    assert scene.state.inner == Talk(n=5)
    assert (scene.step("sub"), scene.step("b")) == (StepStatus.DONE, StepStatus.SENT)
    assert [name for name in timers_of(scene) if name.startswith("sub")] == []
    child_told = ChildEnded(
        id=f"{CHILD}/~2.1~{life_at(scene, CHILD)}",
        instance="talk/k",
        place=f"sub~{LIFE}",
        index=None,
        child=CHILD,
        end=ChildEnd.COMPLETED,
        state={"n": 5, "rounds": 0, "did": None, "paid": None, "offer": None, "offers": []},
    )
    before = above()
    entity = before.entities[CHILD]
    assert isinstance(entity, Document)
    watching = Scene(**{**{name: getattr(before, name) for name in Scene.__slots__}, "id": CHILD})
    assert told_by(watching.ok("inner", of=CHILD)) == [child_told]


def test_a_child_that_compensated_left_nothing_and_one_that_was_abandoned_may_have() -> None:
    """The first counts as a business rejection, the other is unwound with the parent."""
    refused = above().rejects("inner", "sold out", of=CHILD)
    cause = refused.document.cause
    assert cause is not None
    assert (cause.kind, cause.step, cause.message) == (CauseKind.CHILD, "sub", f"{CHILD} compensated: sold out")
    assert refused.step("sub") is StepStatus.REJECTED
    assert refused.document.steps["sub"].error == f"{CHILD} compensated: sold out"
    abandoned = above().play(ended(ChildEnd.ABANDONED, reason="by hand"))
    assert abandoned.document.cause is not None
    assert abandoned.document.cause.message == f"{CHILD} abandoned: by hand"
    assert abandoned.document.steps["sub"].error == f"{CHILD} abandoned: by hand"
    assert abandoned.step("sub") is not StepStatus.REJECTED


def test_a_child_that_cannot_begin_is_a_business_no() -> None:
    """Its key is taken, or its input is not valid: the parent is told why."""
    at = replace(PARENT, index=2)
    start = Start(id="s", definition="child", key="x", input={"n": "many"}, parent=at)
    decision = decide(child(), None, Arrival(message=start, now_ms=0))
    reason = "the input is not valid: n: Input should be a valid integer, unable to parse string as an integer"
    told = replace(ended(ChildEnd.NOT_STARTED, reason=reason, index=2, name="child/x"), id="s/answer")
    assert decision.actions == (DeadLetter(reason=reason), Tell(message=told))
    refused = above().play(ended(ChildEnd.NOT_STARTED, reason="taken"))
    assert refused.step("sub") is StepStatus.REJECTED
    first = decide(child(), None, Arrival(message=Start(id="1", definition="child", key="x", input={}), now_ms=0))
    for input, outcome in (({}, Outcome.UNCHANGED), ({"n": 1}, Outcome.DENIED)):
        twice = Start(id="2", definition="child", key="x", input=input, parent=at)
        again = decide(child(), first.document, Arrival(message=twice, now_ms=0))
        assert again.outcome is outcome
        (answer,) = again.actions
        assert isinstance(answer, Tell)
        assert isinstance(answer.message, ChildEnded)
        assert (answer.message.end, answer.message.reason) == (
            ChildEnd.NOT_STARTED,
            "an instance with this key exists already",
        )


def test_a_child_that_is_not_in_time_is_cancelled_and_its_end_is_waited_for() -> None:
    """Then the parent turns round for the time, not for the child."""
    late = above(kid=child(leg("inner", timeout=2 * HOUR))).advance(HOUR)
    assert told_by(late) == [
        Unwind(
            id=f"talk/k/~3.1~{LIFE}",
            instance=CHILD,
            parent=PARENT,
            reason="it did not end in time",
        )
    ]
    assert (late.status, late.step("sub")) == (Status.RUNNING, StepStatus.SENT)
    assert memo_of(late, "sub") == {"child": CHILD, "timed_out": True, "closing": True}
    over = late.ok("inner", of=CHILD).undo_ok("inner", of=CHILD)
    assert over.document.cause is not None
    assert (over.document.cause.kind, over.document.cause.message) == (
        CauseKind.TIMEOUT,
        f"{CHILD} compensated: cancelled by its parent talk/k: it did not end in time",
    )


def test_a_cancel_is_said_to_the_child_once() -> None:
    """With the cause; the parent goes back when it has ended."""
    cancelled = above().cancel("a mistake")
    assert [each.reason for each in told_by(cancelled) if isinstance(each, Unwind)] == [
        "cancelled by somebody: a mistake"
    ]
    assert memo_of(cancelled, "sub")["closing"] is True
    assert told_by(cancelled.act(ActName.PAUSE).act(ActName.RESUME)) == []
    over = cancelled.ok("inner", of=CHILD).undo_ok("inner", of=CHILD)
    assert (over.step("sub"), over.open("a", undo=True).step) == (StepStatus.REJECTED, "a")


def test_a_completed_child_is_undone_with_its_parent() -> None:
    """The parent waits for it; an instance beside it says nothing in between."""
    turned = above().ok("inner", of=CHILD).rejects("b", "no room")
    assert told_by(turned) == [
        Unwind(
            id=f"talk/k/~4.1~{LIFE}",
            instance=CHILD,
            parent=PARENT,
            reason="no room",
        )
    ]
    assert turned.step("sub") is StepStatus.UNDO_SENT
    undone = turned.undo_ok("inner", of=CHILD)
    assert undone.step("sub") is StepStatus.UNDONE
    assert undone.undo_ok("a").status is Status.COMPENSATED
    assert undone.undo_ok("a").undone == (f"{CHILD}/inner", "talk/k/sub", "talk/k/a")


def test_a_child_that_cannot_be_undone_is_shown_and_asked_again_after_a_retry() -> None:
    turned = above().ok("inner", of=CHILD).rejects("b").play(ended(ChildEnd.ABANDONED, reason="left open: inner"))
    assert turned.status is Status.ATTENTION
    assert turned.step("sub") is StepStatus.UNDO_FAILED
    assert turned.attention is not None
    reason = f"{CHILD} could not be undone: abandoned: left open: inner"
    assert (turned.attention.kind, turned.attention.message, turned.attention.step) == (
        CauseKind.UNDO,
        f"{reason}; resolve it there, then retry",
        "sub",
    )
    assert turned.document.steps["sub"].error == reason
    again = turned.retry()
    assert [type(each) for each in told_by(again)] == [Unwind]
    assert again.document.steps["sub"].undo_attempt == 2
    assert again.undo_ok("inner", of=CHILD).step("sub") is StepStatus.UNDONE


def test_a_child_past_its_pivot_goes_on_and_says_at_its_end_that_it_stands() -> None:
    """While it is under way it says nothing: its end will."""
    kid = child(leg("first"), pivot, leg("second", undo=False))
    node: Node[Talk] = run(kid, lambda s: Talk(), name="sub", timeout=timedelta(seconds=30))
    late = Scene.start(flow_of(pivot, node)).ok("first", of=CHILD).advance(timedelta(seconds=30))
    assert memo_of(late, "sub")["closing"] is True
    assert late.open("second", of=CHILD).step == "second"
    done = late.ok("second", of=CHILD)
    assert done.status is Status.COMPLETED
    document = done.entities[CHILD]
    assert isinstance(document, Document)
    asked = Unwind(id="u", instance=CHILD, parent=replace(PARENT, index=3), reason="no")
    decision = decide(kid, document, Arrival(message=asked, now_ms=0))
    told = ChildEnded(
        id=f"{asked.id}/answer",
        instance="talk/k",
        place=f"sub~{LIFE}",
        index=3,
        child=CHILD,
        end=ChildEnd.NOT_UNDONE,
        reason="it is past its pivot and cannot be undone",
    )
    assert decision.actions == (Tell(message=told),)
    assert (decision.document, decision.outcome) == (document, Outcome.UNCHANGED)


def test_a_retry_past_the_pivot_runs_another_child() -> None:
    """Of the next attempt; what is said about the first is late."""
    node: Node[Talk] = run(child(), lambda s: Talk(), name="sub")
    stuck = Scene.start(flow_of(pivot, node)).rejects("inner", of=CHILD)
    assert stuck.document.steps["sub"].undo is None
    again = stuck.retry()
    (start,) = told_by(again)
    assert isinstance(start, Start)
    assert start.key == f"talk/k/sub~{LIFE}~2"
    assert (memo_of(again, "sub"), again.document.steps["sub"].spent) == ({"child": f"child/talk/k/sub~{LIFE}~2"}, 1)
    assert again.ok("inner", of=f"child/talk/k/sub~{LIFE}~2").status is Status.COMPLETED


@pytest.mark.parametrize("place", ["nowhere", "a", "b"])
def test_an_end_that_nobody_waits_for_is_ignored(place: str) -> None:
    scene = above().ok("inner", of=CHILD)
    stray = ChildEnded(id="x", instance="talk/k", place=place, index=None, child=CHILD, end=ChildEnd.COMPLETED)
    assert outcome_of(scene.play(stray))[0] is Outcome.IGNORED
    assert outcome_of(scene.play(ended(ChildEnd.COMPLETED)))[0] is Outcome.IGNORED


def test_a_child_of_a_child_knows_the_outermost() -> None:
    """It stays until that one needs nothing any more."""
    grandchild = Saga("grand", Talk, flow=[leg("deep")])
    kid = child(run(grandchild, lambda s: Talk(), name="deeper"))
    scene = above(kid=kid)
    life = life_at(scene, CHILD)
    deep = scene.entities[f"grand/{CHILD}/deeper~{life}"]
    assert isinstance(deep, Document)
    assert deep.parent == Parent(instance=CHILD, place=f"deeper~{life}", root="talk/k", root_incarnation=LIFE)
    cancelled = scene.cancel()
    assert cancelled.entities[deep.id].revision == deep.revision + 1
    watching = Scene(**{**{name: getattr(scene, name) for name in Scene.__slots__}, "id": CHILD})
    assert [each.parent.root for each in told_by(watching.cancel(of=CHILD)) if isinstance(each, Unwind)] == ["talk/k"]


def test_an_input_of_another_kind_stops_the_instance() -> None:
    node: Any = run(child(), lambda s: Did(), name="sub")  # type: ignore[arg-type,return-value]
    scene = Scene.start(flow_of(node))
    assert scene.attention is not None
    assert scene.attention.message == (
        f"the input of run 'sub' gave a Did; {child()!r} starts with a Talk; deploy the fix, then retry"
    )
    mended: Node[Talk] = run(child(), lambda s: Talk(), name="sub")
    assert redeployed(scene, flow_of(mended)).retry().step("sub") is StepStatus.SENT


# -- how long a child stays ------------------------------------------------------------------------------------------


def test_a_child_asks_before_it_leaves_and_stays_until_it_may() -> None:
    """While its root lives it asks again and again, each time after the retention."""
    scene = above().ok("inner", of=CHILD)
    kid = scene.entities[CHILD]
    assert isinstance(kid, Document)
    week_ms = 7 * 24 * 3_600_000
    assert kid.timers == {"~retention": week_ms}
    fired = TimerFired(id="t", instance=CHILD, timer="~retention", due_ms=week_ms)
    decision = decide(child(), kid, Arrival(message=fired, now_ms=week_ms))
    asked = ExpiryRequested(id=f"{CHILD}/~3.1~{kid.incarnation}", instance="talk/k", child=CHILD, incarnation=LIFE)
    assert decision.actions == (Tell(message=asked),)
    assert (decision.outcome, decision.reason) == (Outcome.APPLIED, "it asks its root whether it can be removed")
    kept = decision.document
    assert kept is not None
    assert (kept.revision, kept.timers, kept.finished_ms) == (3, {"~retention": 2 * week_ms}, week_ms)
    assert kept.updated_ms == week_ms
    alive = decide(None, scene.document, Arrival(message=asked, now_ms=week_ms))
    assert (alive.document, alive.outcome, alive.actions, alive.reason) == (
        scene.document,
        Outcome.UNCHANGED,
        (),
        "the child is still needed",
    )
    done = scene.ok("b").document
    over = decide(None, done, Arrival(message=asked, now_ms=week_ms))
    leave = Expire(id=f"{asked.id}/answer", instance=CHILD)
    assert (over.document, over.outcome, over.actions, over.reason) == (
        done,
        Outcome.UNCHANGED,
        (Tell(message=leave),),
        "the child can be removed",
    )
    gone = decide(None, None, Arrival(message=asked, now_ms=week_ms))
    assert gone.actions == (Tell(message=Expire(id=f"{asked.id}/answer", instance=CHILD)),)
    left = decide(None, kept, Arrival(message=leave, now_ms=week_ms))
    assert (left.document, left.outcome, left.reason) == (None, Outcome.APPLIED, "no instance above needs it any more")
    assert decide(scene.definition, scene.document, Arrival(message=leave, now_ms=week_ms)).outcome is Outcome.IGNORED


@pytest.mark.parametrize(
    ("end", "why"),
    [(ActName.ABANDON, "it was abandoned"), (None, "there is no such instance")],
)
def test_who_is_gone_says_that_it_was_not_undone(end: ActName | None, why: str) -> None:
    kid = decide(
        child(leg("inner", broken=True)),
        None,
        Arrival(message=Start(id="1", definition="child", key="x", input={}), now_ms=0),
    )
    document = kid.document
    if end is None:
        document = None
    else:
        act = Act(id="a", instance="child/x", act=end)
        document = decide(child(), document, Arrival(message=act, now_ms=0)).document
    at_parent = replace(PARENT, index=4)
    asked = Unwind(id="u", instance="child/x", parent=at_parent, reason="no")
    decision = decide(child(), document, Arrival(message=asked, now_ms=0))
    told = replace(ended(ChildEnd.NOT_UNDONE, reason=why, index=4, name="child/x"), id="u/answer")
    assert decision.actions == (Tell(message=told),)
    assert (decision.document, decision.outcome, decision.reason) == (document, Outcome.UNCHANGED, "it has ended")


def test_who_is_undone_already_says_so_again() -> None:
    """Its parent asks twice when it did not hear the first answer."""
    scene = above().rejects("inner", of=CHILD)
    kid = scene.entities[CHILD]
    assert isinstance(kid, Document)
    assert kid.status is Status.COMPENSATED
    asked = Unwind(id="u", instance=CHILD, parent=PARENT, reason="no")
    (told,) = decide(child(), kid, Arrival(message=asked, now_ms=0)).actions
    assert isinstance(told, Tell)
    assert isinstance(told.message, ChildEnded)
    assert (told.message.end, told.message.reason, told.message.index) == (ChildEnd.COMPENSATED, "", None)


def test_another_child_is_the_one_that_is_cancelled() -> None:
    """After a retry the newest attempt is under way, and no other is asked for."""
    node: Node[Talk] = run(child(), lambda s: Talk(), name="sub", timeout=timedelta(seconds=30))
    again = Scene.start(flow_of(pivot, node)).rejects("inner", of=CHILD).retry().advance(timedelta(seconds=30))
    assert [each.instance for each in told_by(again)] == [f"{CHILD}~2"]


def test_the_child_of_a_lost_branch_is_told_that_it_is_not_needed() -> None:
    node: Node[Talk] = run(child(), lambda s: Talk(), name="sub")
    scene = Scene.start(flow_of(parallel(leg("a"), node, need="any", name="both"))).ok("a")
    (told,) = told_by(scene)
    assert isinstance(told, Unwind)
    assert told.reason == "its branch is no longer needed"
    assert scene.ok("inner", of=CHILD).undo_ok("inner", of=CHILD).status is Status.COMPLETED


def test_who_is_asked_to_unwind_while_it_does_says_nothing() -> None:
    """Its end will."""
    scene = above().cancel()
    kid = scene.entities[CHILD]
    asked = Unwind(id="u", instance=CHILD, parent=PARENT, reason="no")
    assert isinstance(kid, Document)
    again = decide(child(), kid, Arrival(message=asked, now_ms=0))
    assert (again.document, again.outcome, again.actions) == (kid, Outcome.IGNORED, ())


def test_what_is_said_to_an_instance_that_has_ended_changes_nothing() -> None:
    done = above().ok("inner", of=CHILD).ok("b")
    late = done.play(ended(ChildEnd.COMPLETED))
    assert outcome_of(late) == (Outcome.IGNORED, "the instance does not wait for this message")
    assert late.document == done.document


def test_an_end_that_comes_while_the_code_is_away_counts_when_it_is_back() -> None:
    """The next one brings it back by itself."""
    scene = above()
    kept = decide(None, scene.document, Arrival(message=ended(ChildEnd.ABANDONED, reason="x"), now_ms=0)).document
    assert kept is not None
    assert kept.status is Status.ATTENTION
    stray = ChildEnded(
        id="y", instance="talk/k", place=f"nowhere~{LIFE}", index=None, child="c", end=ChildEnd.COMPLETED
    )
    back = decide(scene.definition, kept, Arrival(message=stray, now_ms=0))
    assert (back.outcome, back.document and back.document.status) == (Outcome.APPLIED, Status.COMPENSATING)
    assert back.document is not None
    assert back.document.attention is None


def test_the_next_question_comes_after_as_long_as_the_first() -> None:
    """Counted from the end to the timer; never at once."""
    scene = above().advance(MINUTE / 2).ok("inner", of=CHILD)
    kid = scene.entities[CHILD]
    assert isinstance(kid, Document)
    assert kid.finished_ms == 30_000
    week_ms = 7 * 24 * 3_600_000
    fired = TimerFired(id="t", instance=CHILD, timer="~retention", due_ms=week_ms + 30_000)
    kept = decide(child(), kid, Arrival(message=fired, now_ms=week_ms + 40_000)).document
    assert kept is not None
    assert kept.timers == {"~retention": 2 * week_ms + 40_000}
    no_time = replace(kid, timers={"~retention": 30_000})
    at_once = TimerFired(id="t", instance=CHILD, timer="~retention", due_ms=30_000)
    soon = decide(child(), no_time, Arrival(message=at_once, now_ms=30_000)).document
    assert soon is not None
    assert soon.timers == {"~retention": 30_001}


def test_a_completed_child_that_is_unwound_lives_again() -> None:
    """It does not leave in the middle of it, and is kept for its retention afterwards."""
    turned = above().ok("inner", of=CHILD).advance(MINUTE / 2).rejects("b", "no room")
    kid = turned.entities[CHILD]
    assert isinstance(kid, Document)
    assert (kid.status, kid.finished_ms, "~retention" in kid.timers) == (Status.COMPENSATING, None, False)
    assert kid.cause is not None
    assert (kid.cause.kind, kid.cause.message) == (CauseKind.CANCELLED, "cancelled by its parent talk/k: no room")
    ended_again = turned.undo_ok("inner", of=CHILD).entities[CHILD]
    assert isinstance(ended_again, Document)
    assert (ended_again.finished_ms, list(ended_again.timers)) == (30_000, ["~retention"])


def test_a_paused_child_that_is_unwound_does_not_stay_paused() -> None:
    scene = above().act(ActName.PAUSE, of=CHILD).cancel()
    kid = scene.entities[CHILD]
    assert isinstance(kid, Document)
    assert (kid.paused, kid.status) == (False, Status.COMPENSATING)


def test_the_completed_child_of_a_lost_branch_is_undone_with_a_reason() -> None:
    node: Node[Talk] = run(child(), lambda s: Talk(), name="sub")
    saga = flow_of(parallel([node, leg("x")], leg("y"), need="any", name="both"))
    scene = Scene.start(saga).ok("inner", of=CHILD).rejects("x")
    assert [each.reason for each in told_by(scene) if isinstance(each, Unwind)] == ["its parent is compensating"]


def test_a_retention_timer_that_is_not_due_says_so() -> None:
    kid = above().ok("inner", of=CHILD).entities[CHILD]
    assert isinstance(kid, Document)
    early = TimerFired(id="t", instance=CHILD, timer="~retention", due_ms=kid.timers["~retention"])
    found = decide(child(), kid, Arrival(message=early, now_ms=early.due_ms - 1))
    assert (found.document, found.reason) == (kid, "the timer is not set, was moved, or is not due yet")


def test_a_child_whose_code_is_not_here_waits_for_it() -> None:
    """Its parent's code is: this node is older. It stands on record as every instance does."""
    at = PARENT
    start = Start(id="s", definition="child", key="x", input={"n": 1}, version=3, parent=at, traceparent="00-t")
    waits = decide(None, None, Arrival(message=start, now_ms=70))
    why = "'child' version 3 is not deployed here; deploy it"
    assert (waits.outcome, waits.reason, waits.actions) == (Outcome.DEFERRED, why, ())
    assert waits.changes == (
        Change(what="instance", before=None, after="running"),
        Change(what="instance", before="running", after="attention"),
    )
    document = waits.document
    assert document is not None
    assert (document.status, document.revision, document.version) == (Status.ATTENTION, 1, 3)
    assert document.attention == Attention(kind=CauseKind.VERSION, code="code-not-deployed", message=why, at_ms=70)
    assert (document.created_ms, document.updated_ms, document.state) == (70, 70, {"n": 1})
    begun = decide(child(), None, Arrival(message=start, now_ms=70)).document
    assert begun is not None
    assert document.digest == begun.digest
    unpinned = decide(None, None, Arrival(message=replace(start, version=None), now_ms=70)).document
    assert unpinned is not None
    assert unpinned.version == 0
