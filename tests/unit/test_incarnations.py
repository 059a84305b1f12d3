"""Two lives of one key: after the retention the key is free, and nothing of the first life touches the second."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Document, Status, StepStatus
from sagaline.orchestrator.messages.entities import Mailbox
from sagaline.orchestrator.messages.entity_messages import (
    ChildEnd,
    ChildEnded,
    EventDelivered,
    ExpiryRequested,
    Granted,
    Published,
    mailbox_id,
)
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Message, Start, TimerFired
from sagaline.orchestrator.messages.outputs import (
    Outcome,
    incarnation_of,
    label_of,
    place_of_label,
    shown_label,
    taker_of,
)
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Event, Rejected, Saga, step
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import emit, expect, run, wait
from sagaline.sagas.process_manager import Next, ProcessManager
from sagaline.sagas.routing_slip import RoutingSlip, stop
from sagaline.testing import World

from .kernel_nodes import LIFE, Did, Do, Paid, Talk, flow_of, leg, outcome_of, paid, redeployed

ID = "talk/k"


def over(scene: Scene) -> Scene:
    """The retention is over: nothing is left of the instance."""
    due_ms = scene.document.timers["~retention"]
    fired = TimerFired(id="t", instance=scene.id, timer="~retention", due_ms=due_ms)
    gone = replace(scene, now_ms=due_ms).play(fired)
    assert gone.id not in gone.entities
    return gone


def again(scene: Scene, input: dict[str, int] | None = None) -> Scene:
    """The key is used again."""
    name, _, key = scene.id.partition("/")
    return scene.play(Start(id="again", definition=name, key=key, input=dict(input or {})))


def second_life(definition: AnyDefinition) -> Scene:
    """The first life has completed and gone, and the second has begun."""
    return again(over(Scene.start(definition).settle()))


charge = step(Contract("charge", Do, Did, queue="q"), into="did", name="charge")(lambda s: Do(n=s.n))
charge.undo(Contract("refund", Do, Did, queue="q"))(lambda s: Do(n=s.n))
pack = leg("pack", undo=False)
bank = Saga("bank", Talk, flow=[charge, pack], retention=timedelta(minutes=5))


@pytest.mark.slow
@pytest.mark.parametrize("first", ["completed", "compensated"])
def test_the_handlers_are_called_again_for_a_key_that_is_used_again(first: str) -> None:
    """Through the worker's inbox: neither the first life's receipts nor its closed doors count."""
    with World(bank) as world:
        world.answer(pack.contract, Did() if first == "completed" else Rejected("no"))
        order = world.start(bank, "A", {"n": 1})
        world.settle()
        assert world.status(order) == first
        world.advance(minutes=6)
        world.answer(pack.contract, Did())
        assert world.start(bank, "A", {"n": 2}) == order
        world.settle()
        assert world.status(order) == "completed"
        assert [command for name, command in world.calls if name == "charge"] == [Do(n=1), Do(n=2)]


def test_effect_keys_and_command_ids_differ_between_two_lives() -> None:
    """The instance's id, the step and the attempt stay where they were."""
    second = second_life(flow_of(leg("a"), leg("b")))
    first, other = (command for command in second.sent if command.step == "a")
    life = second.document.incarnation
    assert life == incarnation_of("again", second.now_ms)
    assert (first.effect_key, first.id) == (f"talk/k/a~{LIFE}", f"talk/k/a~{LIFE}/1")
    assert (other.effect_key, other.id) == (f"talk/k/a~{life}", f"talk/k/a~{life}/1")
    assert life != LIFE


def test_an_incarnation_is_told_by_the_request_and_the_time() -> None:
    """The same request sent again after the retention, and another at the same millisecond."""
    assert incarnation_of("r", 1) == incarnation_of("r", 1)
    assert len({incarnation_of("r", 1), incarnation_of("r", 2), incarnation_of("s", 1)}) == 3
    assert len(incarnation_of("ü" * 1000, 2**60)) == 8
    assert incarnation_of("x", 0).isalnum()


def test_labels_name_place_life_and_generation() -> None:
    for place in ("charge", "poll@3.2", "~3.1"):
        for generation in (0, 2):
            for life in ("", "k3x9wq2z"):
                label = label_of(place, generation, life)
                assert place.startswith("~") or place_of_label(label) == place
    assert label_of("charge", 2, "k3x9wq2z") == "charge~k3x9wq2z+2"
    assert shown_label("charge~k3x9wq2z+2") == "charge+2"
    assert shown_label("charge~k3x9wq2z") == shown_label("charge") == "charge"
    assert taker_of("a/b", "wait~k3x9wq2z+1") == "a/b~k3x9wq2z"
    assert taker_of("a/b", "wait") == "a/b"


def test_a_late_reply_of_the_first_life_is_for_nobody() -> None:
    second = second_life(flow_of(leg("a"), leg("b")))
    late = next(command for command in second.sent if command.step == "a")
    assert second.step("a") is StepStatus.SENT
    told = second._completed(late, None)
    assert outcome_of(told)[0] is Outcome.IGNORED
    assert told.step("a") is StepStatus.SENT


def test_a_restart_in_a_second_life_has_keys_of_its_own() -> None:
    second = redeployed(second_life(flow_of(leg("a"), leg("b"))), flow_of(leg("a"), leg("b", broken=True))).ok("a")
    assert second.status is Status.ATTENTION
    anew = second.act(ActName.RESTART, "again", step="a").undo_ok("a")
    assert anew.open("a").effect_key == f"talk/k/a~{second.document.incarnation}+1"


