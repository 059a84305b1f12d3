"""The tables of transitions are exactly what can happen: no illegal move, and no legal one that nothing reaches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sagaline.orchestrator.kernel import block
from sagaline.orchestrator.kernel.transitions import INSTANCE, STEP
from sagaline.orchestrator.messages.document import CauseKind, Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName, Arrival, TimerFired

from .kernel_kit import SEEN, Play, make_saga, play


def _blocked(run: Play) -> None:
    arrival = Arrival(message=TimerFired(id="t", instance="demo/k", timer="x", due_ms=1), now_ms=run.now_ms)
    decision = block(run.document, arrival, CauseKind.CODE, "no")
    for change in decision.changes:
        if change.what == "instance":
            SEEN.add(("instance", Status(change.before or ""), Status(change.after)))
        else:
            SEEN.add(("step", StepStatus(change.before or ""), StepStatus(change.after)))
    run.stored = decision.document


def _completes_with_a_retry() -> None:
    run = play(make_saga("a"))
    run.fail("a")
    run.fire("a:retry")
    run.ok("a")


def _is_undone_with_a_retry() -> None:
    run = play()
    run.ok("a")
    run.refuse("b")
    run.fail("a", undo=True)
    run.fire("a:retry")
    run.ok("a", undo=True)


def _is_undone_after_its_deadline() -> None:
    run = play()
    run.fire("a:deadline")
    run.refuse("a", undo=True)
    run.act(ActName.RETRY)


def _is_cancelled_between_attempts() -> None:
    run = play()
    run.fail("a")
    run.act(ActName.CANCEL)
    run.fail("a", undo=True)
    run.fire("a:deadline")


def _cannot_be_built() -> None:
    run = play(make_saga(broken="a"))
    run.definition = make_saga()
    run.act(ActName.RETRY)


def _cannot_be_built_again() -> None:
    run = play()
    run.fail("a")
    run.definition = make_saga(broken="a")
    run.fire("a:retry")
    run.act(ActName.ABANDON)


def _cannot_be_undone() -> None:
    for deadline in (False, True):
        run = play(make_saga(broken_undo="a"))
        if deadline:
            run.fire("a:deadline")
        else:
            run.ok("a")
            run.refuse("b")


def _is_blocked_and_cancelled() -> None:
    run = play()
    _blocked(run)
    run.act(ActName.CANCEL)
    _blocked(run)


def _stops_past_the_pivot() -> None:
    for refused in (False, True):
        for code in (make_saga("|a"), make_saga("|a", broken="a")):
            run = play(make_saga("|a"))
            if refused:
                run.refuse("a")
            else:
                run.fire("a:deadline")
            run.definition = code
            run.act(ActName.RETRY)


SCENES: list[Callable[[], None]] = [
    _completes_with_a_retry,
    _is_undone_with_a_retry,
    _is_undone_after_its_deadline,
    _is_cancelled_between_attempts,
    _cannot_be_built,
    _cannot_be_built_again,
    _cannot_be_undone,
    _is_blocked_and_cancelled,
    _stops_past_the_pivot,
]


@pytest.fixture(scope="module")
def seen() -> set[tuple[str, Status | StepStatus | None, Status | StepStatus]]:
    """Transitions of these scenes alone: what other tests went through does not count."""
    before = set(SEEN)
    SEEN.clear()
    for scene in SCENES:
        scene()
    found = set(SEEN)
    SEEN.update(before)
    return found


def test_every_legal_transition_of_an_instance_is_reached_and_no_other(
    seen: set[tuple[str, Status | StepStatus | None, Status | StepStatus]],
) -> None:
    legal = {(before, after) for before, afters in INSTANCE.items() for after in afters}
    assert {(before, after) for kind, before, after in seen if kind == "instance"} == legal


def test_every_legal_transition_of_a_step_is_reached_and_no_other(
    seen: set[tuple[str, Status | StepStatus | None, Status | StepStatus]],
) -> None:
    legal = {(before, after) for before, afters in STEP.items() for after in afters}
    assert {(before, after) for kind, before, after in seen if kind == "step"} == legal


@pytest.mark.parametrize("status", Status)
def test_ended_instances_have_no_way_out(status: Status) -> None:
    """But one: a parent takes its completed child back."""
    ways = INSTANCE[status] - ({Status.COMPENSATING} if status is Status.COMPLETED else set())
    assert (ways == frozenset()) == status.is_final
