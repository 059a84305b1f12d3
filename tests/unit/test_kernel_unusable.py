"""What others say once is not lost when the decision about it cannot be stored: it waits for the operator's retry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sagaline.orchestrator.kernel import block
from sagaline.orchestrator.messages.document import Document, Status, StepStatus
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded, Granted, Routed, Unwind
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Message, Start
from sagaline.orchestrator.messages.values import Parent
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node
from sagaline.sagas.nodes import parallel, route, run

from .kernel_kit import TOO_LARGE
from .kernel_nodes import LIFE, Talk, flow_of, leg, told_by
from .test_kernel_children import CHILD, above, child
from .test_kernel_each import at, begun, starts


def ended(index: int | None, child: str) -> ChildEnded:
    state = Talk(n=7).model_dump(mode="json") if index is None else {"n": index, "did": None}
    return ChildEnded(
        id="x",
        instance="talk/k",
        place=f"sub~{LIFE}",
        index=index,
        child=child,
        end=ChildEnd.COMPLETED,
        state=state,
    )


def unstorable(scene: Scene, message: Message) -> Scene:
    """The message comes, and the decision about it is too large."""
    arrival = Arrival(message=message, now_ms=scene.now_ms)
    after = block(scene.document, arrival, TOO_LARGE).document
    assert after is not None
    assert after.status is Status.ATTENTION
    return replace(scene, entities={**scene.entities, scene.id: after})


def test_the_end_of_a_part_waits_for_the_retry() -> None:
    """Nobody says it again, and no timer would end the wait for it (G4)."""
    stuck = unstorable(begun(), ended(0, at(0)))
    assert stuck.step("sub") is StepStatus.SENT
    again = stuck.retry()
    assert (starts(again), again.state.seen) == ([], [0])
    assert starts(again.play(ended(1, at(1)))) == [at(2)]


def test_a_child_that_has_ended_is_not_begun_again() -> None:
    """What it did would be done twice, and the first never undone."""
    stuck = unstorable(above(), ended(None, CHILD))
    again = stuck.retry()
    assert (starts(again), again.step("sub"), again.state.inner.n) == ([], StepStatus.DONE, 7)
    back = stuck.cancel()
    assert [type(each) for each in told_by(back)] == [Unwind]
    assert (back.status, back.state.inner) == (Status.COMPENSATING, None)


def test_a_child_that_is_under_way_is_not_begun_again_because_of_its_neighbour() -> None:
    kid: Node[Talk] = run(child(), lambda s: Talk(n=s.n), timeout=None, name="sub")
    scene = Scene.start(flow_of(parallel(kid, leg("a"), name="all")))
    stuck = unstorable(scene, Granted(id="g", instance="talk/k", place="", lock="l"))
    assert (stuck.step("sub"), stuck.step("a")) == (StepStatus.SENT, StepStatus.BLOCKED)
    assert starts(stuck.retry()) == []


def test_the_answer_of_a_table_waits_for_the_retry() -> None:
    way = route("carriers", by=lambda s: {}, to={"post": leg("p")}, otherwise="post", name="way")
    scene = Scene.start(flow_of(leg("a"), way))
    asks = scene.ok("a")
    asks = replace(asks, entities={**asks.entities, "talk/k": _asking(asks.document)})
    stuck = unstorable(asks, Routed(id="r", instance="talk/k", place=f"way~{LIFE}", to="post", version=1))
    assert stuck.retry().step("p") is StepStatus.SENT


def _asking(document: Document) -> Document:
    """As it was before its table answered."""
    asked = replace(document.steps["way"], status=StepStatus.WAITING, memo={"facts": {}})
    steps = {place: record for place, record in document.steps.items() if place != "p"}
    return replace(document, steps=steps | {"way": asked}, timers={})


@pytest.mark.parametrize(
    "message",
    [
        Granted(id="g", instance="talk/k", place=f"a~{LIFE}", lock="l"),
        Unwind(
            id="u",
            instance="talk/k",
            parent=Parent(instance="p/k", place="sub", root="p/k", root_incarnation="k3x9wq2z"),
            reason="no",
        ),
    ],
    ids=lambda message: message.kind,
)
def test_what_is_said_once_is_kept(message: Message) -> None:
    stuck = unstorable(Scene.start(flow_of(leg("a"))), message)
    assert stuck.document.deferred == (message,)
    if isinstance(message, Unwind):
        assert stuck.act(ActName.RETRY).document.backward
    assert not any(isinstance(each, Start) for each in told_by(stuck))
