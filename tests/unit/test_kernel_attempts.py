"""Attempts of a step and of its undo, to the letter: counts, times, errors and causes."""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field, model_validator

from sagaline.orchestrator.kernel import Limits, decide
from sagaline.orchestrator.messages.document import (
    Attention,
    Cause,
    CauseKind,
    Status,
    StepRecord,
    StepStatus,
)
from sagaline.orchestrator.messages.entity_messages import Published
from sagaline.orchestrator.messages.inputs import (
    ActName,
    Arrival,
    Failed,
    Rejected,
    Start,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import Change, Publish
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Retry, Saga, Step, step
from sagaline.sagas.nodes import parallel

from .kernel_nodes import HOUR, LIFE, Did, Do, Talk, flow_of, leg, memo_of, redeployed, timers_of

MINUTE = timedelta(minutes=1)


def impatient(name: str = "a", within: timedelta | None = None, attempt: timedelta | None = None) -> Step[Talk]:
    """Three attempts, 10 s and 20 s apart."""
    retry = Retry(max_attempts=3, first_delay=timedelta(seconds=10), attempt_timeout=attempt)

    @step(
        Contract(f"do-{name}", Do, Did, queue="q"),
        into="did",
        retry=retry,
        timeout=HOUR,
        expected_within=within,
        name=name,
    )
    def build(s: Talk) -> Do:
        return Do(n=s.n)

    @build.undo(Contract(f"undo-{name}", Do, Did, queue="u"), retry=retry, timeout=2 * HOUR)
    def unbuild(s: Talk) -> Do:
        return Do(n=-s.n)

    return build


def spread(command: str, delay_ms: int) -> int:
    """The wait before a retry: a tenth of it is spread by the command's id."""
    return delay_ms - delay_ms * (zlib.crc32(command.encode()) % 1000) // 10_000


def test_attempts_are_counted_and_spread_in_time() -> None:
    """Each wait is twice the one before; the deadline of the whole stays."""
    scene = Scene.start(flow_of(impatient())).crash("a")
    first = spread(f"talk/k/a~{LIFE}/1", 10_000)
    assert timers_of(scene) == {"a:deadline": 3_600_000, "a:retry": first}
    assert scene.document.steps["a"] == StepRecord(
        status=StepStatus.BACKOFF, at_ms=0, undo="undo-a", attempt=1, error="it crashed", kind="step"
    )
    again = scene.tick()
    assert again.document.steps["a"] == StepRecord(
        status=StepStatus.SENT, at_ms=first, undo="undo-a", attempt=2, error="it crashed", kind="step"
    )
    assert timers_of(again) == {"a:deadline": 3_600_000}
    assert again.sent[-1].deadline_ms == 3_600_000
    later = again.crash("a")
    assert timers_of(later)["a:retry"] == first + spread(f"talk/k/a~{LIFE}/2", 20_000)
    over = later.tick().crash("a")
    assert over.document.cause == Cause(
        kind=CauseKind.ATTEMPTS, message="3 attempts failed; the last: it crashed", at_ms=over.now_ms, step="a"
    )


def test_an_undo_has_attempts_and_a_deadline_of_its_own() -> None:
    scene = Scene.start(flow_of(impatient(), leg("b"))).ok("a").advance(timedelta(seconds=30)).rejects("b", "sold out")
    undo = scene.sent[-1]
    assert (undo.contract, undo.queue, undo.undo, undo.attempt, undo.payload) == ("undo-a", "u", True, 1, b'{"n":0}')
    assert undo.deadline_ms == scene.now_ms + 7_200_000
    waits = scene.undo_crash("a")
    assert timers_of(waits) == {
        "a:deadline": undo.deadline_ms,
        "a:retry": scene.now_ms + spread(f"talk/k/a~{LIFE}/undo/1", 10_000),
    }
    record = waits.document.steps["a"]
    assert (record.status, record.attempt, record.undo_attempt) == (StepStatus.UNDO_BACKOFF, 1, 1)
    given_up = scene.undo_exhaust("a")
    assert given_up.attention is not None
    assert given_up.attention.message == (
        "the undo did not succeed: 3 attempts failed; the last: it crashed; resolve the cause, then retry"
    )
    again = given_up.retry()
    record = again.document.steps["a"]
    assert (record.undo_attempt, record.undo_spent, record.spent) == (4, 3, 0)
    assert again.sent[-1].deadline_ms == again.now_ms + 7_200_000
    assert again.undo_exhaust("a").document.steps["a"].undo_attempt == 6


def test_a_round_of_an_operator_has_all_attempts_again() -> None:
    saga = flow_of(not_undone(impatient()), past_pivot=True)
    stuck = Scene.start(saga).exhaust("a")
    assert stuck.attention == Attention(
        kind=CauseKind.ATTEMPTS,
        message="past the pivot: 3 attempts failed; the last: it crashed; resolve the cause, then retry",
        at_ms=stuck.now_ms,
        step="a",
    )
    again = stuck.retry()
    record = again.document.steps["a"]
    assert (record.attempt, record.spent, record.undo_spent) == (4, 3, 0)
    assert again.crash("a").step("a") is StepStatus.BACKOFF
    assert again.exhaust("a").document.steps["a"].attempt == 6
    refused = Scene.start(saga).rejects("a", "never", code="gone")
    assert refused.attention is not None
    assert refused.attention.message == "rejected past the pivot (gone): never; resolve the cause, then retry"


def not_undone(given: Step[Talk]) -> Step[Talk]:
    """The same without an undo."""
    options = given.options
    made = step(given.contract, into=options.into, retry=options.retry, timeout=options.timeout, name=given.name)
    return made(lambda s: Do(n=s.n))


def test_a_silent_attempt_is_given_up_after_its_own_time() -> None:
    """It counts as failed; its timer goes with every answer."""
    scene = Scene.start(flow_of(impatient(attempt=MINUTE), leg("b")))
    assert timers_of(scene) == {"a:deadline": 3_600_000, "a:attempt": 60_000}
    silent = scene.tick()
    assert (silent.step("a"), silent.document.steps["a"].error) == (StepStatus.BACKOFF, "no answer in time")
    assert "a:attempt" not in timers_of(scene.crash("a"))
    assert [name for name in timers_of(scene.ok("a")) if name.startswith("a:")] == []
    second = silent.tick()
    assert timers_of(second)["a:attempt"] == second.now_ms + 60_000


def test_a_deadline_names_the_time_and_the_last_error() -> None:
    scene = Scene.start(flow_of(impatient(), leg("b")))
    silent = scene.advance(HOUR).document.cause
    assert silent is not None
    assert (silent.kind, silent.message, silent.step) == (CauseKind.TIMEOUT, "no outcome within 3600 s", "a")
    assert scene.crash("a").tick().advance(HOUR).document.cause is not None
    message = scene.crash("a").tick().advance(HOUR).document.cause.message  # type: ignore[union-attr]
    assert message == "no outcome within 3600 s; the last error: it crashed"


def test_what_is_overdue_is_said_once_with_where_it_stands() -> None:
    """The event has an id of its own for each time; a step that waits for its retry is overdue as well."""
    saga = flow_of(impatient(within=timedelta(seconds=5)))
    start = Start(id="s", definition="talk", key="k", input={}, traceparent="00-trace")
    scene = Scene.of(saga).play(start)
    assert timers_of(scene) == {"a:deadline": 3_600_000, "a:expected": 5_000}
    fired = TimerFired(id="t", instance="talk/k", timer="a:expected", due_ms=5_000)
    decision = decide(saga, scene.document, Arrival(message=fired, now_ms=5_001))
    body = {"instance": "talk/k", "step": "a", "status": "sent"}
    event = Published(
        id=f"talk/k/a~{scene.document.incarnation}/overdue/2",
        instance="@mailbox/sagaline.overdue/talk/k",
        event="sagaline.overdue",
        key="talk/k",
        body=body,
        keep_ms=0,
    )
    assert decision.actions == (Publish(event=event),)
    assert decision.changes == (Change(what="overdue", before=None, after="a"),)
    assert decision.document is not None
    assert decision.document.steps["a"].memo == {"overdue_ms": 5_001}
    assert decision.document.timers == {"a:deadline": 3_600_000}
    waits = scene.crash("a").advance(timedelta(seconds=6))
    assert memo_of(waits, "a") == {"overdue_ms": 5_000}
    assert "a:expected" not in timers_of(waits.advance(MINUTE))


def test_a_reply_of_another_kind_is_an_attempt_that_failed() -> None:
    """It says what is wrong, up to five problems."""

    class Wide(BaseModel):
        a: int
        b: int
        c: int
        d: int
        e: int
        f: int

    wide = step(Contract("wide", Do, Wide, queue="q"), name="wide")(lambda s: Do())
    wide.undo(Contract("unwide", Do, Did, queue="q"))(lambda s: Do())
    scene = Scene.start(flow_of(wide))
    wrong = scene.ok("wide", {})
    assert wrong.document.steps["wide"].error == (
        "the worker's reply does not fit Wide: "
        + "; ".join(f"{name}: the field is missing, add it" for name in "abcde")
        + "; and 1 more"
    )


def test_a_name_of_a_nested_field_is_its_path() -> None:
    class Inner(BaseModel):
        n: int

    class Outer(BaseModel):
        inner: Inner

    nested = step(Contract("nested", Do, Outer, queue="q"), name="nested")(lambda s: Do())
    nested.undo(Contract("unnested", Do, Did, queue="q"))(lambda s: Do())
    wrong = Scene.start(flow_of(nested)).ok("nested", {"inner": {"n": "x"}})
    error = wrong.document.steps["nested"].error
    assert error is not None
    assert error.startswith("the worker's reply does not fit Outer: inner.n: Input should be a valid integer")

    class Known(BaseModel):
        inner: Inner

    saga = Saga("known", Known, flow=[step(Contract("k", Do, Did, queue="q"), name="k")(lambda s: Do())])
    start = Start(id="s", definition="known", key="k", input={"inner": {}})
    assert decide(saga, None, Arrival(message=start, now_ms=0)).reason == (
        "the input is not valid: inner.n: the field is missing, add it"
    )


def test_a_reply_is_read_by_names_and_aliases_and_kept_by_names() -> None:
    class Answer(BaseModel):
        carrier: str = Field(alias="carrierName")

    class Kept(BaseModel):
        answer: Answer | None = None

    book = step(Contract("book", Do, Answer, queue="q"), into="answer", name="book")(lambda s: Do())
    saga = Saga("kept", Kept, flow=[book])
    for reply in ({"carrierName": "x"}, {"carrier": "x"}):
        done = Scene.start(saga, {}).ok("book", reply)
        assert done.document.state == {"answer": {"carrier": "x"}}


def test_what_failed_is_kept_with_its_detail_up_to_the_limit() -> None:
    """Of what is too long both ends: the type of the error stands first, where it came from last."""
    saga = flow_of(impatient())
    document = Scene.start(saga).document
    error, detail = f"ValueError: {'x' * 900}", "frame\n" * 1_000 + "at line 7\n"
    failed = Failed(id="f", instance="talk/k", command_id=f"talk/k/a~{LIFE}/1", error=error, detail=detail)
    full = decide(saga, document, Arrival(message=failed, now_ms=0), Limits(detail_chars=10_000)).document
    short = decide(saga, document, Arrival(message=failed, now_ms=0), Limits(detail_chars=60)).document
    assert full is not None
    assert short is not None
    assert full.steps["a"].error == f"{error}\n{detail}".strip()
    kept = short.steps["a"].error or ""
    assert (len(kept), kept[:15], kept[-9:]) == (60, "ValueError: xxx", "at line 7")


def test_a_refused_undo_is_shown_with_its_code() -> None:
    stuck = Scene.start(flow_of(leg("a"), leg("b"))).ok("a").rejects("b").undo_rejects("a", "it has left")
    assert stuck.attention == Attention(
        kind=CauseKind.UNDO, message="the undo was rejected (no): it has left", at_ms=0, step="a", code="no"
    )
    assert stuck.document.steps["a"].error == "it has left"


def test_a_retry_leaves_nothing_of_the_attention() -> None:
    """And an error is gone with its success."""
    stuck = Scene.start(flow_of(leg("a"), leg("b"))).ok("a").rejects("b").undo_rejects("a")
    again = stuck.retry()
    assert again.document.attention is None
    done = again.undo_ok("a")
    assert (done.document.steps["a"].error, done.status) == (None, Status.COMPENSATED)
    assert done.document.finished_ms == 0


def test_an_undo_that_is_too_large_is_shown_as_an_undo() -> None:
    """After a mended deploy the retry sends it."""

    def saga(most: int) -> Saga[Talk]:
        build = step(Contract("do-a", Do, Did, queue="q"), name="a")(lambda s: Do())
        build.undo(Contract("undo-a", Do, Did, queue="q"))(lambda s: Do(n=10**most))
        return flow_of(build, leg("b"))

    scene = Scene.start(saga(30)).ok("a")
    reply = Rejected(id="r", instance="talk/k", command_id=f"talk/k/b~{LIFE}/1", reason="no", code="no")
    found = decide(saga(30), scene.document, Arrival(message=reply, now_ms=0), Limits(command_bytes=20)).document
    assert found is not None
    assert found.steps["a"].status is StepStatus.UNDO_FAILED
    assert found.attention is not None
    assert (found.attention.kind, found.attention.step, found.attention.message) == (
        CauseKind.TOO_LARGE,
        "a",
        "the command of the undo of step 'a' has 37 bytes, the limit is 20; "
        "send less (a reference instead of the content), then retry",
    )


class Picky(BaseModel):
    """A reply that looks at itself as a whole."""

    n: int = 0

    @model_validator(mode="after")
    def check(self) -> Picky:
        if self.n == 1:
            raise ValueError("one is none")
        if self.n == 2:
            raise KeyError("two")
        return self


@pytest.mark.parametrize("undo", [False, True])
def test_a_reply_whose_model_raises_stops_the_direction_that_it_is_of(undo: bool) -> None:
    """With the traceback; what is wrong with the whole of it is an attempt that failed."""
    build = step(Contract("do-a", Do, Picky, queue="q"), name="a")(lambda s: Do())
    build.undo(Contract("undo-a", Do, Picky, queue="q"))(lambda s: Do())
    scene = Scene.start(flow_of(build, leg("b")))
    scene = scene.ok("a").rejects("b") if undo else scene
    stuck = scene.undo_ok("a", {"n": 2}) if undo else scene.ok("a", {"n": 2})
    assert stuck.step("a") is (StepStatus.UNDO_FAILED if undo else StepStatus.BLOCKED)
    assert stuck.attention is not None
    assert stuck.attention.message == (
        "Picky, the reply of step 'a', raised KeyError: 'two'; fix the function, redeploy, then retry"
    )
    assert "in check" in stuck.attention.detail
    wrong = scene.undo_ok("a", {"n": 1}) if undo else scene.ok("a", {"n": 1})
    error = "the worker's reply does not fit Picky: reply: Value error, one is none"
    assert wrong.document.steps["a"].error == error


def test_a_state_that_is_wrong_as_a_whole_is_named_so() -> None:
    saga = Saga("picky", Picky, flow=[step(Contract("k", Do, Did, queue="q"), name="k")(lambda s: Do())])
    start = Start(id="s", definition="picky", key="k", input={"n": 1})
    reason = decide(saga, None, Arrival(message=start, now_ms=0)).reason
    assert reason == "the input is not valid: input: Value error, one is none"


def test_what_a_lost_branch_has_in_flight_is_given_until_its_deadline() -> None:
    """Its silence is no failed attempt; elsewhere it is."""
    patient = impatient("x", attempt=MINUTE)
    saga = flow_of(parallel(patient, leg("y"), need="any", name="both"), leg("b", timeout=3 * HOUR))
    lost = Scene.start(saga).ok("y").advance(2 * MINUTE)
    assert (lost.step("x"), lost.document.steps["x"].attempt) == (StepStatus.SENT, 1)
    assert lost.advance(HOUR).step("x") is StepStatus.UNDO_SENT
    needed = Scene.start(saga).advance(MINUTE)
    assert needed.step("x") is StepStatus.BACKOFF


def test_a_retry_that_was_held_by_a_pause_keeps_the_deadline() -> None:
    scene = Scene.start(flow_of(impatient())).crash("a").act(ActName.PAUSE).advance(MINUTE)
    resumed = scene.act(ActName.RESUME)
    assert resumed.sent[-1].deadline_ms == 3_600_000
    assert resumed.document.steps["a"].spent == 0


def test_what_failed_stands_in_the_record_of_its_step() -> None:
    """Of a step as of its undo, and the attention names the step."""
    refused = Scene.start(flow_of(leg("a"), leg("b"))).ok("a").rejects("b", "sold out")
    assert refused.document.steps["b"].error == "sold out"
    stuck = refused.undo_exhaust("a")
    assert stuck.document.steps["a"].error == "2 attempts failed; the last: it crashed"
    assert stuck.attention is not None
    assert stuck.attention.step == "a"
    broken = Scene.start(flow_of(leg("a", broken=True)))
    assert broken.document.steps["a"].error == (
        "the function of step 'a' raised RuntimeError: a is broken; fix the function, redeploy, then retry"
    )


def test_a_step_that_needs_an_operator_has_no_timer_left() -> None:
    """Those of others stay."""
    waits = Scene.start(flow_of(parallel(leg("a"), leg("b"), name="both"))).crash("a")
    broken = flow_of(parallel(leg("a", broken=True), leg("b"), name="both"))
    stuck = redeployed(waits, broken).tick()
    assert (stuck.status, timers_of(stuck)) == (Status.ATTENTION, {"b:deadline": 60_000})


def test_an_error_of_several_lines_is_kept_whole() -> None:
    def build(s: Talk) -> Do:
        raise SyntaxError("odd", ("rules.py", 1, 1, "x =", 1, 2))

    odd: Any = step(Contract("odd", Do, Did, queue="q"), name="odd")(build)
    odd.undo(Contract("unodd", Do, Did, queue="q"))(lambda s: Do())
    attention = Scene.start(flow_of(odd)).attention
    assert attention is not None
    assert attention.message.startswith("the function of step 'odd' raised File \"rules.py\", line 1\n    x =\n")
