"""Operators' acts and the case of an instance: what is done, what stands on record, and why it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, Field, model_validator

from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.kernel.inspection import Cancelling, Inspection, Outstanding, inspect
from sagaline.orchestrator.messages.document import (
    Cause,
    CauseKind,
    Document,
    Status,
    StepStatus,
)
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded, Lookup, Release
from sagaline.orchestrator.messages.inputs import (
    Act,
    ActName,
    Arrival,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import Change, Decision, Outcome, Tell
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Node, Saga, step
from sagaline.sagas.nodes import ask, run, scatter, sleep

from .kernel_nodes import HOUR, LIFE, Did, Do, Offer, Talk, flow_of, leg, memo_of, outcome_of, timers_of


def done_a() -> Scene:
    """One step done, one under way."""
    return Scene.start(flow_of(leg("a"), leg("b"))).ok("a")


@pytest.mark.parametrize(
    ("by", "reason", "message"),
    [("ann", "a mistake", "cancelled by ann: a mistake"), ("", "", "cancelled by an operator")],
)
def test_a_cancel_is_the_cause_with_who_and_why(by: str, reason: str, message: str) -> None:
    scene = done_a()
    act = Act(id="r", instance="talk/k", act=ActName.CANCEL, by=by, reason=reason)
    cancelled = decide(scene.definition, scene.document, Arrival(message=act, now_ms=9))
    assert cancelled.document is not None
    assert cancelled.document.cause == Cause(kind=CauseKind.CANCELLED, message=message, at_ms=9)
    assert [each.id for each in cancelled.document.requests] == ["r"]


def test_acts_that_are_fulfilled_change_nothing_and_illegal_ones_say_why() -> None:
    scene = done_a()
    stuck = Scene.start(flow_of(leg("a", broken=True)))
    ended = scene.ok("b")
    cases: list[tuple[Scene, ActName, Outcome, str]] = [
        (scene, ActName.RESUME, Outcome.UNCHANGED, "nothing to change"),
        (scene.act(ActName.PAUSE), ActName.PAUSE, Outcome.UNCHANGED, "nothing to change"),
        (scene.cancel(), ActName.CANCEL, Outcome.UNCHANGED, "nothing to change"),
        (stuck.act(ActName.ABANDON), ActName.ABANDON, Outcome.UNCHANGED, "nothing to change"),
        (scene, ActName.RETRY, Outcome.DENIED, "it is running and does not need attention"),
        (scene, ActName.ABANDON, Outcome.DENIED, "it is running and does not need attention"),
        (stuck, ActName.PAUSE, Outcome.DENIED, "it needs attention and is already stopped"),
        (ended, ActName.CANCEL, Outcome.DENIED, "it is completed and can no longer change"),
        (ended, ActName.SKIP, Outcome.DENIED, "it is completed and can no longer change"),
        (scene, ActName.SKIP, Outcome.DENIED, "it has no step '' on record; there are a, b"),
    ]
    for before, act, outcome, reason in cases:
        after = before.act(act)
        assert (*outcome_of(after), after.document) == (outcome, reason, before.document)


def test_an_act_without_an_instance_is_refused_and_anything_else_ignored() -> None:
    saga = flow_of(leg("a"))
    act = Act(id="r", instance="talk/k", act=ActName.CANCEL)
    refused = decide(saga, None, Arrival(message=act, now_ms=0))
    assert (refused.document, refused.outcome, refused.reason) == (None, Outcome.DENIED, "there is no such instance")
    fired = TimerFired(id="t", instance="talk/k", timer="x", due_ms=0)
    assert decide(saga, None, Arrival(message=fired, now_ms=0)).outcome is Outcome.IGNORED


def test_a_message_for_a_entity_is_not_for_an_instance() -> None:
    scene = done_a()
    asked = Lookup(id="l", instance="talk/k", by="x", place="p", facts={})
    decision = decide(scene.definition, scene.document, Arrival(message=asked, now_ms=0))
    assert decision == Decision(
        document=scene.document,
        outcome=Outcome.IGNORED,
        code=ReasonCode.MISDIRECTED,
        reason="a message of kind 'lookup' is not for an instance",
    )


def test_the_last_twenty_requests_are_known() -> None:
    """A pause and its end count as two."""
    scene = done_a()
    for _ in range(11):
        scene = scene.act(ActName.PAUSE).act(ActName.RESUME)
    requests = scene.document.requests
    assert len(requests) == 20
    again = Act(id=requests[0].id, instance="talk/k", act=ActName.PAUSE)
    assert outcome_of(scene.play(again)) == (Outcome.UNCHANGED, "this request was carried out already")


def test_the_id_of_a_request_stands_for_no_other_act() -> None:
    """Also not for the same act with another value; who asks and why may differ."""
    edit = Act(
        id="r", instance="talk/k", act=ActName.EDIT, value={"patch": [{"op": "replace", "path": "/n", "value": 7}]}
    )
    edited = done_a().play(edit)
    assert outcome_of(edited.play(replace(edit, by="ann", reason="again")))[0] is Outcome.UNCHANGED
    other = replace(edit, value={"patch": [{"op": "replace", "path": "/n", "value": 8}]})
    for act in (other, replace(edit, act=ActName.CANCEL, value=None)):
        denied = edited.play(act)
        assert denied.last is not None
        assert (denied.last.outcome, denied.last.code) == (Outcome.DENIED, ReasonCode.REQUEST_TAKEN)
        assert denied.document == edited.document


def test_a_pause_and_its_end_are_recorded() -> None:
    scene = done_a().act(ActName.PAUSE)
    assert scene.last is not None
    assert scene.last.changes == (Change(what="paused", before="resumed", after="paused"),)
    resumed = scene.act(ActName.RESUME)
    assert resumed.last is not None
    assert resumed.last.changes == (Change(what="paused", before="paused", after="resumed"),)
    assert resumed.document == replace(
        done_a().document, revision=scene.document.revision + 1, requests=resumed.document.requests
    )


def test_an_abandoned_instance_names_what_stays_open_and_is_kept_for_its_retention() -> None:
    """Without its code for the limit's time."""
    stuck = Scene.start(flow_of(leg("a"), leg("r", read_only=True, undo=False), leg("b"), leg("c")))
    stuck = stuck.ok("a").ok("r").ok("b").rejects("c").undo_rejects("b")
    act = Act(id="r", instance="talk/k", act=ActName.ABANDON)
    closed = decide(stuck.definition, stuck.document, Arrival(message=act, now_ms=70))
    assert closed.reason == "left open: b (undo_failed), a (done)"
    assert closed.changes == (Change(what="instance", before="attention", after="abandoned"),)
    assert closed.outcome is Outcome.APPLIED
    week_ms = 7 * 24 * 3_600_000
    assert closed.document == replace(
        stuck.document,
        status=Status.ABANDONED,
        revision=stuck.document.revision + 1,
        updated_ms=70,
        finished_ms=70,
        timers={"~retention": week_ms + 70},
    )
    orphan = decide(None, stuck.document, Arrival(message=act, now_ms=70), Limits(orphan_retention_ms=5))
    assert orphan.document is not None
    assert orphan.document.timers == {"~retention": 75}


