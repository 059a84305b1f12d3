"""What is put aside, kept or let go, to the letter: of blocked decisions, of absent code, of late messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sagaline.orchestrator.kernel import block, decide
from sagaline.orchestrator.messages.document import (
    Attention,
    CauseKind,
    Status,
    StepStatus,
)
from sagaline.orchestrator.messages.inputs import (
    Arrival,
    Completed,
    Message,
    Rejected,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import Change, Decision, Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Saga
from sagaline.sagas.nodes import parallel

from .kernel_kit import TOO_LARGE
from .kernel_nodes import LIFE, Talk, flow_of, leg, outcome_of, redeployed


def done_a() -> Scene:
    """One step done, one under way."""
    return Scene.start(flow_of(leg("a"), leg("b"))).ok("a")


def test_a_decision_that_cannot_be_stored_puts_aside_what_is_under_way() -> None:
    scene = Scene.start(flow_of(parallel(leg("x"), leg("y"), leg("z"), name="all"))).crash("y").ok("z")
    arrival = Arrival(message=TimerFired(id="t", instance="talk/k", timer="x", due_ms=1), now_ms=77)
    kept = {"z2:due": 5, "later:timer": 6}
    timers = {**scene.document.timers, **kept, "x": 1}
    found = block(replace(scene.document, timers=timers), arrival, TOO_LARGE)
    assert (found.outcome, found.reason, found.actions) == (Outcome.APPLIED, "too large", ())
    assert found.changes == (
        Change(what="x", before="sent", after="blocked"),
        Change(what="y", before="backoff", after="blocked"),
        Change(what="instance", before="running", after="attention"),
    )
    after = found.document
    assert after is not None
    assert after.attention == Attention(kind=CauseKind.TOO_LARGE, code="too-large", message="too large", at_ms=77)
    assert (after.timers, after.deferred, after.updated_ms) == (kept, (arrival.message,), 77)
    assert after.revision == scene.document.revision + 1
    assert after.steps["x"] == replace(
        scene.document.steps["x"], status=StepStatus.BLOCKED, at_ms=77, error="too large"
    )
    assert after.steps["z"] == scene.document.steps["z"]
    again = block(after, arrival, TOO_LARGE)
    assert again.changes == ()


@pytest.mark.parametrize(("attempt", "status"), [(False, StepStatus.UNDO_SENT), (True, StepStatus.UNDO_BACKOFF)])
def test_an_undo_under_way_counts_as_failed_when_its_decision_cannot_be_stored(
    attempt: bool, status: StepStatus
) -> None:
    scene = done_a().rejects("b")
    scene = scene.undo_crash("a") if attempt else scene
    arrival = Arrival(message=TimerFired(id="t", instance="talk/k", timer="x", due_ms=1), now_ms=77)
    found = block(scene.document, arrival, TOO_LARGE)
    assert found.changes[0] == Change(what="a", before=status, after=StepStatus.UNDO_FAILED)


def parked(message: Message, now_ms: int = 500) -> Decision:
    return decide(None, done_a().document, Arrival(message=message, now_ms=now_ms))


def test_what_is_kept_for_absent_code_stands_in_the_document() -> None:
    """With which version is missing."""
    reply = Completed(id="r", instance="talk/k", command_id=f"talk/k/b~{LIFE}/1", reply={"ok": True})
    found = parked(reply)
    before = done_a().document
    why = "'talk' version 1 is not deployed here; deploy it"
    assert found.document == replace(
        before,
        status=Status.ATTENTION,
        revision=before.revision + 1,
        updated_ms=500,
        deferred=(reply,),
        attention=Attention(kind=CauseKind.VERSION, code="code-not-deployed", message=why, at_ms=500),
    )
    assert (found.outcome, found.reason) == (Outcome.DEFERRED, why)
    assert found.changes == (Change(what="instance", before="running", after="attention"),)
    second = decide(
        None,
        found.document,
        Arrival(message=TimerFired(id="t", instance="talk/k", timer="b:deadline", due_ms=60_000), now_ms=60_000),
    )
    assert second.document is not None
    assert (len(second.document.deferred), second.document.timers, second.changes) == (2, {}, ())
    assert second.document.attention == Attention(
        kind=CauseKind.VERSION, code="code-not-deployed", message=why, at_ms=500
    )


@pytest.mark.parametrize(
    ("saga", "why"),
    [
        (flow_of(leg("a")), "the deployed code has no step 'b', which is on record here; deploy it again"),
        (
            flow_of(leg("a"), leg("b", undo=False)),
            "the deployed code has no undo for step 'b', which is on record here; deploy it again",
        ),
    ],
)
def test_code_that_lost_something_says_what(saga: Saga[Talk], why: str) -> None:
    scene = redeployed(done_a(), saga)
    kept = scene.play(Rejected(id="r", instance="talk/k", command_id=f"talk/k/b~{LIFE}/1", reason="no", code="no"))
    assert kept.attention is not None
    assert kept.attention.message == why
    assert outcome_of(kept.retry()) == (Outcome.DENIED, why)


def test_a_late_reply_and_a_timer_that_is_not_due_say_so() -> None:
    scene = done_a()
    late = "no open attempt waits for this reply: it is late, a duplicate or stray"
    assert outcome_of(scene.late("a")) == (Outcome.IGNORED, late)
    reply = Completed(id="r", instance="talk/k", command_id=f"talk/k/a~{LIFE}/1", reply={"ok": True})
    assert (parked(reply).outcome, parked(reply).reason) == (Outcome.IGNORED, late)
    not_due = "the timer is not set, was moved, or is not due yet"
    early = TimerFired(id="t", instance="talk/k", timer="b:deadline", due_ms=60_000)
    moved = TimerFired(id="t", instance="talk/k", timer="b:deadline", due_ms=59_000)
    for fired, now_ms in ((early, 59_999), (moved, 60_000)):
        for code in (scene.definition, None):
            found = decide(code, scene.document, Arrival(message=fired, now_ms=now_ms))
            assert (found.document, found.outcome, found.code) == (scene.document, Outcome.IGNORED, ReasonCode.STALE)
            assert (found.reason, found.actions, found.changes) == (not_due, (), ())


def test_the_retention_ends_in_nothing() -> None:
    ended = done_a().ok("b")
    (due_ms,) = ended.document.timers.values()
    fired = TimerFired(id="t", instance="talk/k", timer="~retention", due_ms=due_ms)
    gone = decide(ended.definition, ended.document, Arrival(message=fired, now_ms=due_ms))
    assert gone == Decision(document=None, outcome=Outcome.APPLIED, reason="the retention window is over")
    early = decide(ended.definition, ended.document, Arrival(message=fired, now_ms=due_ms - 1))
    assert (early.document, early.outcome) == (ended.document, Outcome.IGNORED)


def test_a_decision_about_an_instance_that_has_ended_is_let_go_with_its_reason() -> None:
    ended = done_a().ok("b")
    arrival = Arrival(message=TimerFired(id="t", instance="talk/k", timer="x", due_ms=1), now_ms=77)
    found = block(ended.document, arrival, TOO_LARGE)
    assert (found.document, found.outcome) == (ended.document, Outcome.IGNORED)
    assert (found.code, found.reason, found.actions, found.changes) == (*TOO_LARGE, (), ())