MESSAGES: dict[str, tuple[Saga[Talk], str, Message]] = {
    "child": (
        flow_of(run(Saga("child", Talk, flow=[leg("x")]), lambda s: Talk(), name="sub")),
        "sub",
        ChildEnded(
            id="x", instance=ID, place=f"sub~{LIFE}", index=None, child="child/x", end=ChildEnd.COMPLETED, state={}
        ),
    ),
    "lock": (
        flow_of(leg("a", locks="one")),
        "a",
        Granted(id="x", instance=ID, place=f"a~{LIFE}", lock="one"),
    ),
    "event": (
        flow_of(wait(expect(paid, key=lambda s: "p"), timeout=timedelta(hours=1), name="pay")),
        "pay",
        EventDelivered(
            id="x", instance=ID, place=f"pay~{LIFE}", index=0, event="paid", event_id="e", body={"amount": 1}
        ),
    ),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_what_others_said_to_the_first_life_does_not_reach_the_second(what: str) -> None:
    """Each stands open in the second life at the same place."""
    saga, place, message = MESSAGES[what]
    begun = Scene.start(saga)
    document = replace(begun.document, incarnation="another2")
    before = document.steps[place].status
    decision = decide(saga, document, Arrival(message=message, now_ms=0))
    assert (decision.outcome, decision.document) == (Outcome.IGNORED, document)
    assert before in (StepStatus.SENT, StepStatus.WAITING, StepStatus.LOCKING)


def test_a_child_that_stands_from_the_first_life_is_not_taken_for_the_second_one_s() -> None:
    """It stays as long as its retention; the second life begins one of its own."""
    kid = Saga("child", Talk, flow=[leg("x")], retention=timedelta(days=60))
    second = second_life(flow_of(run(kid, lambda s: Talk(n=s.n), name="sub")))
    assert (second.status, second.step("sub")) == (Status.RUNNING, StepStatus.SENT)
    assert sorted(id for id in second.entities if id.startswith("child/")) == sorted(
        [f"child/talk/k/sub~{LIFE}", f"child/talk/k/sub~{second.document.incarnation}"]
    )
    assert second.ok("x").status is Status.COMPLETED


def test_a_child_of_the_first_life_may_leave_while_the_second_lives() -> None:
    kid = Saga("child", Talk, flow=[leg("x")], retention=timedelta(days=60))
    second = second_life(flow_of(run(kid, lambda s: Talk(n=s.n), name="sub")))
    child = second.entities[f"child/talk/k/sub~{LIFE}"]
    assert isinstance(child, Document)
    due_ms = child.timers["~retention"]
    fired = TimerFired(id="t", instance=child.id, timer="~retention", due_ms=due_ms)
    left = replace(second, now_ms=due_ms).play(fired)
    assert child.id not in left.entities
    own = ExpiryRequested(id="m", instance=ID, child="c", incarnation=second.document.incarnation)
    assert outcome_of(second.play(own))[1] == "the child is still needed"


def test_an_event_that_the_first_life_has_taken_comes_to_the_second() -> None:
    """It is kept for those who begin to wait; who has had it is that life alone."""
    lasting = Event("paid", Paid, keep=timedelta(days=60))
    saga = flow_of(wait(expect(lasting, key=lambda s: "p", into="paid"), timeout=timedelta(hours=1), name="pay"))
    first = Scene.start(saga).receives(lasting, {"amount": 4})
    assert first.status is Status.COMPLETED
    second = again(over(first))
    assert (second.status, second.state.paid) == (Status.COMPLETED, Paid(amount=4))
    box = second.entities[mailbox_id("paid", "p")]
    assert isinstance(box, Mailbox)
    assert [each.place for each in box.kept[0].taken_by] == [f"pay~{LIFE}", f"pay~{second.document.incarnation}"]


def test_what_both_lives_emit_are_two_events() -> None:
    said = Event("said", Talk, keep=timedelta(days=60))
    second = second_life(flow_of(emit(said, lambda s: s, key=lambda s: "k", name="tell"), leg("a")))
    first, other = second.published
    assert first.id != other.id
    assert outcome_of(second)[0] is Outcome.APPLIED
    box = second.entities[mailbox_id("said", "k")]
    assert isinstance(box, Mailbox)
    assert [each.id for each in box.kept] == [first.id, other.id]


def test_a_process_manager_s_second_life_is_another_one() -> None:
    """It is told by the event that begins it; the first life's events and commands are its own."""
    pm: ProcessManager[Talk] = ProcessManager("pm", Talk, steps=[charge])
    pm.starts_on(paid, key=lambda e: "k")(lambda e: Next("busy", Talk(n=e.amount), do=[charge]))
    pm.on_done(charge)(lambda s: Next.complete())
    first = Scene.of(pm).play(came("one")).ok("charge")
    assert first.status is Status.COMPLETED
    second = over(first).play(came("two"))
    one, two = second.sent
    assert one.effect_key == f"pm/k/charge~{incarnation_of('one', 0)}"
    assert two.effect_key == f"pm/k/charge~{incarnation_of('two', second.now_ms)}"


def came(id: str) -> Published:
    return Published(id=id, instance=mailbox_id("paid", "k"), event="paid", key="k", body={"amount": 1}, keep_ms=1)


def test_a_slip_carries_its_life_from_worker_to_worker() -> None:
    """The worker that sends it on names the next command as the orchestrator would."""
    stops = [
        stop(Contract(f"do-{name}", Do, Did, queue="q"), name=name, timeout=timedelta(minutes=1)) for name in ("a", "b")
    ]
    slip: RoutingSlip[Talk] = RoutingSlip("slip", Talk, stops=stops, hops=2)
    begun = Scene.start(slip)
    done = begun.ok("a")
    life = done.document.incarnation
    assert [command.id for command in done.sent] == [f"slip/k/a~{life}/1", f"slip/k/b~{life}/1"]
    assert done.ok("b").status is Status.COMPLETED
