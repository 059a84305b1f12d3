"""Versions: pinned, side by side, and migrated when the old one is gone and the new one says how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, JsonValue

from sagaline.orchestrator.errors import UnknownInstance
from sagaline.orchestrator.kernel import Limits, Registry, decide
from sagaline.orchestrator.messages.document import CauseKind, Document, Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName, Arrival, Completed, TimerFired
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node, Saga
from sagaline.sagas.nodes import parallel, run, sleep

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
    undone = moved.rejects("c").undo_ok("b").undo_ok("a")
    assert undone.status is Status.COMPENSATED


def test_what_changes_nothing_does_not_migrate(running: Scene) -> None:
    """A stray reply leaves the document as it is."""
    assert deployed(running, new()).late("a").document is running.document


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        (new(broken=True), "the migration of 'talk' from version 1 to 2 raised RuntimeError: not thought of; fix it"),
        (new(leg("b", model=Longer)), r"has no step 'a', which is on record \(done\); keep the step, or name it"),
        (new(leg("a", model=Longer), dropped=("b",)), "drops step 'b', which is sent and could not be ended or undone"),
    ],
    ids=["raises", "step is gone", "step is under way"],
)
def test_a_migration_that_cannot_be_done_leaves_the_instance_as_it_was(
    running: Scene, definition: Saga[Longer], why: str
) -> None:
    """In attention, with what came kept; with a meredeploy it goes on by itself."""
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
    assert refused.last.outcome is Outcome.DENIED
    assert refused.document == after
    mended = deployed(stuck, new()).retry()
    assert [mended.step(name) for name in "abc"] == [StepStatus.DONE, StepStatus.DONE, StepStatus.SENT]


class Outside(BaseModel):
    """Its field is called otherwise by those who are sent it."""

    number: int = Field(alias="theNumber")


def test_a_migrated_state_is_kept_under_its_own_names(running: Scene) -> None:
    """As every state is."""
    newer = Saga("talk", Outside, version=2, flow=[leg("a", model=Outside), leg("b", model=Outside)])

    @newer.migrate(from_version=1)
    def upgrade(before: dict[str, JsonValue]) -> Outside:
        return Outside(theNumber=int(str(before["n"])))

    moved = replace(running, definition=newer, registry=Registry([newer])).ok("b")
    assert (moved.status, moved.document.state) == (Status.COMPLETED, {"number": 7})


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


def told(scene: Scene) -> str:
    """Why it stands; the decision says the same."""
    assert scene.attention is not None
    assert scene.last is not None
    assert (scene.last.outcome, scene.last.reason) == (Outcome.DEFERRED, scene.attention.message)
    return scene.attention.message


def test_why_an_instance_cannot_migrate_is_said_word_for_word(running: Scene) -> None:
    """To whoever deploys; a later message that is kept says it again."""
    way = "the migration of 'talk' from version 1 to 2"
    undeclared = Saga("talk", Longer, version=2, flow=[leg("a", model=Longer)])
    assert told(_decided(running, undeclared)) == (f"{way} is not declared; deploy version 1, or declare the migration")
    gone = new(leg("b", model=Longer))
    stuck = deployed(running, gone).ok("b", {"ok": True})
    why = f"{way} has no step 'a', which is on record (done); keep the step, or name it in dropped"
    assert told(stuck) == why
    retried = stuck.retry()
    assert retried.last is not None
    assert (retried.last.outcome, retried.last.reason) == (Outcome.DENIED, why)
    late = stuck.advance(timedelta(minutes=1))
    assert late.last is not None
    assert late.last.reason == why
    assert told(deployed(running, new(leg("a", model=Longer), dropped=("b",))).ok("b", {"ok": True})) == (
        f"{way} drops step 'b', which is sent and could not be ended or undone; keep it"
    )
    undone_by = new(leg("b", model=Longer), dropped=("a",))
    assert told(deployed(running, undone_by).ok("b")) == (
        f"{way} drops step 'a', which is done and could not be ended or undone; keep it"
    )
    assert told(deployed(running, new(broken=True)).ok("b")) == (
        f"{way} raised RuntimeError: not thought of; fix it and redeploy"
    )


def _decided(scene: Scene, definition: Saga[Longer]) -> Scene:
    """By a definition that the registry would not choose."""
    reply = Completed(id="r", instance=scene.id, command_id=scene.open("b").id, reply={"ok": True})
    decision = decide(definition, scene.document, Arrival(message=reply, now_ms=0))  # type: ignore[arg-type]
    assert decision.document is not None
    return replace(scene, entities={**scene.entities, scene.id: decision.document}, last=decision)


def test_a_migration_that_gives_another_model_is_none(running: Scene) -> None:
    saga = Saga("talk", Longer, version=2, flow=[leg("a", model=Longer), leg("b", model=Longer)])
    saga.migrate(from_version=1)(lambda before: Talk())  # type: ignore[arg-type,return-value]
    assert told(deployed(running, saga).ok("b")) == (
        "the migration of 'talk' from version 1 to 2 raised TypeError: it returned a Talk, not a Longer; "
        "fix it and redeploy"
    )


def test_a_long_reason_is_cut(running: Scene) -> None:
    reply = Completed(id="r", instance=running.id, command_id=running.open("b").id, reply={"ok": True})
    arrival = Arrival(message=reply, now_ms=0)
    definition: Any = new(broken=True)
    short = decide(definition, running.document, arrival, Limits(detail_chars=20)).document
    assert short is not None
    assert short.attention is not None
    assert short.attention.message == "the migra … redeploy"


def test_timers_of_a_dropped_step_go_with_it(running: Scene) -> None:
    """Those of others stay."""
    refused = Scene.start(old(parallel(leg("a", undo=False), leg("b"), need="any", name="both")), {"n": 7})
    assert refused.timers
    kept = new(parallel(leg("a", undo=False, model=Longer), leg("b", model=Longer), need="any", name="both"))
    moved = deployed(refused, kept).crash("a")
    assert [timer.name for timer in moved.timers] == ["a:retry", "a:deadline", "b:deadline"]


def test_a_late_reply_of_an_old_version_says_so(running: Scene) -> None:
    late = deployed(running, new()).late("a")
    assert late.last is not None
    assert late.last.reason == "no open attempt waits for this reply: it is late, a duplicate or stray"
    ended = running.ok("b")
    assert ended.late("b").last is not None
    assert ended.late("b").last.reason == late.last.reason  # type: ignore[union-attr]


def test_a_migration_that_raises_has_not_touched_the_state() -> None:
    """Whatever it did to what it was given."""
    nested = Saga("talk", Longer, version=2, flow=[leg("a", model=Longer), leg("b", model=Longer)])

    @nested.migrate(from_version=1)
    def upgrade(before: dict[str, Any]) -> Longer:
        before["offers"].append({"price": 1})
        raise ValueError("no")

    scene = Scene.start(old(), {"offers": [{"price": 7}]}).ok("a")
    stuck = deployed(scene, nested).ok("b")
    assert stuck.document.state["offers"] == [{"price": 7}]


def test_the_limits_hold_for_what_a_migrated_instance_does(running: Scene) -> None:
    reply = Completed(id="r", instance=running.id, command_id=running.open("b").id, reply={"ok": True})
    definition: Any = new()
    moved = decide(definition, running.document, Arrival(message=reply, now_ms=0), Limits(command_bytes=1)).document
    assert moved is not None
    assert moved.attention is not None
    assert (moved.version, moved.attention.kind) == (2, CauseKind.TOO_LARGE)


def kid(version: int, *, migrates: bool = True) -> Saga[Talk] | Saga[Longer]:
    """A child of one step; the newer one undoes what the older one did."""
    if version == 1:
        return Saga("kid", Talk, flow=[leg("in")])
    saga = Saga("kid", Longer, version=version, flow=[leg("in", model=Longer)])
    if migrates:

        @saga.migrate(from_version=1)
        def upgrade(before: dict[str, JsonValue]) -> Longer:
            return Longer(number=int(str(before["n"])))

    return saga


def above(version: int, *, migrates: bool = True) -> Saga[Talk]:
    child: Saga[Any] = kid(version, migrates=migrates)
    return old(run(child, lambda s: Talk() if version == 1 else Longer(number=1), name="sub"), leg("b"))


def test_a_completed_child_of_an_older_version_is_migrated_for_its_undo() -> None:
    """Its version is not deployed any more; nothing else wakes what has ended."""
    done = Scene.start(above(1), {"n": 7}).ok("in")
    (child,) = (each for each in done.documents if each.definition == "kid")
    moved = deployed(done, above(2)).rejects("b")
    (undoing,) = (each for each in moved.documents if each.definition == "kid")
    assert (undoing.version, undoing.state, undoing.status) == (2, {"number": 0}, Status.COMPENSATING)
    assert ("version", "1", "2") in [
        (each.what, each.before, each.after) for id, each in moved.changes if id == child.id
    ]
    ended = moved.undo_ok("in")
    assert (ended.status, [each.status for each in ended.documents]) == (
        Status.COMPENSATED,
        [Status.COMPENSATED, Status.COMPENSATED],
    )


def test_a_completed_child_that_nothing_migrates_waits_for_its_code() -> None:
    """Visibly, and is undone when the migration is there."""
    done = Scene.start(above(1), {"n": 7}).ok("in")
    stuck = deployed(done, above(2, migrates=False)).rejects("b")
    (waiting,) = (each for each in stuck.documents if each.definition == "kid")
    assert (waiting.status, waiting.attention and waiting.attention.kind) == (Status.ATTENTION, CauseKind.VERSION)
    there = deployed(stuck, above(2)).retry(of=waiting.id)
    assert there.undo_ok("in").status is Status.COMPENSATED


def test_what_else_comes_to_a_completed_instance_of_an_older_version_does_not_migrate_it() -> None:
    done = deployed(Scene.start(above(1), {"n": 7}).ok("in"), above(2))
    (child,) = (each for each in done.documents if each.definition == "kid")
    fired = TimerFired(id="t", instance=child.id, timer="~retention", due_ms=child.timers["~retention"])
    asked = replace(done, now_ms=fired.due_ms).play(fired)
    (kept,) = (each for each in asked.documents if each.definition == "kid")
    assert (kept.version, kept.status) == (1, Status.COMPLETED)
