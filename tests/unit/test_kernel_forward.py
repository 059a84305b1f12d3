"""The way forward: steps in order, retries, deadlines, starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator

from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.document import CauseKind, Status
from sagaline.orchestrator.messages.inputs import ActName, Start, TimerFired
from sagaline.orchestrator.messages.outputs import DeadLetter, Outcome, SendCommand, incarnation_of
from sagaline.sagas import Contract, Saga, step

from .kernel_kit import RETENTION_MS, SECOND, Did, Do, Notes, Play, erased, make_saga, play


def test_a_flow_sends_step_by_step_and_completes() -> None:
    """Each reply goes into the state and lets the next command leave."""
    run = play()
    assert run.ids == ["a/1"]
    for name in "abc":
        run.ok(name)
    assert run.ids == ["a/1", "b/1", "c/1"]
    assert run.status == Status.COMPLETED
    assert run.document.state == {"n": 1, "a": {"ok": True}, "b": {"ok": True}, "c": {"ok": True}}
    assert [record.order for record in run.document.steps.values()] == [1, 2, 3]


def test_a_command_carries_everything_a_worker_needs() -> None:
    """Id, effect key, contract, queue, payload and the time after which nobody waits."""
    run = play()
    (command,) = run.sent
    assert command == SendCommand(
        instance="demo/k",
        step="a",
        contract="do-a",
        queue="q",
        undo=False,
        attempt=1,
        payload=b'{"n":1}',
        deadline_ms=run.now_ms + 60 * SECOND,
        incarnation=incarnation_of("m1", run.now_ms),
    )
    life = run.document.incarnation
    assert (command.id, command.effect_key) == (f"demo/k/a~{life}/1", f"demo/k/a~{life}")


def test_a_start_writes_who_asked_and_what() -> None:
    """The document keeps the start's request id, its time and a digest of its input with sorted keys."""
    run = play()
    document = run.document
    assert (document.id, document.definition, document.key, document.version) == ("demo/k", "demo", "k", 1)
    assert (document.started_by, document.created_ms, document.revision) == ("m1", run.now_ms, 1)
    assert document.digest == hashlib.sha256(b'{"n":1}').hexdigest()


def test_a_second_start_with_the_same_input_changes_nothing() -> None:
    """Starting is idempotent by key, whatever the order of the input's fields."""
    run = Play(make_saga())
    run.start({"n": 1, "a": None})
    again = run.start({"a": None, "n": 1})
    assert (again.outcome, again.reason) == (Outcome.UNCHANGED, "started already with this input")


def test_a_second_start_with_another_input_is_refused() -> None:
    """Same key, other input: a conflict, and the instance goes on undisturbed."""
    run = play()
    decision = run.start({"n": 2})
    assert (decision.outcome, decision.reason) == (Outcome.DENIED, "started already with another input")
    assert run.ok("a").outcome is Outcome.APPLIED


def test_a_start_of_an_unknown_definition_waits_for_its_code() -> None:
    """Who sent it knows the definition: this node is older."""
    decision = Play(None).start()
    assert (decision.outcome, decision.actions) == (Outcome.DEFERRED, ())
    assert decision.reason == "'demo' is not deployed here; deploy it"


def test_a_start_of_an_unknown_version_names_it() -> None:
    """The reason says which version is missing."""
    decision = Play(None).apply(Start(id="r", definition="demo", key="k", input={}, version=7))
    assert decision.reason == "'demo' version 7 is not deployed here; deploy it"


def test_a_start_with_an_invalid_input_is_a_dead_letter_that_names_the_field() -> None:
    decision = Play(make_saga()).start({"n": "many"})
    assert decision.document is None
    assert decision.reason.startswith("the input is not valid: n: Input should be a valid integer")
    assert decision.actions == (DeadLetter(reason=decision.reason),)


