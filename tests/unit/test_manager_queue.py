"""What waits in a process manager's instance is not left behind, and not forgotten while somebody must look."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.inputs import Act, ActName, Arrival, TimerFired
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas.process_manager import Next

from .kernel_nodes import HOUR, timers_of
from .test_kernel_phases import HOUR_MS, Order, begun, came, manager


@pytest.mark.slow
def test_all_that_a_phase_takes_is_taken_at_once_however_many_wait() -> None:
    """What stayed behind would wait without a timer."""
    scene = begun(on_paid=lambda s, e: Next("unpaid"), on_placed=lambda e: Next("new", Order(id=e.id)))
    for number in range(1_000):
        scene = scene.play(came("paid", f"paid-{number}"))
    managed = scene.document.managed
    assert managed is not None
    opened = replace(scene.document, managed=replace(managed, phase="unpaid"), timers={"x:timer": 1})
    fired = TimerFired(id="t", instance="pm/k", timer="x:timer", due_ms=1)
    found = decide(scene.definition, opened, Arrival(message=fired, now_ms=1)).document
    assert found is not None
    assert found.managed is not None
    assert found.managed.early == ()


def test_what_stands_in_attention_is_not_forgotten_before_somebody_has_looked() -> None:
    """Its start has come: an operator must look, however long that takes."""
    handlers: list[Any] = [lambda e: 1 // 0]
    stuck = begun(on_placed=lambda e: handlers[-1](e))
    assert stuck.attention is not None
    days = stuck.advance(100 * HOUR)
    assert days.attention == stuck.attention
    handlers.append(lambda e: Next("unpaid", Order(id=e.id)))
    assert timers_of(days.retry()) == {}
    assert days.retry().document.managed is not None


def test_a_start_that_waits_for_its_code_is_not_forgotten_with_what_came_early() -> None:
    early = Scene.of(manager()).play(came("paid"))
    parked = decide(None, early.document, Arrival(message=came("placed"), now_ms=HOUR_MS)).document
    assert parked is not None
    fired = TimerFired(id="t", instance="pm/k", timer="~early", due_ms=24 * HOUR_MS)
    for definition in (None, manager()):
        kept = decide(definition, parked, Arrival(message=fired, now_ms=24 * HOUR_MS)).document
        assert kept is not None
        assert kept.timers["~early"] > 24 * HOUR_MS
        act = Act(id="deployed", instance="pm/k", act=ActName.RETRY)
        begun = decide(manager(), kept, Arrival(message=act, now_ms=25 * HOUR_MS)).document
        assert begun is not None
        assert begun.managed is not None
        assert (begun.managed.phase, begun.status) == ("picking", Status.RUNNING)
