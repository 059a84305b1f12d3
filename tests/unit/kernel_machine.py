"""The kernel under random messages, as a hypothesis state machine with a model of its own.

The model knows only what went in and what came out (commands and outcomes), never how the kernel keeps its books.
Checked: G3 (each command id once), G4 and purity (``lawful``), G5 (who is undone, once, in which order, and that
``compensated`` waits for all), G7 (never early, once), G8 (late, duplicate and stray replies change nothing).
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import BaseModel

from sagaline.orchestrator.kernel import Limits, block
from sagaline.orchestrator.messages.document import Document, Status, StepStatus
from sagaline.orchestrator.messages.inputs import (
    Act,
    ActName,
    Arrival,
    Completed,
    Failed,
    JsonObject,
    Message,
    Rejected,
    Start,
    TimerFired,
)
from sagaline.orchestrator.messages.outputs import Decision, Outcome, SendCommand
from sagaline.sagas import Saga

from .kernel_kit import REPLIES, TOO_LARGE, check_document, lawful, make_saga

Code = Saga[BaseModel] | None
PATIENT = timedelta(seconds=20)
EDITED: JsonObject = {"patch": [{"op": "replace", "path": "/n", "value": 7}]}


def _codes(flow: str, undo: str, attempt_timeout: timedelta | None) -> dict[str, Code]:
    """What may be deployed in the life of one instance."""
    return {
        "good": make_saga(flow, undo=undo, attempt_timeout=attempt_timeout),
        "broken": make_saga(flow, undo=undo, broken="bc", broken_undo="a", attempt_timeout=attempt_timeout),
        "none": None,
        "lacking": make_saga(flow[0], undo=undo),
    }


FLOWS: list[dict[str, Code]] = [
    _codes("abc", "abc", None),
    _codes("abc", "abc", PATIENT),
    _codes("abc", "ac", None),
    _codes("ab|c", "ab", PATIENT),
    _codes("a|bc", "a", None),
    _codes("abc", "", None),
]


class KernelMachine(RuleBasedStateMachine):
    """One instance. ``answers`` maps a command id to the kind of reply that was not late."""

    limits: ClassVar[Limits] = Limits()

    @initialize(codes=st.sampled_from(FLOWS))
    def begin(self, codes: dict[str, Code]) -> None:
        self.codes = codes
        self.code = codes["good"]
        self.now_ms = 1_000_000
        self.document: Document | None = None
        self.sent: list[SendCommand] = []
        self.answers: dict[str, str] = {}
        self.fired: set[tuple[str, int]] = set()
        self.done_order: list[str] = []
        self.undone: list[str] = []
        self.rejected: dict[str, bool] = {}
        self.count = 0
        self.apply(Start(id="s", definition="demo", key="k", input={"n": 1}))

    @property
    def live(self) -> Document:
        assert self.document is not None
        return self.document

    def apply(self, message: Message) -> Decision:
        decision = lawful(self.code, self.document, message, self.now_ms, self.limits)
        self.take(decision)
        return decision

    def take(self, decision: Decision) -> None:
        published = {command.id for command in self.sent}
        for action in decision.actions:
            if isinstance(action, SendCommand):
                assert action.id not in published, f"G3: {action.id} was published twice"
                published.add(action.id)
                self.sent.append(action)
        for change in decision.changes:
            if change.after == StepStatus.DONE:
                self.done_order.append(change.what)
            if change.after == StepStatus.UNDONE:
                assert self.was_answered(change.what, "completed", undo=True), "G5: undone without a worker's word"
                self.undone.append(change.what)
            if change.after == StepStatus.REJECTED:
                assert self.was_answered(change.what, "rejected", undo=False), "rejected without a worker's word"
            if change.after in (StepStatus.REJECTED, StepStatus.SENT):
                self.rejected[change.what] = change.after == StepStatus.REJECTED
        self.document = decision.document

    def was_answered(self, name: str, kind: str, *, undo: bool) -> bool:
        ids = {command.id for command in self.sent if command.step == name and command.undo is undo}
        return any(self.answers.get(id) == kind for id in ids)

    def new_id(self) -> str:
        self.count += 1
        return f"m{self.count}"

    # -- what can happen -------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(["completed", "completed", "completed", "rejected", "failed"]))
    @precondition(lambda self: self.sent)
    def newest_reply(self, kind: str) -> None:
        self.reply(self.sent[-1], kind)

    @rule(steps=st.integers(1, 4))
    def go_well(self, steps: int) -> None:
        """Good code, nobody interferes: so that lives get far enough to have something to undo."""
        self.code = self.codes["good"]
        for _ in range(steps):
            if self.sent[-1].id not in self.answers and not self.live.status.is_final:
                self.reply(self.sent[-1], "completed")

    @rule(steps=st.integers(1, 2), how=st.sampled_from(["rejected", "failed", "cancel"]))
    def go_well_then_turn(self, steps: int, how: str) -> None:
        """Some steps are done when the flow turns round; the first answers to its undos come at once."""
        self.go_well(steps)
        if how == "cancel":
            self.operator(ActName.CANCEL)
        else:
            self.reply(self.sent[-1], how)
        self.go_well(2)

    @rule(kind=st.sampled_from(["completed", "rejected", "failed"]))
    def away_for_a_reply(self, kind: str) -> None:
        """The code is away when the answer comes, and is deployed again."""
        self.code = None
        self.reply(self.sent[-1], kind)
        self.code = self.codes["good"]
        self.operator(ActName.RETRY)

    @rule(kind=st.sampled_from(["completed", "rejected", "failed"]))
    def old_attempt_answers(self, kind: str) -> None:
        """The newest attempt fails, the next one leaves, and then the old one answers after all."""
        old = self.sent[-1]
        self.reply(old, "failed")
        retry = [(name, due_ms) for name, due_ms in self.live.timers.items() if name.endswith(":retry")]
        if retry:
            self.now_ms = max(self.now_ms, retry[0][1])
            self.fire(*retry[0])
        self.reply(old, kind)

    @rule(fires=st.booleans())
    def pause_over_a_retry(self, fires: bool) -> None:
        """An attempt fails, and its retry comes due while the instance is paused."""
        self.reply(self.sent[-1], "failed")
        self.operator(ActName.PAUSE)
        retry = [(name, due_ms) for name, due_ms in self.live.timers.items() if name.endswith(":retry")]
        if fires and retry:
            self.now_ms = max(self.now_ms, retry[0][1])
            self.fire(*retry[0])
        self.operator(ActName.RESUME)

    @rule(kind=st.sampled_from(["completed", "rejected", "failed"]), pick=st.integers(0, 50))
    @precondition(lambda self: self.sent)
    def any_reply(self, kind: str, pick: int) -> None:
        """For any attempt there ever was: late ones and duplicates among them."""
        self.reply(self.sent[pick % len(self.sent)], kind)

    def reply(self, command: SendCommand, kind: str) -> None:
        message: Message
        id = self.new_id()
        if kind == "completed":
            message = Completed(id=id, instance="demo/k", command_id=command.id, reply=REPLIES[command.undo])
        elif kind == "rejected":
            message = Rejected(id=id, instance="demo/k", command_id=command.id, reason="no", code="no")
        else:
            message = Failed(id=id, instance="demo/k", command_id=command.id, error="boom")
        late = command is not self.sent[-1] or command.id in self.answers or self.live.status.is_final
        if not late:
            self.answers[command.id] = kind
        decision = self.apply(message)
        if late:
            assert decision.outcome is Outcome.IGNORED, f"G8: a late reply to {command.id} counted"
        elif decision.outcome is Outcome.IGNORED:
            del self.answers[command.id]

    @rule(tail=st.sampled_from(["a/9", "b/undo/9", "z/1", "a", "", "undo/undo/1"]))
    def stray_reply(self, tail: str) -> None:
        stray = Completed(id=self.new_id(), instance="demo/k", command_id=f"demo/k/{tail}", reply={"ok": True})
        assert self.apply(stray).outcome is Outcome.IGNORED, "G8: a stray reply counted"

    @rule(pick=st.integers(0, 5))
    @precondition(lambda self: self.live.timers and not self.live.status.is_final)
    def due_timer(self, pick: int) -> None:
        name, due_ms = sorted(self.live.timers.items(), key=lambda timer: (timer[1], timer[0]))[0]
        if pick:
            name = sorted(self.live.timers)[pick % len(self.live.timers)]
            due_ms = self.live.timers[name]
        self.now_ms = max(self.now_ms, due_ms)
        self.fire(name, due_ms)

    def fire(self, name: str, due_ms: int) -> None:
        message = TimerFired(id=self.new_id(), instance="demo/k", timer=name, due_ms=due_ms)
        self.apply(message)
        assert self.live.timers.get(name) != due_ms, "G7: a timer that fired is still set"
        assert self.apply(message).outcome is Outcome.IGNORED, "G7: a timer fired twice"

    @rule(early_ms=st.integers(1, 5_000))
    @precondition(lambda self: self.live.timers)
    def early_timer(self, early_ms: int) -> None:
        for name, due_ms in self.live.timers.items():
            if due_ms > self.now_ms:
                message = TimerFired(id=self.new_id(), instance="demo/k", timer=name, due_ms=due_ms)
                assert self.apply(message).outcome is Outcome.IGNORED, "G7: a timer fired early"
                moved = TimerFired(id=self.new_id(), instance="demo/k", timer=name, due_ms=due_ms - early_ms)
                assert self.apply(moved).outcome is Outcome.IGNORED, "G7: a timer fired that is not set"
                return

    @rule(act=st.sampled_from([ActName.CANCEL, ActName.PAUSE, ActName.RESUME, ActName.RETRY, ActName.EDIT]))
    def operator(self, act: ActName) -> None:
        """Acts on one step are kept to their laws elsewhere."""
        past_pivot, value = self.live.pivot_passed, EDITED if act is ActName.EDIT else None
        decision = self.apply(Act(id=self.new_id(), instance="demo/k", act=act, value=value))
        if act is ActName.CANCEL and past_pivot and not self.live.status.is_final:
            assert decision.outcome is Outcome.DENIED, "cancelled past the pivot"

    @rule(sure=st.integers(0, 9))
    @precondition(lambda self: self.live.status is Status.ATTENTION)
    def abandon(self, sure: int) -> None:
        if not sure:
            assert self.apply(Act(id=self.new_id(), instance="demo/k", act=ActName.ABANDON)).document is not None

    @rule(code=st.sampled_from(["good", "good", "broken", "none", "lacking"]))
    def deploy(self, code: str) -> None:
        self.code = self.codes[code]

    @rule()
    @precondition(lambda self: not self.live.status.is_final)
    def unstorable(self) -> None:
        """The outside could not store a decision and blocks the instance."""
        arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=self.now_ms)
        self.take(block(self.live, arrival, TOO_LARGE))
        check_document(self.live)

    @rule(same=st.booleans())
    def start_again(self, same: bool) -> None:
        start = Start(id=self.new_id(), definition="demo", key="k", input={"n": 1 if same else 2})
        assert self.apply(start).outcome is (Outcome.UNCHANGED if same else Outcome.DENIED)

    # -- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def undone_in_reverse_order(self) -> None:
        """G5, while it goes: undos begin in reverse order of completion, after those that may have happened."""
        begun = list(dict.fromkeys(command.step for command in self.sent if command.undo))
        done = [name for name in begun if name in self.done_order]
        assert done == sorted(done, key=self.done_order.index, reverse=True), "G5: undone in another order"
        assert begun == [name for name in begun if name not in done] + done, "G5: what may have happened comes first"

    @invariant()
    def an_open_undo_has_no_companion(self) -> None:
        open_undos = [name for name, record in self.live.steps.items() if record.status is StepStatus.UNDO_SENT]
        assert len(open_undos) <= 1, "G5: two undos at once"

    @invariant()
    def compensated_means_undone(self) -> None:
        """G5, at the end: all that took effect or may have is undone, once; nothing else is."""
        if self.live.status is not Status.COMPENSATED:
            return
        has_undo = {name for name, record in self.live.steps.items() if record.undo is not None}
        begun = {command.step for command in self.sent if not command.undo}
        expected = [name for name in begun & has_undo if not self.rejected[name]]
        assert sorted(self.undone) == sorted(expected), "G5: compensated, but not as it must be"

    def teardown(self) -> None:
        """Heal and demand liveness: with good code and willing workers every instance reaches an end (G4)."""
        if not hasattr(self, "document") or self.document is None:
            return
        self.code = self.codes["good"]
        for _ in range(60):
            if self.live.status.is_final:
                self.compensated_means_undone()
                return
            if self.live.paused:
                self.apply(Act(id=self.new_id(), instance="demo/k", act=ActName.RESUME))
            elif self.live.status is Status.ATTENTION:
                self.apply(Act(id=self.new_id(), instance="demo/k", act=ActName.RETRY))
            elif any(r.status in (StepStatus.SENT, StepStatus.UNDO_SENT) for r in self.live.steps.values()):
                assert self.sent[-1].id not in self.answers, "nobody is asked anything"
                self.reply(self.sent[-1], "completed")
            else:
                name, due_ms = min(self.live.timers.items(), key=lambda timer: timer[1])
                self.now_ms = max(self.now_ms, due_ms)
                self.fire(name, due_ms)
        raise AssertionError(f"G4: it never comes to an end: {self.live}")
