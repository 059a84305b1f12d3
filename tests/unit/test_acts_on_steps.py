"""Operators' acts on one step: answers, skips and accepted losses, each legal where it should be and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import OnStep
from sagaline.orchestrator.errors import ActDenied
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.inputs import Act, ActName
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node, Saga
from sagaline.sagas.examples.order_checkout import CardCharged, checkout
from sagaline.sagas.nodes import Escalation, ask

from .kernel_nodes import HOUR, Did, Talk, flow_of, leg
from .stack import Stack, stack


def approval() -> Saga[Talk]:
    """A step, then a question to ann and ben, after half an hour also to the boss."""
    question: Node[Talk] = ask(
        "approve",
        Did,
        question=lambda s: f"{s.n}?",
        who=lambda s: ["ann", "ben"],
        into="did",
        due=HOUR,
        escalation=Escalation(after=timedelta(minutes=30), to=["boss"]),
    )
    return flow_of(leg("a"), question, leg("b"))


@pytest.fixture
def asked() -> Scene:
    return Scene.start(approval()).ok("a")


def refused(scene: Scene) -> str:
    """Why the last act was refused; nothing has changed."""
    assert scene.last is not None
    assert scene.last.outcome is Outcome.DENIED
    return scene.last.reason


def test_an_answer_is_put_into_the_state_and_the_flow_goes_on(asked: Scene) -> None:
    """With who gave it."""
    answered = asked.answer("approve", Did(ok=False), by="ben")
    assert answered.state.did == Did(ok=False)
    assert answered.step("b") is StepStatus.SENT
    assert (answered.document.steps["approve"].memo or {})["answered_by"] == "ben"
    assert not [timer for timer in answered.timers if timer.name.startswith("approve")]


def test_an_answer_of_who_may_not_or_of_another_form_changes_nothing(asked: Scene) -> None:
    """The refusal says who may, or what is wrong with the form."""
    assert refused(asked.answer("approve", Did(), by="eve")) == "eve may not answer 'approve'; it is for ann, ben"
    wrong = asked.answer("approve", {"ok": "perhaps"}, by="ann")
    assert refused(wrong).startswith("the answer does not fit Did: ok: Input should be a valid boolean")
    assert wrong.document == asked.document
    assert refused(asked.answer("a", Did(), by="ann")) == "step 'a' is not a question"
    assert refused(asked.answer("c", Did(), by="ann")) == "it has no step 'c' on record; there are a, approve"
    twice = asked.answer("approve", Did(), by="ann").answer("approve", Did(), by="ben")
    assert refused(twice) == "question 'approve' is closed: it is done"
    late = asked.advance(HOUR).answer("approve", Did(), by="ann")
    assert refused(late) == "question 'approve' is closed: it is failed"


def test_who_claims_a_question_is_the_only_one_who_may_answer_until_it_is_assigned(asked: Scene) -> None:
    """Also to somebody who was not asked at first."""
    claimed = asked.act(ActName.CLAIM, step="approve", by="ann")
    assert "ann has claimed" in refused(claimed.answer("approve", Did(), by="ben"))
    assert "ann has claimed" in refused(claimed.act(ActName.CLAIM, step="approve", by="ben"))
    given = claimed.act(ActName.ASSIGN, step="approve", value={"to": "eve"}, by="chief")
    assert given.answer("approve", Did(), by="eve").step("b") is StepStatus.SENT
    assert refused(claimed.act(ActName.ASSIGN, step="approve")) == 'the assignee is missing; give {"to": name}'
    for name, why in (("x" * 257, "has 257 characters; give 1 to 256"), ("eve\n", "a control character")):
        assert f"the assignee has {why.removeprefix('has ')}" in refused(
            claimed.act(ActName.ASSIGN, step="approve", value={"to": name})
        )
    assert refused(asked.act(ActName.CLAIM, step="a", by="ann")) == "step 'a' is not a question"


def test_a_question_that_is_escalated_may_be_answered_by_others_too(asked: Scene) -> None:
    """Not before."""
    assert "boss may not answer" in refused(asked.answer("approve", Did(), by="boss"))
    assert asked.advance(timedelta(minutes=30)).answer("approve", Did(), by="boss").step("b") is StepStatus.SENT


def test_an_escalation_frees_a_question_that_somebody_has_claimed(asked: Scene) -> None:
    """Who claimed it has not answered: others may now, or claim it in turn, and so may the first."""
    freed = asked.act(ActName.CLAIM, step="approve", by="ann").advance(timedelta(minutes=30))
    for by in ("ann", "ben", "boss"):
        assert freed.answer("approve", Did(), by=by).step("b") is StepStatus.SENT
    claimed = freed.act(ActName.CLAIM, step="approve", by="boss")
    assert "boss has claimed" in refused(claimed.answer("approve", Did(), by="ann"))
    assert claimed.answer("approve", Did(), by="boss").step("b") is StepStatus.SENT


def test_an_assignment_ends_with_the_escalation_and_one_after_it_stays(asked: Scene) -> None:
    """What is said to the escalated question is the last word."""
    given = asked.act(ActName.ASSIGN, step="approve", value={"to": "eve"}, by="chief").advance(timedelta(minutes=30))
    assert given.answer("approve", Did(), by="boss").step("b") is StepStatus.SENT
    again = given.act(ActName.ASSIGN, step="approve", value={"to": "eve"}, by="chief").advance(timedelta(minutes=10))
    assert "eve has claimed" in refused(again.answer("approve", Did(), by="boss"))


def test_a_stuck_step_is_skipped_with_a_reply(asked: Scene) -> None:
    """Past the pivot, and while it is under way; its late reply changes nothing."""
    paid = Scene.start(checkout).ok("reserve")
    reply = CardCharged(charge_id="by hand")
    for scene in (paid, paid.crash("charge")):
        skipped = scene.act(ActName.SKIP, step="charge", value=reply)
        assert skipped.state.payment == reply
        assert skipped.step("book") is StepStatus.SENT
        assert skipped.late("charge").document is skipped.document
        assert skipped.cancel().ok("book").settle().undone[-2:] == (
            "order-checkout/k/charge",
            "order-checkout/k/reserve",
        )
    booked = paid.ok("charge").ok("book")
    for stuck in (booked.exhaust("ship"), booked.rejects("ship")):
        assert stuck.act(ActName.SKIP, step="ship", value={"tracking_number": "7"}).status is Status.COMPLETED


def test_a_skip_that_makes_no_sense_is_refused(asked: Scene) -> None:
    """It says why."""
    paid = Scene.start(checkout).ok("reserve")
    assert refused(paid.act(ActName.SKIP, step="charge")).startswith(
        "the reply does not fit CardCharged: charge_id: the field"
    )
    assert "is done; only a step in progress" in refused(paid.act(ActName.SKIP, step="reserve"))
    assert "is being undone" in refused(paid.cancel().act(ActName.SKIP, step="charge"))
    assert "is not a step with a command" in refused(asked.act(ActName.SKIP, step="approve"))


def test_a_loss_is_accepted_with_evidence_and_the_rest_is_undone(asked: Scene) -> None:
    """The record says who bears it; what was waived is not undone."""
    stuck = Scene.start(checkout).ok("reserve").time_out("charge").undo_rejects("charge")
    assert stuck.status is Status.ATTENTION
    assert refused(stuck.act(ActName.WAIVE, step="charge")).startswith("the reason is missing; say who bears the loss")
    assert "has not failed: it is done" in refused(stuck.act(ActName.WAIVE, "x", step="reserve"))
    waived = stuck.act(ActName.WAIVE, "ticket 7: the bank pays", step="charge", by="ann")
    assert waived.document.steps["charge"].memo == {"waived_by": "ann", "evidence": "ticket 7: the bank pays"}
    ended = waived.undo_ok("reserve")
    assert (ended.status, ended.step("charge")) == (Status.COMPENSATED, StepStatus.WAIVED)
    assert ended.undone == ("order-checkout/k/reserve",)


def test_a_request_that_comes_twice_acts_once(asked: Scene) -> None:
    """Whatever happened in between."""
    request = Act(id="r-1", instance=asked.id, act=ActName.PAUSE, by="ann")
    paused = asked.play(request)
    resumed = paused.act(ActName.RESUME)
    again = resumed.play(request)
    assert again.document == resumed.document
    assert again.last is not None
    assert (again.last.outcome, again.last.reason) == (Outcome.UNCHANGED, "this request was carried out already")


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path, registry=Registry([flow_of(approval().flow[1], name="approval")])) as running_stack:
        yield running_stack


async def test_what_people_are_asked_is_listed_with_form_and_due_date(up: Stack) -> None:
    """Whoever has claimed a question is the only one who sees it as his."""
    await up.client.start("approval", {}, key="1")
    (asked,) = (await up.client.questions()).questions
    assert (asked.instance, asked.step, asked.who, asked.claimed_by) == ("approval/1", "approve", ("ann", "ben"), None)
    assert asked.form is not None
    assert "ok" in asked.form["properties"]  # type: ignore[operator]  # a JSON schema
    assert [len((await up.client.questions(who=name)).questions) for name in ("ann", "ben", "eve")] == [1, 1, 0]
    await up.client.act("approval/1", ActName.CLAIM, by="ann", on=OnStep("approve"))
    assert [len((await up.client.questions(who=name)).questions) for name in ("ann", "ben", "eve")] == [1, 0, 0]
    await up.client.act("approval/1", ActName.ASSIGN, by="chief", on=OnStep("approve", {"to": "eve"}))
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        (shown,) = (await api.get("/v1/questions", params={"who": "eve"})).json()["questions"]
        assert (shown["claimed_by"], shown["due"] > shown["asked"], shown["escalated"]) == ("eve", True, False)
        answer = {"by": "eve", "step": shown["step"], "value": {"ok": True}}
        assert (await api.post(shown["acts"]["answer"], json=answer)).json()["status"] == "completed"
        assert (await api.get("/v1/questions")).json() == {"questions": [], "cursor": None}
    assert await up.client.questions("other") == ([], None)


async def test_a_person_answers_by_the_client_and_over_http(up: Stack) -> None:
    """A refusal changes nothing."""
    await up.client.start("approval", {}, key="1")
    with pytest.raises(ActDenied, match="eve may not answer") as refused:
        await up.client.act("approval/1", ActName.ANSWER, by="eve", on=OnStep("approve", Did()))
    assert refused.value.code is ReasonCode.NOT_PERMITTED
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        body = {"by": "ann", "step": "approve", "request_id": "r-7"}
        path = "/v1/instances/approval/1/answer"
        wrong = await api.post(path, json={**body, "value": {"ok": 7}})
        assert (wrong.status_code, "the answer does not fit Did" in wrong.json()["detail"]) == (422, True)
        done = await api.post(path, json={**body, "value": {"ok": True}})
        assert (done.status_code, done.json()["status"], done.json()["changed"]) == (200, "completed", True)
        again = await api.post(path, json={**body, "value": {"ok": True}})
        assert (again.status_code, again.json()["changed"]) == (200, False)
