"""The way back: compensation, cancel, the pivot, undos that fail, operators' acts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sagaline.orchestrator.kernel import block
from sagaline.orchestrator.messages.document import CauseKind, Status
from sagaline.orchestrator.messages.inputs import ActName, Arrival, TimerFired
from sagaline.orchestrator.messages.outputs import Change, Outcome

from .kernel_kit import ENGINE_FAILED, RETENTION_MS, TOO_LARGE, Play, check_document, make_saga, play


def _undo_all(run: Play) -> None:
    """Answers every undo that leaves until none is open."""
    while run.status == Status.COMPENSATING:
        name = next(name for name, status in run.statuses.items() if status == "undo_sent")
        run.ok(name, undo=True)


def test_a_rejected_step_starts_compensation_in_reverse_order_of_completion() -> None:
    """A business rejection: at once, one undo after the other, the rejected step itself not."""
    run = play()
    run.ok("a")
    run.ok("b")
    run.reject("c")
    assert run.document.cause is not None
    assert (run.document.cause.kind, run.document.cause.step, run.document.cause.code) == (
        CauseKind.REJECTED,
        "c",
        "no",
    )
    assert run.ids == ["a/1", "b/1", "c/1", "b/undo/1"]
    run.ok("b", undo=True)
    assert run.ids[-1] == "a/undo/1"
    assert run.status == Status.COMPENSATING
    run.ok("a", undo=True)
    assert run.status == Status.COMPENSATED
    assert run.statuses == {"a": "undone", "b": "undone", "c": "rejected"}
    assert [command.payload for command in run.sent[-2:]] == [b'{"n":-1}'] * 2


def test_an_undo_carries_the_effect_key_of_its_step() -> None:
    """The participant fence: forward and undo meet under one key."""
    run = play()
    run.fire("a:deadline")
    assert run.sent[0].effect_key == run.sent[1].effect_key == f"demo/k/{run.label('a')}"
    assert (run.sent[1].undo, run.sent[1].contract) == (True, "undo-a")


def test_the_undo_is_on_record_before_the_command_leaves() -> None:
    run = play(make_saga(undo="ac"))
    run.ok("a")
    assert {name: record.undo for name, record in run.document.steps.items()} == {"a": "undo-a", "b": None}


def test_steps_without_undo_are_passed_over() -> None:
    run = play(make_saga(undo="a"))
    run.ok("a")
    run.ok("b")
    run.reject("c")
    _undo_all(run)
    assert run.ids == ["a/1", "b/1", "c/1", "a/undo/1"]
    assert run.status == Status.COMPENSATED


def test_a_refusal_with_nothing_to_undo_is_compensated_at_once() -> None:
    run = play()
    run.reject("a")
    assert run.status == Status.COMPENSATED
    assert run.ids == ["a/1"]


def test_a_step_rejected_after_an_attempt_that_may_have_happened_is_undone_too() -> None:
    """G5: the first attempt failed on the way, so nobody knows; the no of the second says nothing about it."""
    run = play()
    run.ok("a")
    run.fail("b")
    run.fire("b:retry")
    run.reject("b")
    assert run.ids == ["a/1", "b/1", "b/2", "b/undo/1"]
    run.ok("b", undo=True)
    assert run.ids[-1] == "a/undo/1"


def test_a_late_success_of_an_undone_step_changes_nothing() -> None:
    """G8: the step was given up; the fence at the worker keeps its effect out."""
    run = play()
    run.fire("a:deadline")
    assert run.ok("a").outcome is Outcome.IGNORED
    run.ok("a", undo=True)
    assert run.ok("a", undo=True).outcome is Outcome.IGNORED


@pytest.mark.parametrize("how", ["reject", "fail", "deadline"])
def test_past_the_pivot_a_failure_asks_for_attention_and_retry_goes_on(how: str) -> None:
    """Forward only: nothing is undone, an operator sees it, ``retry`` gives it a new round."""
    run = play(make_saga("a|b"))
    run.ok("a")
    if how == "reject":
        run.reject("b")
    elif how == "deadline":
        run.fire("b:deadline")
    else:
        run.fail("b")
        run.fire("b:retry")
        run.fail("b")
    assert run.status == Status.ATTENTION
    assert run.document.attention is not None
    assert "past the pivot" in run.document.attention.message
    assert run.document.timers == {}
    sent = len(run.sent)
    run.act(ActName.RETRY)
    assert len(run.sent) == sent + 1
    assert run.document.timers["b:deadline"] == run.now_ms + 60_000
    run.ok("b")
    assert run.status == Status.COMPLETED
    assert not any(command.undo for command in run.sent)


def test_a_retry_past_the_pivot_gives_all_attempts_again() -> None:
    run = play(make_saga("|a"))
    for _ in range(2):
        run.fail("a")
        run.fire("a:retry")
        run.fail("a")
        assert run.status == Status.ATTENTION
        run.act(ActName.RETRY)
    assert run.ids == ["a/1", "a/2", "a/3", "a/4", "a/5"]


def test_cancel_lets_the_step_in_flight_answer_and_undoes_it_then() -> None:
    """It may be happening right now: its undo waits for its reply."""
    run = play()
    run.ok("a")
    run.act(ActName.CANCEL, by="ann", reason="changed her mind")
    assert run.document.cause is not None
    assert run.document.cause.message == "cancelled by ann: changed her mind"
    assert run.ids == ["a/1", "b/1"]
    run.ok("b")
    assert run.ids == ["a/1", "b/1", "b/undo/1"]
    _undo_all(run)
    assert run.ids[-1] == "a/undo/1"
    assert run.status == Status.COMPENSATED


@pytest.mark.parametrize(
    ("how", "undone"), [("reject", ["a"]), ("fail", ["b", "a"]), ("deadline", ["b", "a"]), ("wrong", ["b", "a"])]
)
def test_cancel_with_a_step_in_flight_that_does_not_succeed(how: str, undone: list[str]) -> None:
    """Rejected: nothing to undo. Failed, silent or unreadable: it may have happened; it is not tried again."""
    run = play()
    run.ok("a")
    run.act(ActName.CANCEL)
    if how == "deadline":
        run.fire("b:deadline")
    elif how == "wrong":
        run.ok("b", reply={})
    else:
        getattr(run, how)("b")
    _undo_all(run)
    assert [command.step for command in run.sent if command.undo] == undone
    assert run.status == Status.COMPENSATED


def test_a_cancelled_step_in_flight_is_given_until_its_deadline() -> None:
    """Its attempt timeout does not end it: what may still be happening is not undone early."""
    run = play(make_saga(attempt_timeout=timedelta(seconds=5)))
    run.act(ActName.CANCEL)
    run.fire("a:attempt")
    assert run.statuses["a"] == "sent"
    run.fire("a:deadline")
    assert run.ids == ["a/1", "a/undo/1"]


def test_cancel_between_two_attempts_undoes_at_once() -> None:
    run = play()
    run.fail("a")
    run.act(ActName.CANCEL)
    assert run.statuses["a"] == "undo_sent"
    assert set(run.document.timers) == {"a:deadline"}


def test_cancel_is_denied_past_the_pivot() -> None:
    run = play(make_saga("a|b"))
    run.ok("a")
    decision = run.act(ActName.CANCEL)
    assert (decision.outcome, decision.reason) == (Outcome.DENIED, "it is past its pivot and can only go forward")


def test_cancel_does_not_disturb_an_undo() -> None:
    """Undos are shielded: a cancel of what is being unwound is fulfilled already."""
    run = play()
    run.fire("a:deadline")
    assert run.act(ActName.CANCEL).outcome is Outcome.UNCHANGED


def test_a_failing_undo_is_retried_by_its_own_policy_then_shown_then_retried_by_an_operator() -> None:
    """G5: never skipped, and never ``compensated`` while it is open."""
    run = play()
    run.ok("a")
    run.reject("b")
    run.fail("a", undo=True)
    assert run.statuses["a"] == "undo_backoff"
    run.fire("a:retry")
    run.fail("a", undo=True)
    assert run.status == Status.ATTENTION
    assert run.document.attention is not None
    assert run.document.attention.kind is CauseKind.UNDO
    assert run.statuses["a"] == "undo_failed"
    decision = run.act(ActName.CANCEL)
    assert decision.outcome is Outcome.DENIED
    run.act(ActName.RETRY)
    assert run.status == Status.COMPENSATING
    assert run.ids == ["a/1", "b/1", "a/undo/1", "a/undo/2", "a/undo/3"]
    run.ok("a", undo=True)
    assert run.status == Status.COMPENSATED


@pytest.mark.parametrize("how", ["reject", "deadline", "deadline while waiting"])
def test_an_undo_that_ends_badly_is_shown(how: str) -> None:
    run = play()
    run.fire("a:deadline")
    if how == "reject":
        run.reject("a", undo=True)
    else:
        if how == "deadline while waiting":
            run.fail("a", undo=True)
        run.fire("a:deadline")
    assert (run.document.status, run.statuses["a"]) == (Status.ATTENTION, "undo_failed")


@pytest.mark.parametrize("begin", ["done", "failed"])
def test_an_undo_whose_function_raises_is_shown_and_goes_on_after_a_mended_deploy(begin: str) -> None:
    run = play(make_saga(broken_undo="a"))
    if begin == "done":
        run.ok("a")
        run.reject("b")
    else:
        run.fire("a:deadline")
    assert (run.document.status, run.statuses["a"]) == (Status.ATTENTION, "undo_failed")
    run.definition = make_saga()
    run.act(ActName.RETRY)
    run.ok("a", undo=True)
    assert run.status == Status.COMPENSATED


def test_while_paused_nothing_leaves_and_resume_goes_on() -> None:
    """The reply waits, and is applied then."""
    run = play()
    run.act(ActName.PAUSE)
    run.ok("a")
    assert run.ids == ["a/1"]
    decision = run.act(ActName.RESUME)
    assert run.ids == ["a/1", "b/1"]
    assert decision.changes[0] == Change(what="paused", before="paused", after="resumed")


@pytest.mark.parametrize("undo", [False, True])
def test_a_retry_that_stood_still_in_a_pause_comes_as_much_later(undo: bool) -> None:
    """The deadline too: a pause does not use up the time of a step."""
    run = play()
    if undo:
        run.fire("a:deadline")
    run.fail("a", undo=undo)
    before = run.document.timers
    run.now_ms += 1
    run.act(ActName.PAUSE)
    assert (run.document.timers, run.document.held) == ({}, before)
    run.now_ms += 3_600_000
    sent = len(run.sent)
    run.act(ActName.RESUME)
    assert run.document.timers == {name: due_ms + 3_600_000 for name, due_ms in before.items()}
    assert len(run.sent) == sent
    run.fire("a:retry")
    assert [(command.undo, command.attempt) for command in run.sent[sent:]] == [(undo, 2)]


@pytest.mark.parametrize("undo", [False, True])
def test_a_retry_that_was_due_before_the_pause_is_sent_on_resume(undo: bool) -> None:
    """Where it cannot be built, nothing else is done: the undo is open, so ``compensated`` is out of reach."""
    for broken in (False, True):
        run = play()
        if undo:
            run.fire("a:deadline")
        run.fail("a", undo=undo)
        run.now_ms = run.document.timers["a:retry"]
        run.act(ActName.PAUSE)
        assert [message.kind for message in run.document.deferred] == ["timer"]
        sent = len(run.sent)
        if broken:
            run.definition = make_saga(broken="a", broken_undo="a")
        run.act(ActName.RESUME)
        if broken:
            assert run.status == Status.ATTENTION
            assert run.statuses["a"] == ("undo_failed" if undo else "blocked")
        else:
            assert [(command.undo, command.attempt) for command in run.sent[sent:]] == [(undo, 2)]


@pytest.mark.parametrize("undo", [False, True])
def test_a_command_whose_time_passed_in_a_pause_is_sent_once_more(undo: bool) -> None:
    """Whoever sees it only now lets it lie. It counts as no attempt, and its deadline comes as much later."""
    run = play()
    if undo:
        run.fire("a:deadline")
    due_ms = run.document.timers["a:deadline"]
    run.act(ActName.PAUSE)
    run.now_ms += 3_600_000
    run.act(ActName.RESUME)
    assert (run.sent[-1].undo, run.sent[-1].attempt) == (undo, 2)
    assert run.sent[-1].deadline_ms == run.document.timers["a:deadline"] == due_ms + 3_600_000
    assert run.ok("a", undo=undo, attempt=1).outcome is Outcome.IGNORED
    for attempt in (2, 3):
        run.fail("a", undo=undo, attempt=attempt)
        if attempt == 2:
            run.fire("a:retry")
    assert run.statuses["a"] == ("undo_failed" if undo else "undo_sent")


def test_a_command_that_was_answered_or_has_time_left_is_not_sent_once_more() -> None:
    for span_ms, answered in ((30_000, False), (3_600_000, True)):
        run = play()
        run.act(ActName.PAUSE)
        run.now_ms += span_ms
        if answered:
            run.ok("a")
        run.act(ActName.RESUME)
        assert run.ids == (["a/1", "b/1"] if answered else ["a/1"])


def test_a_resume_before_the_retry_timer_sends_nothing_early() -> None:
    run = play()
    run.fail("a")
    run.act(ActName.PAUSE)
    run.act(ActName.RESUME)
    assert run.ids == ["a/1"]
    run.fire("a:retry")
    assert run.ids == ["a/1", "a/2"]


def test_a_deadline_that_passes_in_a_pause_turns_nothing() -> None:
    """Neither then nor on resume."""
    run = play()
    due_ms = run.document.timers["a:deadline"]
    run.act(ActName.PAUSE)
    run.now_ms = due_ms
    fired = TimerFired(id="t", instance="demo/k", timer="a:deadline", due_ms=due_ms)
    assert run.apply(fired).outcome is Outcome.IGNORED
    run.act(ActName.RESUME)
    assert run.status == Status.RUNNING
    run.fire("a:deadline")
    assert run.status == Status.COMPENSATING


def test_a_cancel_of_a_paused_instance_unwinds_it() -> None:
    run = play()
    run.ok("a")
    run.act(ActName.PAUSE)
    run.ok("b")
    run.act(ActName.CANCEL)
    assert not run.document.paused
    assert run.ids[-1] == "b/undo/1"


@pytest.mark.parametrize("act", [ActName.PAUSE, ActName.RESUME])
def test_pause_and_resume_twice_change_nothing(act: ActName) -> None:
    run = play()
    run.act(ActName.PAUSE)
    if act is ActName.RESUME:
        run.act(act)
    assert run.act(act).outcome is Outcome.UNCHANGED


def test_abandon_closes_and_names_what_stays_open() -> None:
    """In the order in which it would have been undone, each with where it stands."""
    run = play(make_saga("abc", undo="ab"))
    run.ok("a")
    run.ok("b")
    run.reject("c")
    run.reject("b", undo=True)
    decision = run.act(ActName.ABANDON)
    assert decision.reason == "left open: b (undo_failed), a (done)"
    assert run.status == Status.ABANDONED
    assert run.document.timers == {"~retention": run.now_ms + RETENTION_MS}
    assert run.act(ActName.ABANDON).outcome is Outcome.UNCHANGED


def test_abandon_of_an_instance_that_did_nothing_leaves_nothing_open() -> None:
    run = Play(make_saga(broken="a"))
    run.start()
    assert run.act(ActName.ABANDON).reason == "left open: nothing"


def test_block_puts_what_is_in_flight_aside_and_a_retry_sends_it_again() -> None:
    """The decision could not be stored: the document stays as it was, but for the attention."""
    run = play()
    run.ok("a")
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=run.now_ms)
    decision = block(run.document, arrival, TOO_LARGE)
    run.stored = decision.document
    assert run.statuses == {"a": "done", "b": "blocked"}
    assert decision.changes == (
        Change(what="b", before="sent", after="blocked"),
        Change(what="instance", before="running", after="attention"),
    )
    check_document(run.document)
    assert run.ok("b").outcome is Outcome.IGNORED
    run.act(ActName.RETRY)
    assert run.ids[-1] == "b/2"


def test_block_of_an_undo_counts_it_as_failed() -> None:
    run = play()
    run.fire("a:deadline")
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=run.now_ms)
    run.stored = block(run.document, arrival, ENGINE_FAILED).document
    assert run.statuses == {"a": "undo_failed"}
    again = block(run.document, arrival, ENGINE_FAILED)
    assert again.changes == ()


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_blocked_step_that_was_sent_is_undone(cancelled: bool) -> None:
    """G5: it may have happened, whether it was blocked before the cancel or while it was being awaited."""
    run = play()
    if cancelled:
        run.act(ActName.CANCEL)
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=run.now_ms)
    run.stored = block(run.document, arrival, ENGINE_FAILED).document
    run.act(ActName.RETRY if cancelled else ActName.CANCEL)
    assert run.ids[-1] == "a/undo/1"


def test_block_leaves_an_ended_instance_alone() -> None:
    run = play(make_saga("a"))
    run.ok("a")
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=run.now_ms)
    assert block(run.document, arrival, ENGINE_FAILED).document == run.document