def test_what_was_never_sent_is_not_left_open() -> None:
    stuck = Scene.start(flow_of(leg("a", broken=True)))
    act = Act(id="r", instance="talk/k", act=ActName.ABANDON)
    assert decide(stuck.definition, stuck.document, Arrival(message=act, now_ms=0)).reason == "left open: nothing"


def test_what_was_skipped_or_answered_says_by_whom() -> None:
    scene = done_a()
    skipped = scene.crash("b").act(ActName.SKIP, step="b", by="ann")
    assert memo_of(skipped, "b") == {"skipped_by": "ann"}
    assert [name for name in timers_of(skipped) if name.startswith("b")] == []
    saga = flow_of(ask("okay", Did, question=lambda s: "?", who=lambda s: ["ann"], into="did", due=HOUR))
    question = Scene.start(saga)
    cases = [
        (question.act(ActName.ANSWER, step="okay", by=""), "an anonymous user may not answer 'okay'; it is for ann"),
        (
            question.act(ActName.CLAIM, step="okay", by="ann").act(ActName.ANSWER, step="okay", by=""),
            "ann has claimed question 'okay'; have it assigned to you",
        ),
        (
            question.act(ActName.CLAIM, step="okay", by="ann").act(ActName.ANSWER, step="okay", by="ben"),
            "ann has claimed question 'okay'; have it assigned to ben",
        ),
        (question.act(ActName.ASSIGN, step="okay", value={"to": ""}), 'the assignee is missing; give {"to": name}'),
        (question.act(ActName.ASSIGN, step="okay", value={"to": 7}), 'the assignee is missing; give {"to": name}'),
        (question.act(ActName.SKIP, step="okay"), "'okay' is not a step with a command; only those can be skipped"),
        (question.act(ActName.WAIVE, "x", step="okay"), "the undo of step 'okay' has not failed: it is waiting"),
    ]
    for after, reason in cases:
        assert outcome_of(after) == (Outcome.DENIED, reason)
    assigned = question.act(ActName.ASSIGN, step="okay", value={"to": "eve"}, by="boss")
    assert (memo_of(assigned, "okay")["who"], memo_of(assigned, "okay")["claimed_by"]) == (["ann", "eve"], "eve")
    same = question.act(ActName.ASSIGN, step="okay", value={"to": "ann"}, by="boss")
    assert (memo_of(same, "okay")["who"], memo_of(same, "okay")["claimed_by"]) == (["ann"], "ann")


