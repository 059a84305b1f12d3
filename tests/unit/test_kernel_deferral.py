"""An instance whose code is not deployed waits, visibly, and loses nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.kernel import Limits, block, decide
from sagaline.orchestrator.messages.document import CauseKind, Status
from sagaline.orchestrator.messages.entity_messages import (
    ChildEnd,
    ChildEnded,
    Deadlocked,
    EventDelivered,
    Granted,
    Probe,
    Unwind,
)
from sagaline.orchestrator.messages.inputs import ActName, Arrival, EntityMessage, Failed, TimerFired
from sagaline.orchestrator.messages.outputs import DeadLetter, Decision, Outcome, Tell
from sagaline.orchestrator.messages.values import Parent
from sagaline.sagas import Saga, pivot

from .kernel_kit import TOO_LARGE, make_saga, play


def test_a_reply_for_a_version_that_is_not_deployed_is_kept_and_shown() -> None:
    run = play()
    run.definition = None
    decision = run.ok("a")
    assert decision.outcome is Outcome.DEFERRED
    assert run.status == Status.ATTENTION
    assert run.document.attention is not None
    assert run.document.attention.kind is CauseKind.VERSION
    assert run.document.attention.message == "'demo' version 1 is not deployed here; deploy it"
    assert len(run.document.deferred) == 1


def test_an_operators_retry_goes_on_once_the_version_is_there() -> None:
    """First with what was kept: the flow continues as if the reply had come now."""
    run = play()
    run.definition = None
    run.ok("a")
    assert run.act(ActName.RETRY).reason == "'demo' version 1 is not deployed here; deploy it"
    run.definition = make_saga()
    run.act(ActName.RETRY)
    assert (run.document.status, run.document.deferred) == (Status.RUNNING, ())
    assert run.ids == ["a/1", "b/1"]


def test_a_timer_that_is_still_set_brings_it_back_by_itself() -> None:
    """The reply was kept in time; the deadline wakes the instance and finds the step done."""
    run = play()
    run.definition = None
    run.ok("a")
    run.definition = make_saga()
    run.fire("a:deadline")
    assert run.status == Status.RUNNING
    assert run.statuses == {"a": "done", "b": "sent"}


def test_a_reply_brings_it_back_by_itself() -> None:
    """What was kept left the attempt open; the reply that comes after the deploy is applied after it."""
    run = play(make_saga(attempt_timeout=timedelta(seconds=5)))
    run.act(ActName.CANCEL)
    run.definition = None
    run.fire("a:attempt")
    run.definition = make_saga()
    assert run.ok("a").outcome is Outcome.APPLIED
    assert run.status == Status.COMPENSATING
    assert run.ids == ["a/1", "a/undo/1"]


def test_a_reply_that_comes_after_the_deploy_does_not_overtake_what_was_kept() -> None:
    run = play()
    run.definition = None
    run.fire("a:deadline")
    run.definition = make_saga()
    assert run.ok("a").outcome is Outcome.IGNORED
    run.act(ActName.RETRY)
    assert run.ids == ["a/1", "a/undo/1"]


def test_an_old_deadline_does_not_end_the_undo_that_it_woke() -> None:
    """The kept failure turns the flow; the undo has a deadline of its own under the same name."""
    run = play()
    run.fail("a")
    run.fire("a:retry")
    run.definition = None
    run.fail("a")
    run.definition = make_saga()
    run.fire("a:deadline")
    assert run.status == Status.COMPENSATING
    assert run.statuses["a"] == "undo_sent"
    assert run.document.timers["a:deadline"] == run.now_ms + 600_000


@pytest.mark.parametrize("act", [ActName.RETRY, ActName.CANCEL])
def test_timers_that_came_due_meanwhile_apply_in_order(act: ActName) -> None:
    """Retry timer, then deadline, both while it was away: the step is given up and undone, its undo left alone."""
    run = play()
    run.fail("a")
    run.definition = None
    run.fire("a:retry")
    run.fire("a:deadline")
    assert len(run.document.deferred) == 2
    run.definition = make_saga()
    run.act(act)
    assert run.status == Status.COMPENSATING
    assert run.statuses["a"] == "undo_sent"
    assert "a:retry" not in run.document.timers


def test_a_cancel_after_the_deploy_counts_what_was_kept() -> None:
    run = play()
    run.definition = None
    run.ok("a")
    run.definition = make_saga()
    run.act(ActName.CANCEL)
    assert run.ids == ["a/1", "a/undo/1"]


@pytest.mark.parametrize("late", ["duplicate", "stray", "second outcome"])
def test_late_replies_are_not_kept(late: str) -> None:
    """G8 holds while the version is away: only the first reply to an open attempt counts."""
    run = play()
    run.definition = None
    if late == "stray":
        assert run.ok("a", attempt=9).outcome is Outcome.IGNORED
        return
    run.ok("a")
    again = run.ok("a") if late == "duplicate" else run.fail("a")
    assert again.outcome is Outcome.IGNORED


@pytest.mark.parametrize(("timer", "early_ms"), [("a:deadline", 1), ("a:retry", 0)])
def test_a_timer_that_is_early_or_not_set_is_not_kept(timer: str, early_ms: int) -> None:
    run = play()
    run.definition = None
    due_ms = run.document.timers["a:deadline"]
    run.now_ms = due_ms - early_ms
    fired = TimerFired(id="t", instance="demo/k", timer=timer, due_ms=due_ms)
    assert run.apply(fired).outcome is Outcome.IGNORED


@pytest.mark.parametrize("away", [False, True])
def test_no_more_events_than_the_limit_are_kept_and_the_next_is_a_dead_letter(away: bool) -> None:
    """Nothing else is limited: of it there is no more than the instance has asked for."""
    run = play()
    run.limits = Limits(deferred_max=2)
    if away:
        run.definition = None
    else:
        run.act(ActName.PAUSE)

    def receives(number: int) -> Decision:
        return run.apply(
            EventDelivered(
                id=f"m{number}", instance="demo/k", place="", index=0, event="e", event_id=f"{number}", body={}
            )
        )

    assert [receives(number).outcome for number in range(2)] == [Outcome.DEFERRED] * 2
    refused = receives(2)
    why = "'demo' version 1 is not deployed here; deploy it" if away else "it is paused"
    reason = (
        f"2 events are deferred already: {why}; "
        "let the instance continue, then redrive this event from the dead letters"
    )
    assert (refused.outcome, refused.reason, refused.actions) == (
        Outcome.DENIED,
        reason,
        (DeadLetter(reason=reason),),
    )
    assert run.ok("a").outcome is Outcome.DEFERRED
    assert len(run.document.deferred) == 3


def test_an_instance_that_ended_ignores_replies_whether_its_version_is_there_or_not() -> None:
    run = play(make_saga("a"))
    run.ok("a")
    run.definition = None
    assert run.ok("a").outcome is Outcome.IGNORED
    assert run.act(ActName.CANCEL).reason == "it is completed and can no longer change"
    assert run.fire("~retention").document is None


@pytest.mark.parametrize("deployed", [False, True])
def test_an_abandoned_instance_stays_abandoned_whatever_comes(deployed: bool) -> None:
    """Closing it needs no code, and a reply that comes later does not revive it."""
    run = play()
    run.definition = None
    run.fire("a:deadline")
    if deployed:
        run.definition = make_saga()
    assert run.act(ActName.ABANDON).reason == "left open: a (sent)"
    run.definition = make_saga()
    assert run.ok("a").outcome is Outcome.IGNORED
    assert run.status == Status.ABANDONED


PARENT = Parent(instance="top/k", place="sub", root="top/k", root_incarnation="k3x9wq2z")
MESSAGES = [
    Probe(id="s", instance="demo/k", path=("other/k", "@lock/x")),
    Granted(id="s", instance="demo/k", place="a", lock="x"),
    Deadlocked(id="s", instance="demo/k", cycle=("demo/k", "@lock/x")),
    ChildEnded(id="s", instance="demo/k", place="a", index=None, child="c", end=ChildEnd.COMPLETED),
]


@pytest.mark.parametrize("end", ["completed", "abandoned"])
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_an_instance_that_has_ended_is_not_opened_again_for_want_of_code(message: EntityMessage, end: str) -> None:
    """A probe for a deadlock may come long after; nobody waits for it here, with the code or without."""
    run = play(make_saga("a"))
    if end == "completed":
        run.ok("a")
    else:
        run.definition = None
        run.fire("a:deadline")
        run.act(ActName.ABANDON)
    document = run.document
    for definition in (None, make_saga("a")):
        decision = decide(definition, document, Arrival(message=message, now_ms=document.updated_ms))
        assert (decision.outcome, decision.reason) == (Outcome.IGNORED, "the instance does not wait for this message")
        assert (decision.document, decision.actions) == (document, ())


@pytest.mark.parametrize("deployed", [True, False])
def test_a_child_past_its_pivot_needs_no_code_to_say_that_it_cannot_be_undone(deployed: bool) -> None:
    saga = make_saga("a", undo="")
    saga = Saga(saga.name, saga.state, flow=[pivot, *saga.flow])
    run = play(saga)
    run.ok("a")
    assert (run.status, run.document.pivot_passed) == (Status.COMPLETED, True)
    asked = Unwind(id="u", instance=run.document.id, parent=PARENT, reason="no")
    decision = decide(saga if deployed else None, run.document, Arrival(message=asked, now_ms=run.document.updated_ms))
    (told,) = decision.actions
    assert isinstance(told, Tell)
    assert isinstance(told.message, ChildEnded)
    why = "it is past its pivot and cannot be undone"
    assert (told.message.instance, told.message.end, told.message.reason) == ("top/k", ChildEnd.NOT_UNDONE, why)
    assert decision.document == run.document


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        (make_saga("b"), "the deployed code has no step 'a', which is on record here; deploy it again"),
        (
            make_saga("ab", undo=""),
            "the deployed code has no undo for step 'a', which is on record here; deploy it again",
        ),
    ],
)
def test_code_that_lost_a_step_or_its_undo_parks_the_instance(lacking: Saga[BaseModel], why: str) -> None:
    """Nothing is lost: with the step back, what came meanwhile is applied."""
    run = play(make_saga("ab"))
    run.ok("a")
    run.definition = lacking
    decision = run.reject("b")
    assert (decision.outcome, decision.reason) == (Outcome.DEFERRED, why)
    assert run.act(ActName.RETRY).reason == why
    run.definition = make_saga("ab")
    run.act(ActName.RETRY)
    assert run.ids == ["a/1", "b/1", "a/undo/1"]


def test_code_that_gained_an_undo_does_not_undo_what_was_begun_without() -> None:
    """What is undone was on record before the command left."""
    run = play(make_saga("ab", undo=""))
    run.ok("a")
    run.definition = make_saga("ab")
    run.reject("b")
    assert run.status == Status.COMPENSATED


def test_a_paused_instance_keeps_what_comes_whether_its_code_is_there_or_not() -> None:
    """It is not parked for it; only to resume needs the code."""
    run = play()
    run.act(ActName.PAUSE)
    run.definition = None
    assert run.ok("a").reason == "it is paused"
    assert (run.status, run.document.paused) == (Status.RUNNING, True)
    assert run.act(ActName.RESUME).reason == "'demo' version 1 is not deployed here; deploy it"
    run.definition = make_saga()
    assert run.act(ActName.RETRY).reason == "it is paused; resume it, then retry"
    run.act(ActName.RESUME)
    assert run.ids == ["a/1", "b/1"]


def test_a_pause_outlives_an_attention() -> None:
    """What puts a paused instance there is not its own doing; it is resumed, then retried."""
    run = play()
    run.act(ActName.PAUSE)
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=0), now_ms=run.now_ms)
    run.stored = block(run.document, arrival, TOO_LARGE).document
    assert (run.status, run.document.paused) == (Status.ATTENTION, True)
    assert run.act(ActName.RETRY).reason == "it is paused; resume it, then retry"
    run.act(ActName.RESUME)
    assert (run.status, run.ids) == (Status.ATTENTION, ["a/1"])
    run.act(ActName.RETRY)
    assert (run.status, run.ids) == (Status.RUNNING, ["a/1", "a/2"])


def test_what_was_kept_may_itself_ask_for_attention() -> None:
    """A kept refusal past the pivot stops the instance again, with the new reason."""
    run = play(make_saga("|a"))
    run.definition = None
    run.reject("a")
    run.fire("a:deadline")
    run.definition = make_saga("|a")
    run.act(ActName.RETRY)
    assert run.document.attention is not None
    assert run.document.attention.kind is CauseKind.REJECTED
    assert run.document.deferred == ()


def test_a_failed_reply_is_kept_with_its_text() -> None:
    run = play()
    run.definition = None
    run.fail("a")
    (kept,) = run.document.deferred
    assert isinstance(kept, Failed)
    assert kept.error == "boom"
