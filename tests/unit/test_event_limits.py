"""No number of events is too many for who takes them; where there is no room, whoever asks for it is told at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.errors import EventDenied
from sagaline.orchestrator.kernel import Limits, Registry
from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import Denied, Published, Watch, mailbox_id
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Event, Node, Saga
from sagaline.sagas.nodes import emit, expect, loop, parallel, wait
from sagaline.sagas.process_manager import Next, ProcessManager

from .kernel_entities import Told, told
from .kernel_nodes import HOUR, LIFE, Paid, Talk, flow_of, leg, life_at, outcome_of, paid, timers_of
from .stack import Stack, stack

MANY = 130


def counted(*nodes: Node[Talk], name: str) -> Node[Talk]:
    """So many rounds, counted by events that come."""
    return loop(*nodes, while_=lambda s: (s.paid.amount if s.paid else 0) < MANY, rounds_max=200, name=name)


def test_a_loop_of_waits_gets_every_event() -> None:
    """Also past the number that is kept: what it has taken counts against nothing."""
    each = wait(expect(paid, key=lambda s: "k", into="paid"), timeout=HOUR, name="each")
    scene = Scene.start(flow_of(counted(each, name="all")))
    for number in range(1, MANY + 1):
        assert scene.status is Status.RUNNING
        scene = scene.receives(paid, Paid(amount=number), key="k")
    assert scene.status is Status.COMPLETED


def test_every_emit_is_there_for_who_waits_later() -> None:
    """In the order in which they went out."""
    out = emit(paid, lambda s: Paid(amount=(s.paid.amount if s.paid else 0) + 1), key=lambda s: "k", name="out")
    echo = wait(expect(paid, key=lambda s: "k", into="paid"), timeout=HOUR, name="echo")
    scene = Scene.start(flow_of(counted(out, echo, name="all")))
    assert scene.status is Status.COMPLETED
    assert [each.body["amount"] for each in scene.published] == list(range(1, MANY + 1))


def test_a_process_manager_gets_every_event_of_one_key() -> None:
    """However many come within their keep."""
    counter = ProcessManager("counter", Talk)
    counter.starts_on(paid, key=lambda e: "k")(lambda e: Next("counting", Talk(n=1)))
    counter.on(paid, key=lambda e: "k")(lambda s, e: Next("counting", s.model_copy(update={"n": s.n + 1})))
    scene = Scene.of(counter)
    for number in range(MANY):
        scene = scene.receives(paid, Paid(amount=number), key="k")
    assert (scene.state.n, len(scene.published)) == (MANY, MANY)


@pytest.mark.slow
def test_thousands_of_instances_may_wait_for_one_event() -> None:
    box, id = Told(), mailbox_id("paid", "k")
    for number in range(1_010):
        assert told(box.hear(Watch(id=f"w{number}", instance=id, by=f"s/{number}", place="wait", index=0))) == []
    event = Published(id="e", instance=id, event="paid", key="k", body={"amount": 1}, keep_ms=1_000)
    assert len(told(box.hear(event))) == 1_010


def denied_at(place: str) -> Denied:
    return Denied(id="d", instance="talk/k", place=place, code=ReasonCode.NO_ROOM, reason="there is no room")


def waiting_for_room() -> Scene:
    """A wait in a branch, and a step beside it."""
    return Scene.start(flow_of(parallel(wait(expect(paid, key=lambda s: "k"), timeout=HOUR, name="wait"), leg("a"))))


def test_a_wait_for_which_there_is_no_room_stands_in_attention_at_once() -> None:
    """Its time does not run; a retry begins it anew."""
    scene = waiting_for_room().play(denied_at(f"wait~{LIFE}"))
    assert (scene.status, scene.step("wait")) == (Status.ATTENTION, StepStatus.BLOCKED)
    assert scene.attention is not None
    assert (scene.attention.kind, scene.attention.step) == (CauseKind.LIMIT, "wait")
    assert scene.attention.message == "wait 'wait' was not registered: there is no room"
    assert "wait:deadline" not in timers_of(scene)
    again = scene.retry()
    assert (again.status, again.step("wait")) == (Status.RUNNING, StepStatus.WAITING)
    assert again.ok("a").receives(paid, Paid(amount=1), key="k").status is Status.COMPLETED


def test_a_step_for_whose_lock_there_is_no_room_fails_at_once() -> None:
    """As if it had not become free in time."""
    saga = flow_of(leg("a", locks="one"))
    scene = Scene.start(saga, {}, key="holder").play(Start(id="2", definition="talk", key="k", input={}))
    place = f"a~{life_at(scene, 'talk/k')}"
    denied = scene.play(denied_at(place))
    found = denied.entities["talk/k"]
    assert (found.status, found.cause.kind, found.cause.message) == (  # type: ignore[union-attr]  # an instance
        Status.COMPENSATED,
        CauseKind.LOCK,
        "there is no room",
    )


@pytest.mark.parametrize("place", ["wait", "a", "nowhere"])
def test_who_is_told_that_there_is_no_room_where_it_does_not_wait_ignores_it(place: str) -> None:
    scene = waiting_for_room().ok("a").receives(paid, Paid(amount=1), key="k")
    late = scene.play(denied_at(f"{place}~{LIFE}"))
    assert (outcome_of(late)[0], late.document) == ("ignored", scene.document)


rare = Event("rare", Paid, keep=timedelta(hours=1))
waits_for_rare = Saga("rare", Talk, flow=[wait(expect(rare, key=lambda s: "k"), timeout=HOUR)])


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path, registry=Registry([waits_for_rare]), limits=Limits(events_max=2)) as running_stack:
        yield running_stack


async def test_who_publishes_is_told_no_when_nobody_takes_it_and_there_is_no_room(up: Stack) -> None:
    """The same request over HTTP is a conflict; once somebody has taken one, there is room again."""
    for number in range(2):
        await up.client.publish(rare, Paid(amount=number), key="k")
    with pytest.raises(EventDenied, match="2 events of this kind and key are kept and none was delivered"):
        await up.client.publish(rare, Paid(amount=3), key="k")
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
        refused = await api.post("/v1/events/rare", json={"key": "k", "body": {"amount": 3}})
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:sagaline:problem:event-denied")
        assert refused.json()["code"] == "no-room"
        await up.client.start(waits_for_rare, Talk(), key="1")
        accepted = await api.post("/v1/events/rare", json={"key": "k", "id": "e", "body": {"amount": 3}})
        assert accepted.status_code == 202
    assert await up.client.publish(rare, Paid(amount=3), key="k", id="e") == "e"
