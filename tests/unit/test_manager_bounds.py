"""A process manager that lives for years: its document does not grow with what it has done."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.codec.documents import encode_document
from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Document, StepStatus
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, Completed, Message, Rejected
from sagaline.orchestrator.messages.outputs import Decision, SendCommand
from sagaline.sagas import Contract, Event, step
from sagaline.sagas.process_manager import Next, ProcessManager

EVENTS = 1_000


class Reading(BaseModel):
    meter: str = "m"


class Seen(BaseModel):
    count: int = 0


class Noted(BaseModel):
    ok: bool = True


read, closed = Event("read", Reading), Event("closed", Reading)
note = step(Contract("note", Seen, Noted, queue="q"), name="note")(lambda s: s)
bill = step(Contract("bill", Seen, Noted, queue="q"), name="bill")(lambda s: s)
bill.undo(Contract("unbill", Seen, Noted, queue="q"))(lambda s: s)


def meters(*, settles: bool) -> ProcessManager[Seen]:
    manager = ProcessManager("meters", Seen, steps=[note, bill])

    @manager.starts_on(read, key=lambda e: e.meter)
    def first(e: Reading) -> Next[Seen]:
        return Next("open", Seen(), do=[note, bill], timers={"idle": timedelta(days=1)})

    @manager.on(read, key=lambda e: e.meter)
    def more(s: Seen, e: Reading) -> Next[Seen]:
        settled = [bill] if settles else []
        return Next(
            "open", Seen(count=s.count + 1), do=[note, bill], settles=settled, timers={"idle": timedelta(days=1)}
        )

    @manager.on_done(note)
    def noted(s: Seen) -> Next[Seen]:
        return Next("open")

    @manager.on(closed, key=lambda e: e.meter)
    def close(s: Seen, e: Reading) -> Next[Seen]:
        return Next.fail("closed")

    return manager


class Life:
    """One instance and its workers; ``commands`` are those that were sent, in order."""

    def __init__(self, manager: ProcessManager[Seen], *, rejects: str = "") -> None:
        self.manager, self.rejects = manager, rejects
        self.document: Document | None = None
        self.commands: list[SendCommand] = []
        self.now_ms = 0

    def take(self, message: Message) -> Decision:
        self.now_ms += 1
        decision = decide(self.manager, self.document, Arrival(message=message, now_ms=self.now_ms))
        self.document = decision.document
        for action in decision.actions:
            if isinstance(action, SendCommand):
                self.commands.append(action)
                self.take(self.reply(action))
        return decision

    def reply(self, sent: SendCommand) -> Message:
        id = f"r{self.now_ms}"
        if sent.contract == self.rejects:
            return Rejected(id=id, instance="meters/m", command_id=sent.id, reason="no", code="no")
        return Completed(id=id, instance="meters/m", command_id=sent.id, reply={"ok": True})

    def event(self, number: int, name: str = "read") -> None:
        id = f"e{number}"
        self.take(EventDelivered(id=id, instance="meters/m", place="", index=0, event=name, event_id=id, body={}))

    @property
    def size(self) -> int:
        assert self.document is not None
        return len(encode_document(self.document))


def test_a_thousand_events_leave_a_document_as_small_as_three_hundred_do() -> None:
    life = Life(meters(settles=True))
    sizes = []
    for number in range(EVENTS):
        life.event(number)
        if number == 300:
            sizes.append(life.size)
    assert life.size < sizes[0] + 500
    assert life.size < 10_000
    assert len({each.id for each in life.commands}) == 2 * EVENTS


def test_what_is_to_be_undone_is_kept() -> None:
    life = Life(meters(settles=False))
    for number in range(20):
        life.event(number)
    assert life.document is not None
    assert sum(place.startswith("note") for place in life.document.steps) == 1
    life.event(20, "closed")
    undone = [each.step for each in life.commands if each.undo]
    assert undone == ["bill" if n == 1 else f"bill@{n}" for n in range(20, 0, -1)]


def test_settled_runs_are_not_undone_and_later_ones_are() -> None:
    life = Life(meters(settles=True))
    for number in range(20):
        life.event(number)
    life.take(Act(id="a", instance="meters/m", act=ActName.CANCEL, by="ann", reason="", step="", value=None))
    assert [each.step for each in life.commands if each.undo] == ["bill@20"]


def test_a_reply_to_a_forgotten_run_is_late() -> None:
    life = Life(meters(settles=True))
    for number in range(3):
        life.event(number)
    first = next(each for each in life.commands if each.step == "note")
    assert life.document is not None
    assert "note" not in life.document.steps
    before = life.document
    assert life.take(life.reply(first)).document == before


@pytest.mark.parametrize("rejects", ["note", "bill"])
def test_a_rejected_run_fails_the_process_as_before(rejects: str) -> None:
    life = Life(meters(settles=False), rejects=rejects)
    life.event(0)
    assert life.document is not None
    assert life.document.steps[rejects].status is StepStatus.REJECTED
    assert life.document.status == "compensated"
