"""Every act that comes twice under one request id acts once, and every act is recomputed from its history."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Completed, JsonObject, Message, Rejected, Start
from sagaline.orchestrator.messages.outputs import Decision, Outcome, SendCommand
from sagaline.sagas import Contract, Node, Saga, pivot
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import ask
from sagaline.sagas.routing_slip import RoutingSlip, stop

from .kernel_nodes import Did, Do, Talk, command_named, flow_of, leg


def talk() -> Saga[Talk]:
    """A step, a question to ann, and past the pivot another step."""
    question: Node[Talk] = ask(
        "approve", Did, question=lambda s: "?", who=lambda s: ["ann"], into="did", due=timedelta(hours=1)
    )
    return flow_of(leg("a"), question, pivot, leg("b", undo=False))


@dataclass
class Life:
    """One instance and its whole history, as the engine records it."""

    saga: AnyDefinition = field(default_factory=talk)
    document: Document | None = None
    history: list[HistoryRecord] = field(default_factory=list)

    def play(self, message: Message) -> Decision:
        """Decides and records."""
        now_ms = 1_000 + len(self.history)
        decision = decide(self.saga, self.document, Arrival(message=message, now_ms=now_ms))
        self.document = after = decision.document
        sent = [action for action in decision.actions if isinstance(action, SendCommand)]
        self.history.append(
            HistoryRecord(
                instance=message.instance,
                revision=after.revision if after else 0,
                at_ms=now_ms,
                outcome=decision.outcome,
                status=after.status if after else None,
                message=message,
                changes=decision.changes,
                sent=tuple(SentCommand(id=each.id, contract=each.contract, queue=each.queue) for each in sent),
                code=decision.code,
                reason=decision.reason,
            )
        )
        return decision

    @property
    def id(self) -> str:
        return f"{self.saga.name}/k"

    def act(self, act: ActName, id: str, *, step: str = "", value: JsonObject | None = None) -> Decision:
        return self.play(Act(id=id, instance=self.id, act=act, by="ann", reason="it must be", step=step, value=value))

    def ok(self, command: str) -> None:
        self.play(Completed(id=command, instance=self.id, command_id=self._named(command), reply={"ok": True}))

    def rejects(self, command: str) -> None:
        self.play(Rejected(id=command, instance=self.id, command_id=self._named(command), reason="no", code="no"))

    def _named(self, command: str) -> str:
        assert self.document is not None
        return command_named(self.document, command)


def asked() -> Life:
    life = Life()
    life.play(Start(id="s", definition="talk", key="k", input={"n": 1}))
    life.ok("a/1")
    return life


def paused() -> Life:
    life = asked()
    life.act(ActName.PAUSE, "p")
    return life


def past_pivot() -> Life:
    life = asked()
    life.act(ActName.ANSWER, "yes", step="approve", value={"ok": True})
    return life


def refused() -> Life:
    life = past_pivot()
    life.rejects("b/1")
    return life


def undo_failed() -> Life:
    life = asked()
    life.act(ActName.CANCEL, "c")
    life.rejects("a/undo/1")
    return life


def travelling() -> Life:
    stops = [stop(Contract(name, Do, Did, queue="q"), name=name) for name in "ab"]
    life = Life(RoutingSlip("slip", Talk, stops=stops, hops=1))
    life.play(Start(id="s", definition="slip", key="k", input={"n": 1}))
    return life


PATCH: JsonObject = {"patch": [{"op": "replace", "path": "/n", "value": 7}]}
CASES = {
    ActName.CANCEL: (asked, "", None),
    ActName.PAUSE: (asked, "", None),
    ActName.RESUME: (paused, "", None),
    ActName.RETRY: (refused, "", None),
    ActName.ABANDON: (refused, "", None),
    ActName.ANSWER: (asked, "approve", {"ok": True}),
    ActName.CLAIM: (asked, "approve", None),
    ActName.ASSIGN: (asked, "approve", {"to": "ben"}),
    ActName.SKIP: (past_pivot, "b", {}),
    ActName.REVISE: (travelling, "", {"ahead": ["b", "a"]}),
    ActName.WAIVE: (undo_failed, "a", None),
    ActName.EDIT: (asked, "", PATCH),
    ActName.REPLACE_UNDO: (undo_failed, "a", {"command": {"n": 7}}),
    ActName.RESTART: (refused, "b", PATCH),
    ActName.FORK: (past_pivot, "b", {"key": "new", **PATCH}),
}


@pytest.mark.parametrize("act", ActName)
def test_an_act_that_comes_twice_acts_once(act: ActName) -> None:
    """The second time nothing changes and nothing leaves."""
    make, step, value = CASES[act]
    life = make()
    assert life.act(act, "r", step=step, value=value).outcome is Outcome.APPLIED
    once = life.document
    again = life.act(act, "r", step=step, value=value)
    assert (again.outcome, again.actions, again.changes) == (Outcome.UNCHANGED, (), ())
    assert life.document is once


@pytest.mark.parametrize("act", ActName)
def test_an_act_is_recomputed_from_its_history(act: ActName) -> None:
    """With what came after it; a history that tells another act comes out differently."""
    make, step, value = CASES[act]
    life = make()
    life.act(act, "r", step=step, value=value)
    life.act(act, "r", step=step, value=value)
    for command in ("b/1", "b+1/1", "b/2", "a/undo/1", "a/undo/2"):
        life.ok(command)
    found = recompute(life.saga, life.history)
    assert (found.document, found.difference, found.whole) == (life.document, None, True)
    assert recompute(flow_of(leg("z")), life.history).difference is not None
