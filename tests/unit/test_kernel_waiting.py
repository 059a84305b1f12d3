"""Nodes that wait for something other than a worker: what they ask, what they remember, and how the waiting ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.messages.document import Cause, CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.entities import Mailbox, Table
from sagaline.orchestrator.messages.entity_messages import (
    EventDelivered,
    Lookup,
    Routed,
    Rule,
    SetRules,
    Unwatch,
    Watch,
    table_id,
)
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Start
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node
from sagaline.sagas.nodes import Escalation, ask, expect, parallel, route, sleep, wait

from .kernel_nodes import (
    HOUR,
    LIFE,
    Did,
    Paid,
    Talk,
    flow_of,
    leg,
    memo_of,
    outcome_of,
    paid,
    redeployed,
    timers_of,
    told_by,
)

HOUR_MS = 3_600_000


def event(box: str, index: int, *, body: Any = None, place: str = "wait", id: str = "e") -> EventDelivered:
    return EventDelivered(
        id=id, instance="talk/k", place=place, index=index, event="paid", event_id=id, body=body or {"amount": 5}
    )


def two_events(need: Any = "all", on_timeout: Any = "fail") -> Scene:
    """Waits for two events under two keys; the first is kept in the state."""
    node: Node[Talk] = wait(
        expect(paid, key=lambda s: ("one", "other")[s.n], into="paid"),
        expect(paid, key=lambda s: "two"),
        timeout=HOUR,
        need=need,
        on_timeout=on_timeout,
        name="wait",
    )
    return Scene.start(flow_of(leg("a"), node, leg("b"))).ok("a")


def test_a_wait_tells_every_mailbox_and_sets_its_deadline() -> None:
    scene = two_events()
    assert told_by(scene) == [
        Watch(id=f"talk/k/~2.1~{LIFE}", instance="@mailbox/paid/one", by="talk/k", place=f"wait~{LIFE}", index=0),
        Watch(id=f"talk/k/~2.2~{LIFE}", instance="@mailbox/paid/two", by="talk/k", place=f"wait~{LIFE}", index=1),
    ]
    expects = ["paid into paid", "paid"]
    boxes = ["@mailbox/paid/one", "@mailbox/paid/two"]
    assert memo_of(scene, "wait") == {"boxes": boxes, "expects": expects, "got": []}
    assert timers_of(scene) == {"wait:deadline": HOUR_MS}


def test_a_wait_for_all_goes_on_with_the_last_event() -> None:
    """In whatever order they come; a second one of an event that it has is late."""
    first = two_events().receives(paid, {"amount": 7}, key="one")
    assert first.step("wait") is StepStatus.WAITING
    assert memo_of(first, "wait")["got"] == [0]
    assert first.state.paid == Paid(amount=7)
    again = first.play(event("one", 0, body={"amount": 9}))
    assert outcome_of(again)[0] is Outcome.IGNORED
    assert again.document == first.document
    both = first.receives(paid, key="two")
    assert (both.step("wait"), both.step("b")) == (StepStatus.DONE, StepStatus.SENT)
    assert memo_of(both, "wait")["got"] == [0, 1]
    assert told_by(both) == []
    assert [name for name in timers_of(both) if name.startswith("wait")] == []
    other_way = two_events().receives(paid, key="two").receives(paid, {"amount": 7}, key="one")
    assert (memo_of(other_way, "wait")["got"], other_way.state.paid) == ([1, 0], Paid(amount=7))


def test_a_wait_for_any_goes_on_with_the_first_and_tells_the_other_mailbox() -> None:
    scene = two_events("any").receives(paid, key="two")
    assert scene.step("b") is StepStatus.SENT
    assert told_by(scene) == [
        Unwatch(id=f"talk/k/~3.1~{LIFE}", instance="@mailbox/paid/one", by="talk/k", place=f"wait~{LIFE}", index=0)
    ]
    assert not [each for each in scene.entities.values() if isinstance(each, Mailbox) and each.watchers]


def test_a_wait_whose_time_is_over_fails_the_flow_or_lets_it_go_on() -> None:
    """As was declared. One that fails gives back what it got; one that goes on has used it."""
    failed = two_events().receives(paid, key="one").advance(HOUR)
    assert failed.status is Status.COMPENSATING
    cause = failed.document.cause
    assert cause is not None
    assert (cause.kind, cause.message, cause.step) == (
        CauseKind.TIMEOUT,
        "the events did not come within 3600 s",
        "wait",
    )
    assert failed.document.steps["wait"].error == "the events did not come within 3600 s"
    assert told_by(failed) == [
        Unwatch(id=f"talk/k/~4.1~{LIFE}", instance="@mailbox/paid/one", by="talk/k", place=f"wait~{LIFE}", index=0),
        Unwatch(id=f"talk/k/~4.2~{LIFE}", instance="@mailbox/paid/two", by="talk/k", place=f"wait~{LIFE}", index=1),
    ]
    went_on = two_events(on_timeout="go_on").advance(HOUR)
    assert (went_on.step("wait"), went_on.step("b")) == (StepStatus.DONE, StepStatus.SENT)
    assert memo_of(went_on, "wait")["timed_out"] is True
    assert [each.instance for each in told_by(went_on)] == ["@mailbox/paid/one", "@mailbox/paid/two"]
    half = two_events(on_timeout="go_on").receives(paid, key="one").advance(HOUR)
    assert [each.instance for each in told_by(half)] == ["@mailbox/paid/two"]


def test_an_event_for_a_wait_that_is_over_or_is_none_is_ignored() -> None:
    """Also one that was under way when it ended."""
    over = two_events("any").receives(paid, key="one")
    for late in (
        event("two", 1),
        event("x", 0, place=f"nowhere~{LIFE}"),
        event("x", 0, place=f"a~{LIFE}"),
        event("x", 0, place=f"b~{LIFE}"),
    ):
        ignored = over.play(late)
        assert outcome_of(ignored) == (Outcome.IGNORED, "the instance does not wait for this message")
        assert ignored.document == over.document


def test_an_event_of_another_form_stops_the_wait_until_a_retry() -> None:
    """An operator has a right one published; the wait begins anew, also for events that were brought before."""
    wrong = two_events().receives(paid, {"amount": "much"}, key="one")
    assert wrong.status is Status.ATTENTION
    assert wrong.attention is not None
    event_id = wrong.count - 1
    assert wrong.attention.message == (
        f"event 'event-{event_id}' does not fit Paid: amount: Input should be a valid integer, unable to parse "
        "string as an integer; publish a valid one, then retry"
    )
    assert (wrong.attention.kind, wrong.attention.step) == (CauseKind.CODE, "wait")
    assert timers_of(wrong) == {}
    assert [each.instance for each in told_by(wrong)] == ["@mailbox/paid/two"]
    assert wrong.retry().status is Status.ATTENTION
    mended = wrong.receives(paid, {"amount": 7}, key="one").retry()
    assert (mended.state.paid, memo_of(mended, "wait")["got"]) == (Paid(amount=7), [0])
    assert mended.receives(paid, key="two").step("b") is StepStatus.SENT


def test_a_wait_that_begins_anew_gets_again_what_it_had() -> None:
    """The events that were right need not be published twice."""
    wrong = two_events().receives(paid, key="two").receives(paid, {"amount": "much"}, key="one")
    mended = wrong.receives(paid, {"amount": 7}, key="one").retry()
    assert (mended.state.paid, mended.step("b")) == (Paid(amount=7), StepStatus.SENT)


@pytest.mark.parametrize(
    ("key", "said"),
    [("", "a key that has 0 characters; give 1 to 256"), (7, "7; a key is a string of 1 to 256 characters")],
)
def test_a_key_that_is_no_text_stops_the_instance(key: Any, said: str) -> None:
    node: Node[Talk] = wait(expect(paid, key=lambda s: key), timeout=HOUR, name="wait")
    scene = Scene.start(flow_of(node))
    assert scene.attention is not None
    assert scene.attention.message == f"a key of wait 'wait' gave {said}; deploy the fix, then retry"
    assert scene.attention.kind is CauseKind.CODE
    assert scene.step("wait") is StepStatus.BLOCKED


def test_a_sleep_ends_when_its_time_is_over() -> None:
    """A fixed one, or one that the state says; zero ends at once."""
    for duration in (timedelta(minutes=2), lambda s: timedelta(minutes=s.n + 2)):
        asleep = Scene.start(flow_of(sleep("doze", duration), leg("b")))
        assert timers_of(asleep) == {"doze:due": 120_000}
        assert asleep.step("doze") is StepStatus.WAITING
        awake = asleep.tick()
        assert (awake.now_ms, awake.step("doze"), awake.step("b")) == (120_000, StepStatus.DONE, StepStatus.SENT)
    assert timers_of(Scene.start(flow_of(sleep("doze", lambda s: timedelta(0))))) == {"doze:due": 0}


@pytest.mark.parametrize("span", [timedelta(seconds=-1), 5])
def test_a_sleep_of_no_span_stops_the_instance(span: Any) -> None:
    scene = Scene.start(flow_of(sleep("doze", lambda s: span)))
    assert scene.attention is not None
    shown = "5" if span == 5 else "-1 day, 23:59:59"
    message = f"sleep 'doze' gave {shown}; give a timedelta of zero or more; deploy the fix, then retry"
    assert scene.attention.message == message


def question(who: Sequence[str] = ("ann", "ben"), *, escalates: bool = True) -> Node[Talk]:
    return ask(
        "approve",
        Did,
        question=lambda s: f"{s.n}?",
        who=lambda s: who,
        into="did",
        due=HOUR,
        escalation=Escalation(after=timedelta(minutes=30), to=["boss", "ann"]) if escalates else None,
    )


def test_a_question_stands_on_record_with_who_may_answer_and_until_when() -> None:
    scene = Scene.start(flow_of(question()), {"n": 4})
    assert memo_of(scene, "approve") == {
        "question": "4?",
        "who": ["ann", "ben"],
        "form": "Did",
        "asked_ms": 0,
        "due_ms": HOUR_MS,
        "claimed_by": None,
    }
    assert timers_of(scene) == {"approve:deadline": HOUR_MS, "approve:escalate": HOUR_MS // 2}
    assert timers_of(Scene.start(flow_of(question(escalates=False)))) == {"approve:deadline": HOUR_MS}


def test_a_long_question_is_shortened() -> None:
    saga = flow_of(ask("approve", Did, question=lambda s: "x" * 99 + "?", who=lambda s: ["ann"], into="did", due=HOUR))
    start = Start(id="s", definition="talk", key="k", input={})
    decision = decide(saga, None, Arrival(message=start, now_ms=0), Limits(detail_chars=10))
    assert decision.document is not None
    assert (decision.document.steps["approve"].memo or {})["question"] == "xxxx … xx?"


def test_an_escalated_question_may_be_answered_by_more() -> None:
    """Those who were asked already are not named twice; the deadline stays."""
    scene = Scene.start(flow_of(question())).tick()
    assert memo_of(scene, "approve")["who"] == ["ann", "ben", "boss"]
    assert memo_of(scene, "approve")["escalated"] is True
    assert timers_of(scene) == {"approve:deadline": HOUR_MS}
    assert scene.step("approve") is StepStatus.WAITING


def test_an_unanswered_question_fails_the_flow() -> None:
    scene = Scene.start(flow_of(leg("a"), question())).ok("a").advance(HOUR)
    cause = scene.document.cause
    assert cause is not None
    assert (cause.kind, cause.message, cause.step) == (CauseKind.TIMEOUT, "no answer within 3600 s", "approve")
    assert scene.step("approve") is StepStatus.FAILED


def carriers(otherwise: str | None = None) -> Node[Talk]:
    return route(
        "carriers", by=lambda s: {"n": s.n}, to={"post": leg("p"), "truck": leg("t")}, otherwise=otherwise, name="way"
    )


def routed_by(to: str | None, otherwise: str | None = None) -> Scene:
    rules = {"carriers": to} if to is not None else {}
    return Scene.start(flow_of(carriers(otherwise)), {"n": 4}, rules=rules)


def test_a_route_asks_its_table_with_its_facts() -> None:
    scene = Scene.of(flow_of(carriers()))
    start = Start(id="start", definition="talk", key="k", input={"n": 4})
    decision = decide(scene.definition, None, Arrival(message=start, now_ms=0))
    (told,) = decision.actions
    assert told.message == Lookup(  # type: ignore[union-attr]  # a Tell
        id=f"talk/k/~1.1~{LIFE}", instance="@table/carriers", by="talk/k", place=f"way~{LIFE}", facts={"n": 4}
    )
    assert decision.document is not None
    assert decision.document.steps["way"].memo == {"facts": {"n": 4}}
    assert decision.document.steps["way"].status is StepStatus.WAITING


def test_a_route_goes_where_the_table_says_and_remembers_its_version() -> None:
    scene = routed_by("truck")
    assert memo_of(scene, "way") == {"facts": {"n": 4}, "branch": "truck", "version": 1}
    assert [each.step for each in scene.waiting] == ["t"]


def test_a_route_without_a_rule_takes_otherwise_or_nothing() -> None:
    assert [each.step for each in routed_by(None, "post").waiting] == ["p"]
    nothing = routed_by(None)
    assert (nothing.status, memo_of(nothing, "way")) == (
        Status.COMPLETED,
        {"facts": {"n": 4}, "branch": None, "version": 0},
    )


def test_a_table_that_names_no_branch_stops_the_instance_until_it_is_mended() -> None:
    table = Table(id=table_id("carriers"), name="carriers", revision=1, version=1, rules=(Rule(when={}, to="camel"),))
    before = replace(Scene.of(flow_of(carriers())), entities={table.id: table})  # an older code had it
    scene = before.play(Start(id="s", definition="talk", key="k", input={"n": 4}))
    assert scene.attention == Cause(
        kind=CauseKind.ROUTE,
        message="table 'carriers' version 1 gives 'camel'; there are only post, truck; fix the table, then retry",
        at_ms=0,
        step="way",
    )
    mended = scene.play(SetRules(id="r", instance=table_id("carriers"), rules=(Rule(when={}, to="post"),))).retry()
    assert [each.step for each in mended.waiting] == ["p"]
    assert memo_of(mended, "way")["version"] == 2


def test_a_table_that_answers_late_changes_nothing() -> None:
    scene = routed_by("truck")
    for place in ("way", "nowhere"):
        late = scene.play(Routed(id="r", instance="talk/k", place=place, to="post", version=2))
        assert outcome_of(late)[0] is Outcome.IGNORED
        assert late.document == scene.document


def test_facts_or_people_that_cannot_be_told_stop_the_instance() -> None:
    """The message names the node; after a mended deploy it goes on."""
    broken: Node[Talk] = route(
        "carriers", by=lambda s: {"n": 1 // s.n}, to={"post": leg("p")}, otherwise=None, name="way"
    )
    scene = Scene.start(flow_of(broken))
    assert scene.attention is not None
    assert scene.attention.message.startswith("the facts of route 'way' raised ZeroDivisionError: ")
    mended: Node[Talk] = route("carriers", by=lambda s: {}, to={"post": leg("p")}, otherwise="post", name="way")
    assert redeployed(scene, flow_of(mended)).retry().step("p") is StepStatus.SENT
    nobody = ask("approve", Did, question=lambda s: "?", who=lambda s: [str(1 // s.n)], into="did", due=HOUR)
    asked = Scene.start(flow_of(nobody))
    assert asked.attention is not None
    assert asked.attention.message.startswith("who of ask 'approve' raised ZeroDivisionError: ")


def test_a_cancel_ends_every_wait_without_an_undo() -> None:
    """Mailboxes are told; a question is closed."""
    cancelled = two_events().cancel()
    assert cancelled.step("wait") is StepStatus.DROPPED
    assert [type(each) for each in told_by(cancelled)] == [Unwatch, Unwatch]
    assert Scene.start(flow_of(question())).cancel().status is Status.COMPENSATED
    assert Scene.start(flow_of(sleep("doze", HOUR))).cancel().timers == []


def test_an_abandoned_wait_is_said_to_its_mailboxes() -> None:
    """Also when it stands in attention for something else."""
    node: Node[Talk] = wait(
        expect(paid, key=lambda s: "one"), expect(paid, key=lambda s: "two"), timeout=HOUR, name="wait"
    )
    scene = Scene.start(flow_of(parallel(node, leg("b", broken=True), name="both")))
    assert scene.status is Status.ATTENTION
    closed = scene.receives(paid, key="one").act(ActName.ABANDON)
    assert told_by(closed) == [
        Unwatch(id=f"talk/k/~3.1~{LIFE}", instance="@mailbox/paid/two", by="talk/k", place=f"wait~{LIFE}", index=1)
    ]
