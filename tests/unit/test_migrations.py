"""Versions: pinned, side by side, and migrated when the old one is gone and the new one says how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, JsonValue

from sagaline.orchestrator.errors import UnknownInstance
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import CauseKind, Document, Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.testing.scene import Scene
from sagaline.sagas import Node, Saga
from sagaline.sagas.nodes import sleep

from .kernel_nodes import Talk, leg
from .stack import Stack, stack


class Longer(BaseModel):
    """The state of version 2: the number has another name."""

    number: int


def old(*nodes: Node[Talk]) -> Saga[Talk]:
    return Saga("talk", Talk, flow=nodes or [leg("a"), leg("b")])


def new(*nodes: Node[Longer], dropped: tuple[str, ...] = (), broken: bool = False) -> Saga[Longer]:
    steps = nodes or [leg("a", model=Longer), leg("b", model=Longer), leg("c", model=Longer)]
    saga = Saga("talk", Longer, version=2, flow=steps)

    @saga.migrate(from_version=1, dropped=dropped)
    def upgrade(before: dict[str, JsonValue]) -> Longer:
        if broken:
            raise RuntimeError("not thought of")
        return Longer(number=int(str(before["n"])))

    return saga


def deployed(scene: Scene, *definitions: Saga[Talk] | Saga[Longer]) -> Scene:
    """Only these are deployed from now on."""
    return replace(scene, definition=definitions[-1], registry=Registry(definitions))


@pytest.fixture
def running() -> Scene:
    return Scene.start(old(), {"n": 7}).ok("a")


def test_an_instance_stays_with_its_version_while_that_is_deployed(running: Scene) -> None:
    """New ones begin as the newest; both run side by side."""
    both = deployed(running, old(), new())
    ended = both.ok("b")
    assert (ended.document.version, ended.status) == (1, Status.COMPLETED)


def test_an_instance_whose_version_is_gone_goes_on_as_the_newer_one(running: Scene) -> None:
    """What it did stays done; its state is upgraded; the decision records it."""
    moved = deployed(running, new()).ok("b")
    assert (moved.document.version, moved.document.state) == (2, {"number": 7})
    assert moved.document.revision == running.document.revision + 1
    assert ("version", "1", "2") in [(each.what, each.before, each.after) for _, each in moved.changes]
    assert [moved.step(name) for name in "abc"] == [StepStatus.DONE, StepStatus.DONE, StepStatus.SENT]
    undone = moved.no("c").undo_ok("b").undo_ok("a")
    assert undone.status is Status.COMPENSATED


def test_what_changes_nothing_does_not_migrate(running: Scene) -> None:
    """A stray reply leaves the document as it is."""
    assert deployed(running, new()).late("a").document is running.document


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        (new(broken=True), "the migration of 'talk' from version 1 to 2 raised RuntimeError: not thought of; deploy"),
        (new(leg("b", model=Longer)), r"has no step 'a', which is on record \(done\); keep the step, or name it"),
        (new(leg("a", model=Longer), dropped=("b",)), "drops step 'b', which is sent: nothing would end or undo it"),
    ],
    ids=["raises", "step is gone", "step is under way"],
)
def test_a_migration_that_cannot_be_done_leaves_the_instance_as_it_was(
    running: Scene, definition: Saga[Longer], why: str
) -> None:
    """In attention, with what came kept; with a mended one it goes on by itself."""
    stuck = deployed(running, definition).ok("b", {"ok": True})
    before, after = running.document, stuck.document
    assert (after.version, after.state, after.steps) == (1, before.state, before.steps)
    assert after.status is Status.ATTENTION
    assert after.attention is not None
    assert after.attention.kind is CauseKind.VERSION
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(after.attention.message)
    refused = stuck.retry()
    assert refused.last is not None
    assert refused.last.outcome is Outcome.REFUSED
    assert refused.document == after
    mended = deployed(stuck, new()).retry()
    assert [mended.step(name) for name in "abc"] == [StepStatus.DONE, StepStatus.DONE, StepStatus.SENT]


def test_a_step_that_left_nothing_behind_may_be_dropped() -> None:
    """Its record goes with it."""
    scene = Scene.start(old(leg("look", undo=False), leg("b")), {"n": 7}).ok("look")
    moved = deployed(scene, new(leg("b", model=Longer), dropped=("look",))).ok("b")
    assert (moved.status, moved.step("look")) == (Status.COMPLETED, None)


def test_an_instance_that_has_ended_is_not_touched(running: Scene) -> None:
    """Whatever comes."""
    ended = deployed(running.ok("b"), new())
    assert ended.act(ActName.CANCEL).document == ended.document


async def seen(up: Stack, holds: Callable[[Document], bool]) -> Document:
    async with asyncio.timeout(10):
        while True:
            try:
                document = await up.client.get("talk/1")
            except UnknownInstance:
                document = None
            if document is not None and holds(document):
                return document
            await asyncio.sleep(0.02)


async def test_a_node_that_knows_the_version_wakes_what_waited_for_it(tmp_path: Path) -> None:
    """First a node that knows neither; then one that can migrate: nobody has to ask."""
    short = old(sleep("doze", timedelta(seconds=0.05)), leg("b"))
    async with stack(tmp_path, registry=Registry([short])) as first:
        await first.client.start("talk", {"n": 7}, key="1")
    other = Saga("other", Talk, flow=[leg("x")])
    async with stack(tmp_path, registry=Registry([other])) as second:
        await seen(second, lambda document: document.status is Status.ATTENTION)
    longer = new(sleep("doze", timedelta(seconds=9)), leg("b", model=Longer))
    async with stack(tmp_path, registry=Registry([longer])) as third:
        document = await seen(third, lambda document: document.version == 2)
        assert (document.status, document.state, document.steps["b"].status) == (
            Status.RUNNING,
            {"number": 7},
            StepStatus.SENT,
        )
