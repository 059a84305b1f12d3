"""Several runs of one key: starts that queue, replace, repeat, and what each run sends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaline.orchestrator.codec.documents import decode_document, encode_document
from sagaline.orchestrator.kernel import decide, decline
from sagaline.orchestrator.kernel.context import RETENTION
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.inputs import (
    Act,
    ActName,
    Arrival,
    Completed,
    Conflict,
    Message,
    Rejected,
    Start,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import DeadLetter, Decision, Outcome, SendCommand, Tell
from sagaline.orchestrator.messages.reasons import Reason, ReasonCode
from sagaline.sagas import Saga

from .kernel_kit import Notes, make_step

FLOW: Saga[Notes] = Saga("demo", Notes, version=1, flow=[make_step("a", undo=True), make_step("b", undo=False)])


class Key:
    """One key: what it is told, and what it tells itself, one after the other."""

    def __init__(self) -> None:
        self.document: Document | None = None
        self.now_ms = 1_000
        self.own: deque[Message] = deque()
        self.commands: list[SendCommand] = []
        self.began: list[str] = []
        self.dead: list[str] = []

    def take(self, message: Message) -> Decision:
        self.now_ms += 1
        decision = decide(FLOW, self.document, Arrival(message=message, now_ms=self.now_ms))
        before, after = self.document, decision.document
        if before is not None and after is not None:
            grows = decision.outcome in (Outcome.APPLIED, Outcome.DEFERRED)
            assert after.revision == before.revision + grows
        if after is not None:
            assert decode_document(encode_document(after)) == after
            if before is None or before.incarnation != after.incarnation:
                self.began.append(after.started_by)
        self.document = after
        for action in decision.actions:
            match action:
                case SendCommand():
                    self.commands.append(action)
                case Tell(message=told):
                    self.own.append(told)
                case DeadLetter(reason=reason):
                    self.dead.append(reason)
                case _:
                    raise AssertionError(action)
        return decision

    def start(self, id: str, conflict: Conflict = Conflict.REJECT, n: int = 1) -> Decision:
        return self.take(Start(id=id, definition="demo", key="k", input={"n": n}, conflict=conflict))

    def settle(self) -> None:
        while self.own:
            self.take(self.own.popleft())

    def answer(self, *, no: bool = False) -> Decision | None:
        """The worker answers the last command that is open."""
        if not self.commands:
            return None
        sent = self.commands.pop()
        reply = {"was_done": True} if sent.undo else {"ok": True}
        if no and not sent.undo:
            return self.take(Rejected(id=f"r-{sent.id}", instance="demo/k", command_id=sent.id, reason="no", code="no"))
        return self.take(Completed(id=f"r-{sent.id}", instance="demo/k", command_id=sent.id, reply=reply))

    @property
    def status(self) -> Status:
        assert self.document is not None
        return self.document.status


def test_a_queued_start_begins_when_the_run_before_has_ended_with_commands_of_its_own() -> None:
    key = Key()
    key.start("one")
    first = key.commands[0]
    waits = key.start("two", Conflict.QUEUE, n=2)
    assert (waits.outcome, waits.code, key.status) == (Outcome.APPLIED, ReasonCode.QUEUED, Status.RUNNING)
    key.answer()
    key.answer()
    assert key.status is Status.COMPLETED
    key.settle()
    assert (key.began, key.status) == (["one", "two"], Status.RUNNING)
    assert key.commands[0].id != first.id
    assert key.commands[0].effect_key != first.effect_key
    late = key.take(Completed(id="late", instance="demo/k", command_id=first.id, reply={"ok": True}))
    assert late.outcome is Outcome.IGNORED
    key.answer()
    key.answer()
    assert key.status is Status.COMPLETED
    assert not key.own


def test_a_start_that_replaces_undoes_the_run_before_and_drops_the_waiting_ones() -> None:
    key = Key()
    key.start("one")
    key.answer()  # step a is done
    key.start("two", Conflict.QUEUE)
    key.start("three", Conflict.REPLACE)
    assert key.status is Status.COMPENSATING
    while key.commands:
        key.answer()
    assert key.status is Status.COMPENSATED
    key.settle()
    assert (key.began, key.status) == (["one", "three"], Status.RUNNING)
    dropped = key.start("two", Conflict.QUEUE)
    assert (dropped.outcome, dropped.code) == (Outcome.DENIED, ReasonCode.STALE)


def test_after_the_end_a_start_with_a_policy_begins_at_once_and_one_without_does_not() -> None:
    key = Key()
    key.start("one")
    key.answer()
    key.answer()
    assert key.start("again", n=2).code is ReasonCode.KEY_TAKEN
    assert key.start("two", Conflict.QUEUE, n=1).outcome is Outcome.APPLIED
    assert key.began == ["one", "two"]


@pytest.mark.parametrize("conflict", [Conflict.QUEUE, Conflict.REPLACE])
def test_a_repeated_start_is_taken_once(conflict: Conflict) -> None:
    key = Key()
    key.start("one", conflict)
    assert key.start("one", conflict).code is ReasonCode.DUPLICATE
    key.start("two", conflict)
    again = key.start("two", conflict)
    assert (again.outcome, again.code) == (Outcome.UNCHANGED, ReasonCode.QUEUED)
    while key.commands:
        key.answer()
    key.settle()
    while key.commands:
        key.answer()
    for id in ("one", "two"):
        assert key.start(id, conflict).code is ReasonCode.DUPLICATE
    assert key.began == ["one", "two"]


def test_the_queue_is_bounded_and_a_replacement_past_the_pivot_is_denied() -> None:
    key = Key()
    key.start("one")
    for number in range(16):
        assert key.start(f"q{number}", Conflict.QUEUE).code is ReasonCode.QUEUED
    full = key.start("q16", Conflict.QUEUE)
    assert (full.outcome, full.code) == (Outcome.DENIED, ReasonCode.NO_ROOM)
    assert key.document is not None
    key.document = replace(key.document, pivot_passed=True)
    denied = key.start("new", Conflict.REPLACE)
    assert (denied.outcome, denied.code) == (Outcome.DENIED, ReasonCode.PAST_PIVOT)
    assert len(key.document.queued) == 16


def test_a_waiting_start_that_cannot_begin_any_more_is_dead_and_the_next_one_comes() -> None:
    key = Key()
    key.start("one")
    key.take(Start(id="bad", definition="demo", key="k", input={"n": "text"}, conflict=Conflict.QUEUE))
    key.start("three", Conflict.QUEUE)
    key.answer(no=True)
    key.settle()
    assert key.began == ["one", "three"]
    assert ["the input is not valid" in reason for reason in key.dead] == [True]
    repaired = key.take(Start(id="bad", definition="demo", key="k", input={"n": 4}, conflict=Conflict.QUEUE))
    assert (repaired.outcome, repaired.code) == (Outcome.APPLIED, ReasonCode.QUEUED)


def test_a_waiting_start_that_cannot_be_stored_is_dead_and_the_next_one_comes() -> None:
    key = Key()
    key.start("one")
    key.start("large", Conflict.QUEUE)
    key.start("three", Conflict.QUEUE)
    key.answer(no=True)
    (told,) = key.own
    too_large = decline(key.document, Arrival(message=told, now_ms=9), Reason(ReasonCode.TOO_LARGE, "too large"))
    assert [type(each) for each in too_large.actions] == [DeadLetter, Tell]
    assert too_large.document is not None
    assert [each.id for each in too_large.document.queued] == ["three"]


def test_a_start_that_still_waits_at_the_end_of_the_retention_begins_then() -> None:
    key = Key()
    key.start("one")
    key.start("two", Conflict.QUEUE)
    key.answer(no=True)
    key.own.clear()
    assert key.document is not None
    key.now_ms = key.document.timers[RETENTION]
    key.take(TimerFired(id="t", instance="demo/k", timer=RETENTION, due_ms=key.now_ms))
    assert key.document is None
    key.settle()
    assert key.began == ["one", "two"]


def test_all_starts_that_still_wait_at_the_end_of_the_retention_begin_one_after_the_other() -> None:
    key = Key()
    key.start("one")
    for id in ("two", "three", "four"):
        key.start(id, Conflict.QUEUE)
    key.answer()
    key.answer()
    assert key.document is not None
    key.own.clear()  # the first of them is still on its way
    due_ms = key.document.timers[RETENTION]
    key.now_ms = due_ms
    key.take(TimerFired(id="t", instance="demo/k", timer=RETENTION, due_ms=due_ms))
    assert key.document is None
    for _ in range(10):
        key.settle()
        key.answer()
    assert (key.began, key.status) == (["one", "two", "three", "four"], Status.COMPLETED)


def test_an_abandoned_run_is_followed_by_the_next() -> None:
    broken: Saga[Notes] = Saga("demo", Notes, version=1, flow=[make_step("a", undo=False, broken=True)])
    first = decide(broken, None, Arrival(message=_start("one"), now_ms=1)).document
    second = decide(broken, first, Arrival(message=_start("two", Conflict.QUEUE), now_ms=2)).document
    gone = decide(
        broken,
        second,
        Arrival(message=Act(id="x", instance="demo/k", act=ActName.ABANDON), now_ms=3),
    )
    assert [action.message.id for action in gone.actions if isinstance(action, Tell)] == ["two"]


def _start(id: str, conflict: Conflict = Conflict.REJECT) -> Start:
    return Start(id=id, definition="demo", key="k", input={"n": 1}, conflict=conflict)


MOVES = st.sampled_from(["queue", "replace", "repeat", "plain", "answer", "no", "own", "cancel"])


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, max_size=40))
def test_every_start_that_was_taken_begins_once_or_is_replaced(moves: Sequence[str]) -> None:
    key, taken, replaced = Key(), [], set[str]()
    for number, move in enumerate(["plain", *moves]):
        id = f"s{number}"
        match move:
            case "queue" | "replace":
                waiting = {each.id for each in key.document.queued} if key.document else set()
                decision = key.start(id, Conflict(move))
                if decision.outcome is Outcome.APPLIED:
                    taken.append(id)
                    replaced |= waiting if move == "replace" else set()
            case "repeat" if taken:
                key.start(taken[number % len(taken)], Conflict.QUEUE)
            case "plain":
                if key.start(id, n=number).outcome is Outcome.APPLIED:
                    taken.append(id)
            case "answer" | "no":
                key.answer(no=move == "no")
            case "own" if key.own:
                key.take(key.own.popleft())
            case "cancel":
                key.take(Act(id=f"c{number}", instance="demo/k", act=ActName.CANCEL))
            case _:
                pass
    for _ in range(400):
        key.settle()
        if key.answer() is None and not key.own:
            break
    assert key.status.is_final
    assert len(key.began) == len(set(key.began))
    assert set(taken) - replaced <= set(key.began) <= set(taken)