class Picky(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        raise KeyError("a validator of the author's raises what pydantic does not expect")


def test_a_validator_that_raises_anything_makes_a_dead_letter() -> None:
    """G6: the author's code cannot stop the partition."""

    @step(Contract("do", Do, Did, queue="q"))
    def only(s: Picky) -> Do:
        return Do(n=s.n)

    saga = Saga("demo", Picky, flow=[only])
    decision = Play(erased(saga)).start()
    assert decision.reason.startswith("the validators of the state raised KeyError")
    assert isinstance(decision.actions[0], DeadLetter)


def test_a_failed_attempt_is_tried_again_after_a_delay() -> None:
    """Attempt 2 leaves when the retry timer fires: first_delay less at most a tenth, and not before."""
    run = play()
    run.fail("a")
    assert run.statuses["a"] == "backoff"
    due_ms = run.document.timers["a:retry"]
    assert 0.9 * SECOND <= due_ms - run.now_ms <= SECOND
    assert run.ids == ["a/1"]
    run.fire("a:retry")
    assert run.ids == ["a/1", "a/2"]
    assert run.document.steps["a"].error == "boom"
    run.ok("a")
    assert run.document.steps["a"].error is None


def test_all_attempts_share_one_deadline() -> None:
    """The step's timeout counts from its first command on."""
    run = play()
    deadline_ms = run.document.timers["a:deadline"]
    run.fail("a")
    run.fire("a:retry")
    assert run.document.timers["a:deadline"] == deadline_ms
    assert run.sent[1].deadline_ms == deadline_ms


def test_used_up_attempts_start_compensation_and_undo_the_step_itself() -> None:
    """What raised may have happened: it is undone with the others."""
    run = play()
    run.ok("a")
    run.fail("b")
    run.fire("b:retry")
    run.fail("b")
    cause = run.document.cause
    assert cause is not None
    assert (cause.kind, cause.step) == (CauseKind.ATTEMPTS, "b")
    assert cause.message == "2 attempts failed; the last: boom"
    assert run.ids[-1] == "b/undo/1"


def test_a_silent_attempt_counts_as_failed_after_its_timeout() -> None:
    run = play(make_saga(attempt_timeout=timedelta(seconds=5)))
    assert run.document.timers["a:attempt"] == run.now_ms + 5 * SECOND
    run.fire("a:attempt")
    assert run.statuses["a"] == "backoff"
    assert run.document.steps["a"].error == "no answer in time"
    assert run.ok("a", attempt=1).outcome is Outcome.IGNORED
    run.fire("a:retry")
    assert run.ids == ["a/1", "a/2"]


@pytest.mark.parametrize("waiting", [False, True])
def test_the_deadline_ends_a_step_in_flight_or_between_attempts(waiting: bool) -> None:
    """No outcome in time: compensation, the step itself included."""
    run = play()
    if waiting:
        run.fail("a")
    run.fire("a:deadline")
    assert run.document.cause is not None
    assert run.document.cause.kind is CauseKind.TIMEOUT
    assert run.document.cause.message == "no outcome within 60 s" + ("; the last error: boom" if waiting else "")
    assert run.ids == ["a/1", "a/undo/1"]
    assert set(run.document.timers) == {"a:deadline"}


def test_a_reply_of_the_wrong_type_is_a_failed_attempt() -> None:
    """The worker is mended and tried again; the error names model and field."""
    run = play()
    run.ok("a", reply={"ok": "perhaps"})
    assert run.statuses["a"] == "backoff"
    error = run.document.steps["a"].error
    assert error is not None
    assert error.startswith("the worker's reply does not fit Did: ok: Input should be a valid boolean")


class Touchy(BaseModel):
    ok: bool

    @field_validator("ok")
    @classmethod
    def check(cls, ok: bool) -> bool:
        raise KeyError("mend me")


def test_a_reply_model_that_raises_anything_asks_for_attention() -> None:
    """G6: a validator that raises what pydantic does not expect puts only its own instance aside."""

    @step(Contract("do", Do, Touchy, queue="q"))
    def a(s: Notes) -> Do:
        return Do(n=s.n)

    run = Play(erased(Saga("demo", Notes, flow=[a])))
    run.start()
    run.ok("a")
    assert run.status == Status.ATTENTION
    assert run.document.attention is not None
    assert "Touchy, the reply of step 'a', raised KeyError" in run.document.attention.message
    run.definition = make_saga("a")
    run.act(ActName.RETRY)
    assert run.ids == ["a/1", "a/2"]


def test_a_reply_may_use_field_names_or_aliases() -> None:
    """Workers in other languages answer by alias; the state keeps field names."""

    class Tagged(BaseModel):
        charge_id: str = Field(alias="chargeId", serialization_alias="chargeId")

    class Holder(BaseModel):
        n: int
        a: Tagged | None = None
        b: Tagged | None = None

    @step(Contract("do-a", Do, Tagged, queue="q"), into="a")
    def a(s: Holder) -> Do:
        return Do(n=s.n)

    @step(Contract("do-b", Do, Tagged, queue="q"), into="b")
    def b(s: Holder) -> Do:
        assert s.a is not None
        return Do(n=len(s.a.charge_id))

    run = Play(erased(Saga("demo", Holder, flow=[a, b])))
    run.start()
    run.ok("a", reply={"chargeId": "x"})
    run.ok("b", reply={"charge_id": "y"})
    assert run.document.state == {"n": 1, "a": {"charge_id": "x"}, "b": {"charge_id": "y"}}


def test_a_function_that_raises_asks_for_attention_and_goes_on_after_a_mended_deploy() -> None:
    """The traceback is kept; nothing is lost; ``retry`` sends the step's first command."""
    run = play(make_saga(broken="b"))
    run.ok("a")
    attention = run.document.attention
    assert attention is not None
    assert attention.kind is CauseKind.CODE
    assert attention.message == (
        "the function of step 'b' raised RuntimeError: b is broken; fix the function, redeploy, then retry"
    )
    assert "raise RuntimeError" in attention.detail
    assert (run.statuses["b"], run.document.steps["b"].attempt) == ("blocked", 0)
    run.act(ActName.RETRY)
    assert run.status == Status.ATTENTION
    run.definition = make_saga()
    run.act(ActName.RETRY)
    assert run.status == Status.RUNNING
    assert run.ids == ["a/1", "b/1"]


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even a message")


@pytest.mark.parametrize("error", [Rude, partial(RecursionError, "deep"), partial(ValueError, "x" * 100_000)])
def test_whatever_the_function_raises_is_contained(error: Callable[[], Exception]) -> None:
    """Exceptions without a message, and those with a book of one, stay inside their instance and its limits."""

    @step(Contract("do-a", Do, Did, queue="q"))
    def a(s: Notes) -> Do:
        raise error()

    run = Play(erased(Saga("demo", Notes, flow=[a])))
    run.start()
    attention = run.document.attention
    assert attention is not None
    assert attention.kind is CauseKind.CODE
    assert len(attention.message) + len(attention.detail) < 9_000


def test_a_function_that_returns_another_command_asks_for_attention() -> None:
    @step(Contract("do-a", Do, Did, queue="q"))
    def a(s: Notes) -> Any:
        return Did(ok=True)

    run = Play(erased(Saga("demo", Notes, flow=[a])))
    run.start()
    assert run.document.attention is not None
    assert "gave a Did; contract 'do-a' sends a Do" in run.document.attention.message


def test_a_command_over_the_limit_asks_for_attention() -> None:
    """It is never sent, and the message says by how much it is too large."""
    run = Play(make_saga(), limits=Limits(command_bytes=3))
    run.start()
    attention = run.document.attention
    assert attention is not None
    assert attention.kind is CauseKind.TOO_LARGE
    assert attention.message.startswith("the command of step 'a' has 7 bytes, the limit is 3; send less")
    assert run.sent == []


def test_a_finished_instance_is_kept_for_its_retention_and_then_gone() -> None:
    """G1 holds inside the window; after it the document becomes a tombstone."""
    run = play(make_saga("a"))
    run.ok("a")
    assert run.document.timers == {"~retention": run.now_ms + RETENTION_MS}
    assert run.start().outcome is Outcome.UNCHANGED
    decision = run.fire("~retention")
    assert (decision.document, decision.outcome) == (None, Outcome.APPLIED)
    assert run.start().outcome is Outcome.APPLIED


def test_a_timer_never_fires_early_moved_or_twice() -> None:
    """G7: only the timer in the document, at its time, once."""
    run = play()
    due_ms = run.document.timers["a:deadline"]
    early = TimerFired(id="t", instance="demo/k", timer="a:deadline", due_ms=due_ms)
    assert run.apply(early).outcome is Outcome.IGNORED
    run.now_ms = due_ms
    moved = TimerFired(id="t", instance="demo/k", timer="a:deadline", due_ms=due_ms - 1)
    assert run.apply(moved).outcome is Outcome.IGNORED
    assert run.apply(TimerFired(id="t", instance="demo/k", timer="a:no", due_ms=1)).outcome is Outcome.IGNORED
    assert run.apply(early).outcome is Outcome.APPLIED
    assert run.apply(early).outcome is Outcome.IGNORED


def test_the_retention_timer_never_fires_early() -> None:
    run = play(make_saga("a"))
    run.ok("a")
    due_ms = run.document.timers["~retention"]
    for wrong in (due_ms, due_ms - 1):
        fired = TimerFired(id="t", instance="demo/k", timer="~retention", due_ms=wrong)
        assert run.apply(fired).outcome is Outcome.IGNORED


def test_what_a_worker_says_cannot_blow_up_the_document() -> None:
    """Errors and reasons are cut in the middle, so that both ends can be read."""
    run = Play(make_saga(), limits=Limits(detail_chars=40))
    run.start()
    run.ok("a", reply={"ok": "z" * 1_000})
    error = run.document.steps["a"].error
    assert error is not None
    assert len(error) <= 43
    assert error.startswith("the worker's reply")
