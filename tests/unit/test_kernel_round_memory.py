"""What an instance keeps of the rounds of a loop that are over: what their undo needs, and what may stand outside."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Node
from sagaline.sagas.nodes import choose, loop, parallel, sleep, when

from .kernel_nodes import Talk, flow_of, leg, outcome_of, redeployed


def again(*nodes: Node[Talk], goes_on: Any = lambda s: True) -> Node[Talk]:
    return loop(*nodes, while_=goes_on, rounds_max=100, name="more")


def rounds_on_record(scene: Scene) -> list[str]:
    return [place for place in scene.document.steps if "@" in place]


def test_a_loop_that_looks_and_waits_keeps_its_last_round_only() -> None:
    """Whatever way it took in each."""
    asked = choose(when(lambda s: True, sleep("nap", timedelta(seconds=1)), name="nap"), otherwise=None, name="way")
    scene = Scene.start(flow_of(again(leg("look", undo=False, read_only=True), asked)))
    for number in range(1, 20):
        scene = scene.ok(f"look@{number}").tick()
    assert rounds_on_record(scene) == ["look@20"]
    assert scene.cancel().settle().status is Status.COMPENSATED


def test_what_is_undone_or_stands_is_kept_of_every_round() -> None:
    """And a restart still knows what it would do twice."""
    flow = [leg("first"), again(leg("done", undo=False), leg("undone")), leg("last")]
    scene = Scene.start(flow_of(*flow))
    scene = scene.ok("first").ok("done@1").ok("undone@1").ok("done@2").ok("undone@2")
    assert rounds_on_record(scene) == ["done@1", "undone@1", "done@2", "undone@2", "done@3"]
    stuck = redeployed(
        scene, flow_of(leg("first"), again(leg("done", undo=False), leg("undone", broken=True)), leg("last"))
    )
    refused = stuck.ok("done@3").act(ActName.RESTART, "again", step="first")
    assert "done@1 (done), done@2 (done), done@3 (done)" in outcome_of(refused)[1]
    assert scene.cancel().ok("done@3").settle().undone == ("talk/k/undone@2", "talk/k/undone@1", "talk/k/first")


def test_a_branch_that_lingers_keeps_its_round() -> None:
    """It ends beside the flow, and is not begun again."""
    slow = parallel(leg("x", undo=False, read_only=True), leg("y"), need="any", rest="finish", name="both")
    scene = Scene.start(flow_of(again(slow, goes_on=lambda s: True))).ok("x@1")
    assert {"both@1", "x@1", "y@1", "x@2", "y@2"} <= set(rounds_on_record(scene))
    assert [command.id for command in scene.sent if command.step == "x@1"] == [scene.sent[0].id]


def test_a_fork_behind_a_loop_finds_it_over() -> None:
    """Although its rounds are not on record any more."""
    seen = iter([True, True, True, False])
    look = leg("look", undo=False, read_only=True)
    scene = Scene.start(flow_of(again(look, goes_on=lambda s: next(seen)), leg("last"))).ok("look@1").ok("look@2")
    ended = scene.ok("look@3").ok("last")
    assert (ended.status, rounds_on_record(ended)) == (Status.COMPLETED, ["look@3"])
    forked = ended.act(ActName.FORK, step="last", value={"key": "new"})
    assert forked.open("last", of="talk/new").step == "last"
