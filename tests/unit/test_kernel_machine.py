"""Random messages against the kernel, and proof that the machine notices when the kernel is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from sagaline.orchestrator.kernel import acts, compensation, context, deferral, locking, replies, sending
from sagaline.orchestrator.messages.document import Document, StepStatus
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.outputs import command_id, label_of

from .kernel_machine import KernelMachine

decide = import_module("sagaline.orchestrator.kernel.decide")  # the package shows the function of that name

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
SOUND = settings(max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=_CHECKS)
HUNT = settings(
    max_examples=300,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=_CHECKS,
)


@pytest.mark.slow
def test_no_sequence_of_messages_breaks_a_promise() -> None:
    """G3, G4, G5, G7, G8 and purity, over random lives of an instance."""
    run_state_machine_as_test(KernelMachine, settings=SOUND)


Patch = Callable[[pytest.MonkeyPatch], None]


def _undo_in_order_of_completion(patch: pytest.MonkeyPatch) -> None:
    right = compensation.undo_order
    patch.setattr(compensation, "undo_order", lambda *given: right(*given)[::-1])


def _forget_what_may_have_happened(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StepStatus, "is_to_undo", property(lambda status: status is StepStatus.DONE))


def _claim_compensated_while_an_undo_is_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StepStatus, "is_undoing", property(lambda status: False))


def _undo_what_is_still_in_flight(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compensation, "_is_in_flight", lambda record: False)


def _forget_the_deadline(patch: pytest.MonkeyPatch) -> None:
    def forgetful(r: context.DecisionContext, leg: sending.Leg, *, fresh: bool) -> None:
        sending.send(r, leg, fresh=fresh)
        r.timers.pop(f"{leg.step}:deadline", None)

    patch.setattr(locking, "send", forgetful)


def _forget_the_retry(patch: pytest.MonkeyPatch) -> None:
    def forgetful(r: context.DecisionContext, leg: sending.Leg, error: str) -> bool:
        planned = sending.plan_retry(r, leg, error)
        r.timers.pop(f"{leg.step}:retry", None)
        return planned

    patch.setattr(replies, "plan_retry", forgetful)


def _forget_the_timers_that_stood_in_a_pause(patch: pytest.MonkeyPatch) -> None:
    right = context.DecisionContext.unpause

    def forgetful(self: context.DecisionContext) -> None:
        if self.paused:
            self.timers = {}
        right(self)

    patch.setattr(context.DecisionContext, "unpause", forgetful)


def _accept_old_attempts(patch: pytest.MonkeyPatch) -> None:
    def lenient(document: Document, steps: Any, command: str) -> tuple[str, bool] | None:
        for name, record in steps.items():
            label = label_of(name, record.generation, document.incarnation)
            for undo, sent in ((False, StepStatus.SENT), (True, StepStatus.UNDO_SENT)):
                prefix = command_id(document.id, label, undo=undo, attempt=1)[:-1]
                rest = command.removeprefix(prefix)
                if record.status is sent and rest != command and rest.isdigit():
                    return name, undo
        return None

    patch.setattr(decide, "open_attempt", lenient)


def _count_no_attempts(patch: pytest.MonkeyPatch) -> None:
    right = context.DecisionContext.mark_sent

    def forgetful(self: context.DecisionContext, name: str, *, undo: bool, fresh: bool) -> int:
        right(self, name, undo=undo, fresh=fresh)
        record = self.steps[name]
        self.steps[name] = replace(record, undo_attempt=1) if undo else replace(record, attempt=1)
        return 1

    patch.setattr(context.DecisionContext, "mark_sent", forgetful)


def _fire_early(patch: pytest.MonkeyPatch) -> None:
    right = decide._timer

    def hasty(r: context.DecisionContext, timer: Any) -> Any:
        r.now_ms = max(r.now_ms, timer.due_ms)
        return right(r, timer)

    patch.setattr(decide, "_timer", hasty)


def _keep_fired_timers(patch: pytest.MonkeyPatch) -> None:
    right = decide.on_timer

    def sticky(r: context.DecisionContext, timer: str) -> None:
        right(r, timer)
        r.timers.setdefault(timer, r.document.timers[timer])

    patch.setattr(decide, "on_timer", sticky)


def _cancel_past_the_pivot(patch: pytest.MonkeyPatch) -> None:
    right = acts.objection
    patch.setattr(
        decide,
        "objection",
        lambda document, act: right(replace(document, pivot_passed=False), act) if act is ActName.CANCEL else None,
    )


def _write_into_the_input(patch: pytest.MonkeyPatch) -> None:
    right = context.DecisionContext.__init__

    def careless(self: context.DecisionContext, definition: Any, document: Any, now_ms: int, limits: Any) -> None:
        right(self, definition, document, now_ms, limits)
        self.steps = document.steps

    patch.setattr(context.DecisionContext, "__init__", careless)


def _drop_what_was_kept(patch: pytest.MonkeyPatch) -> None:
    def careless(r: context.DecisionContext) -> None:
        r.deferred = ()

    patch.setattr(deferral, "apply_deferred", careless)


def _leave_a_blocked_step_as_it_is(patch: pytest.MonkeyPatch) -> None:
    right = compensation._withdraw

    def careless(r: context.DecisionContext, place: str) -> None:
        if r.steps[place].status is not StepStatus.BLOCKED:
            right(r, place)

    patch.setattr(compensation, "_withdraw", careless)


PLANTED: list[Patch] = [
    _undo_in_order_of_completion,
    _forget_what_may_have_happened,
    _claim_compensated_while_an_undo_is_open,
    _undo_what_is_still_in_flight,
    _forget_the_deadline,
    _forget_the_retry,
    _forget_the_timers_that_stood_in_a_pause,
    _accept_old_attempts,
    _count_no_attempts,
    _fire_early,
    _keep_fired_timers,
    _cancel_past_the_pivot,
    _write_into_the_input,
    _drop_what_was_kept,
    _leave_a_blocked_step_as_it_is,
]


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_the_machine_catches_a_planted_bug(plant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail is a defect: each of these bugs breaks one promise."""
    plant(monkeypatch)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whichever law or assertion of the kernel notices first
        run_state_machine_as_test(KernelMachine, settings=HUNT)
    assert isinstance(caught.value, AssertionError | KeyError), caught.value
