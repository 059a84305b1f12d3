"""What a cancel would do now, as the case tells it, is what a cancel then does."""

from __future__ import annotations

from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.testing.scene import Scene
from sagaline.sagas import Saga
from sagaline.sagas.nodes import parallel, run

from .kernel_nodes import Talk, flow_of, leg


def racing(name: str = "talk") -> Saga[Talk]:
    """Of two branches one is needed; what the other did is taken back while the flow goes on."""
    return flow_of(parallel(leg("p"), [leg("q"), leg("r")], need=1, rest="undo", name="both"), leg("z"), name=name)


def lost(scene: Scene) -> Scene:
    """The undo of the branch that lost has failed."""
    failed = scene.ok("q").ok("p").ok("r").undo_no("r")
    assert failed.documents[-1].steps["r"].status is StepStatus.UNDO_FAILED
    return failed


def test_a_cancel_tries_an_undo_of_a_lost_branch_again_that_has_failed() -> None:
    """G4: nobody looks at it any more, so somebody must go on with it."""
    failed = lost(Scene.start(racing()))
    assert (failed.status, failed.document.backward) == (Status.ATTENTION, False)
    cancelled = failed.cancel().ok("z").undo_ok("z")
    assert (cancelled.status, cancelled.step("r")) == (Status.COMPENSATING, StepStatus.UNDO_SENT)
    ended = cancelled.settle()
    assert (ended.status, ended.undone) == (Status.COMPENSATED, ("talk/k/z", "talk/k/r", "talk/k/p", "talk/k/q"))


def test_a_parent_that_unwinds_a_child_tries_it_again_too() -> None:
    """The child stood in attention; the parent's word ends that."""
    node = run(racing("child"), lambda s: Talk(), name="sub")
    failed = lost(Scene.start(flow_of(parallel(node, leg("other"), name="outer"))))
    child = "child/talk/k/sub"
    assert [each.status for each in failed.documents if each.id == child] == [Status.ATTENTION]
    turned = failed.no("other")
    assert turned.settle().status is Status.COMPENSATED