def inspected(scene: Scene) -> Inspection:
    return inspect(scene.definition, scene.document)


def open_step(step: str, status: str, undo: str | None, error: str | None = None) -> Outstanding:
    return Outstanding(step=step, status=StepStatus(status), undo=undo, error=error)


def test_a_running_instance_has_no_case_but_acts() -> None:
    found = inspected(Scene.start(flow_of(leg("a"), leg("r", read_only=True, undo=False), leg("b"))).ok("a").ok("r"))
    stands = (open_step("b", "sent", "undo-b"), open_step("a", "done", "undo-a"))
    assert found == Inspection(
        attention=None,
        outstanding=stands,
        acts=(ActName.CANCEL, ActName.PAUSE, ActName.EDIT),
        on_steps=(("a", ActName.FORK), ("b", ActName.SKIP)),
        cancel=Cancelling(denied=None, awaited=("b",), undone=stands),
    )


def test_nodes_that_send_nothing_leave_nothing() -> None:
    found = inspected(Scene.start(flow_of(sleep("doze", HOUR))))
    forks = (("doze", ActName.FORK),)
    assert (found.outstanding, found.on_steps, found.cancel) == ((), forks, Cancelling(denied=None))
    never_sent = inspected(Scene.start(flow_of(leg("a", broken=True))))
    assert (never_sent.outstanding, never_sent.on_steps) == (
        (),
        (("a", ActName.SKIP), ("a", ActName.RESTART), ("a", ActName.FORK)),
    )
    assert never_sent.attention is not None
    assert never_sent.acts == (ActName.CANCEL, ActName.RETRY, ActName.ABANDON, ActName.EDIT)


def test_a_question_can_be_answered_claimed_and_assigned() -> None:
    saga = flow_of(ask("okay", Did, question=lambda s: "?", who=lambda s: ["ann"], into="did", due=HOUR))
    scene = Scene.start(saga)
    acts = (ActName.ANSWER, ActName.CLAIM, ActName.ASSIGN, ActName.FORK)
    assert inspected(scene).on_steps == tuple(("okay", act) for act in acts)
    assert inspected(scene.answer("okay", Did())).on_steps == (("okay", ActName.FORK),)


def test_without_its_code_nothing_can_be_done_with_its_steps() -> None:
    scene = done_a()
    found = inspect(None, scene.document)
    assert (found.on_steps, found.acts) == ((), ())


@pytest.mark.parametrize(
    ("make", "refused"),
    [
        (lambda: done_a().cancel(), "it is compensating already"),
        (lambda: done_a().rejects("b").undo_ok("a"), "it is compensated already"),
        (lambda: done_a().ok("b"), "it is completed and can no longer change"),
    ],
)
def test_a_cancel_that_makes_no_sense_is_told_so(make: Any, refused: str) -> None:
    found = inspected(make()).cancel
    assert found.denied is not None
    assert (found.denied.text, found) == (refused, Cancelling(denied=found.denied))


def test_what_was_tried_may_stand_and_what_fails_to_be_undone_can_be_waived() -> None:
    tried = Scene.start(flow_of(leg("a"))).crash("a")
    assert inspected(tried).outstanding == (open_step("a", "backoff", "undo-a", "it crashed"),)
    assert inspected(tried).on_steps == (("a", ActName.SKIP), ("a", ActName.FORK))
    stuck = done_a().rejects("b").undo_rejects("a", "gone")
    assert inspected(stuck).outstanding == (open_step("a", "undo_failed", "undo-a", "gone"),)
    assert inspected(stuck).on_steps == (("a", ActName.WAIVE), ("a", ActName.REPLACE_UNDO), ("a", ActName.FORK))


class Strict(BaseModel):
    """A form that looks at itself as a whole."""

    n: int = 0
    inner: Did | None = None

    @model_validator(mode="after")
    def check(self) -> Strict:
        if self.n == 1:
            raise ValueError("one is none")
        if self.n == 2:
            raise KeyError("two")
        return self


class Formed(BaseModel):
    """With a place for it."""

    form: Strict | None = None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"n": 1}, "value: Value error, one is none"),
        ({"n": 2}, "it raised KeyError: 'two'"),
        ({"inner": {"ok": 7}}, "inner.ok: Input should be a valid boolean, unable to interpret input"),
        ({"n": []}, "n: Input should be a valid integer"),
    ],
)
def test_an_answer_that_does_not_fit_says_where(value: Any, said: str) -> None:
    """The author's validators may raise anything."""
    form = ask("okay", Strict, question=lambda s: "?", who=lambda s: ["ann"], into="form", due=HOUR)
    saga = Saga("formed", Formed, flow=[form])
    refused = Scene.start(saga, {}).answer("okay", value)
    assert outcome_of(refused) == (Outcome.DENIED, f"the answer does not fit Strict: {said}")


