"""``fail``: the flow itself says no."""

from __future__ import annotations

from typing import Any

import pytest

from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas.nodes import choose, fail, loop, parallel, when
from sagaline.testing import given, ok, undo_ok

from .kernel_nodes import flow_of, leg, redeployed
from .promises import shows


def unless(least: int) -> Any:
    return choose(when(lambda s: s.n < least, fail("too_few", reason=lambda s: f"only {s.n}")), otherwise=None)


@shows("fail", "rejection", "success", "exhaustion", "timeout", "undo")
def test_a_fail_undoes_what_was_done_and_is_the_cause() -> None:
    told = given(flow_of(leg("a"), unless(2), leg("b")), {"n": 1}).when(ok("a"))
    document = told.scene.document
    assert document is not None
    assert document.cause is not None
    assert (document.cause.kind, document.cause.code) == (CauseKind.REJECTED, "too_few")
    assert (document.cause.message, document.cause.step) == ("only 1", "fail-too-few")
    assert document.steps["fail-too-few"].status is StepStatus.REJECTED
    assert document.steps["fail-too-few"].error == "only 1"
    assert told.when(undo_ok("a")).scene.status is Status.COMPENSATED


def test_a_flow_that_does_not_come_by_goes_on() -> None:
    assert given(flow_of(unless(1), leg("b")), {"n": 1}).when(ok("b")).scene.status is Status.COMPLETED


@shows("fail", "cancel")
def test_a_fail_with_nothing_to_undo_ends_at_once() -> None:
    assert Scene.start(flow_of(fail("closed", reason="we are closed"))).status is Status.COMPENSATED


def test_a_branch_that_its_parallel_can_spare_is_lost_alone() -> None:
    flow = flow_of(parallel([leg("a"), fail("no", reason="not this way")], leg("b"), need=1, name="both"))
    started = given(flow).when(ok("a"), undo_ok("a"))
    assert started.scene.status is Status.RUNNING
    assert started.when(ok("b")).scene.status is Status.COMPLETED


def test_in_a_loop_it_is_of_its_round() -> None:
    scene = Scene.start(flow_of(loop(fail("no", reason="no"), while_=lambda s: True, name="again")))
    assert scene.step("fail-no@1") is StepStatus.REJECTED


@shows("fail", "a reason that raises")
@pytest.mark.parametrize(
    ("reason", "said"), [(lambda s: None, "gave None; give a text"), (lambda s: s.absent, "raised AttributeError")]
)
def test_a_reason_that_is_none_needs_attention_and_fails_after_the_fix(reason: Any, said: str) -> None:
    scene = Scene.start(flow_of(fail("no", reason=reason)))
    assert scene.attention is not None
    assert scene.attention.message.startswith(f"the reason of fail 'fail-no' {said}")
    fixed = redeployed(scene, flow_of(fail("no", reason="no"))).act("retry")
    assert fixed.status is Status.COMPENSATED