def test_a_skipped_question_of_a_scatter_is_an_answer() -> None:
    @scatter(Contract("quote", Do, Offer, queue="q"), queues=("q1", "q2"), into="offers", deadline=HOUR, name="ask")
    def question(s: Talk) -> Do:
        return Do()

    scene = Scene.start(flow_of(question))
    one, two = (each.step for each in scene.sent)
    skipped = scene.act(ActName.SKIP, step=one, value=Offer(price=4), by="ann")
    assert memo_of(skipped, one) == {"reply": {"price": 4}, "skipped_by": "ann"}
    assert [each.price for each in skipped.ok(two, Offer(price=5)).state.offers] == [4, 5]


def test_what_is_done_and_sends_nothing_leaves_nothing() -> None:
    slept = Scene.start(flow_of(sleep("doze", HOUR), leg("a"))).advance(HOUR)
    assert [each.step for each in inspected(slept).outstanding] == ["a"]
    assert inspected(slept).cancel.stays == ()


def test_an_abandoned_child_tells_its_parent_with_the_cause() -> None:
    """What was kept for its code is let go, and its locks are free."""
    kid = Saga("child", Talk, flow=[leg("x", locks="one"), leg("y")])
    node: Node[Talk] = run(kid, lambda s: Talk(), name="sub")
    child = f"child/talk/k/sub~{LIFE}"
    scene = Scene.start(flow_of(node)).ok("x", of=child).rejects("y", "no room", of=child).undo_rejects("x", of=child)
    document = scene.entities[child]
    assert isinstance(document, Document)
    late = TimerFired(id="t", instance=child, timer="x:deadline", due_ms=0)
    act = Act(id="r", instance=child, act=ActName.ABANDON)
    closed = decide(None, replace(document, deferred=(late,)), Arrival(message=act, now_ms=0))
    assert closed.document is not None
    assert closed.document.deferred == ()
    number = document.revision + 1
    told = ChildEnded(
        id=f"{child}/~{number}.2~{document.incarnation}",
        instance="talk/k",
        place=f"sub~{LIFE}",
        index=None,
        child=child,
        end=ChildEnd.ABANDONED,
        reason="no room",
    )
    assert closed.actions == (
        Tell(message=Release(id=f"{child}/~{number}.1~{document.incarnation}", instance="@lock/one", by=child)),
        Tell(message=told),
    )
    without_cause = decide(None, replace(document, cause=None), Arrival(message=act, now_ms=0))
    assert without_cause.actions[1] == Tell(message=replace(told, reason=""))


class Named(BaseModel):
    """By another name in JSON."""

    by: str = Field(alias="acceptedBy")


class Accepted(BaseModel):
    """With a place for it."""

    named: Named | None = None


def accepts(into: str | None) -> Saga[Accepted]:
    accept: Any = step(Contract("accept", Do, Named, queue="q"), into=into, name="accept")(lambda s: Do())
    accept.undo(Contract("refuse", Do, Did, queue="q"))(lambda s: Do())
    other: Any = step(Contract("other", Do, Did, queue="q"), name="other")(lambda s: Do())
    other.undo(Contract("unother", Do, Did, queue="q"))(lambda s: Do())
    return Saga("accepted", Accepted, flow=[accept, other])


@pytest.mark.parametrize("value", [{"acceptedBy": "ann"}, {"by": "ann"}])
def test_a_reply_given_by_hand_is_read_by_names_and_aliases(value: Any) -> None:
    """And kept by names; the timers of the step are gone."""
    skipped = Scene.start(accepts("named"), {}).act(ActName.SKIP, step="accept", value=value)
    assert skipped.document.state == {"named": {"by": "ann"}}
    assert sorted(timers_of(skipped)) == ["other:deadline"]


def test_a_step_whose_reply_nobody_keeps_is_skipped_without_one() -> None:
    """One that is given must be right all the same."""
    scene = Scene.start(accepts(None), {})
    assert scene.act(ActName.SKIP, step="accept").step("accept") is StepStatus.DONE
    given = scene.act(ActName.SKIP, step="accept", value={"by": "ann"})
    assert (given.step("accept"), given.document.state) == (StepStatus.DONE, {"named": None})
    refused = scene.act(ActName.SKIP, step="accept", value={"x": 1})
    assert outcome_of(refused) == (
        Outcome.DENIED,
        "the reply does not fit Named: acceptedBy: the field is missing, add it",
    )
    needed = Scene.start(accepts("named"), {}).act(ActName.SKIP, step="accept")
    assert outcome_of(needed) == (
        Outcome.DENIED,
        "the reply does not fit Named: acceptedBy: the field is missing, add it",
    )
