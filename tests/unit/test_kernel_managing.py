"""Process managers in the kernel: a timer that is due while nothing may happen, or whose handler raises."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from sagaline.orchestrator.messages.document import Status, StepStatus
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Event, step
from sagaline.sagas.process_manager import Next, ProcessManager


class Order(BaseModel):
    id: str


class Done(BaseModel):
    ok: bool = True


def begun(raises: list[bool]) -> Scene:
    """A process that picks when its timer is due; the handler raises as long as ``raises`` says so."""
    pick = step(Contract("pick", Order, Done, queue="q"), name="pick", read_only=True)(lambda s: Order(id=s.id))
    placed = Event("placed", Order)
    manager = ProcessManager("manager", Order, steps=[pick])

    @manager.starts_on(placed, key=lambda e: e.id)
    def on_placed(e: Order) -> Next[Order]:
        return Next("waiting", e, timers={"later": timedelta(hours=1)})

    @manager.on_timer("later")
    def on_later(s: Order) -> Next[Order]:
        if raises[-1]:
            raise ValueError("not yet")
        return Next("picking", do=[pick])

    @manager.on_done(pick)
    def on_picked(s: Order) -> Next[Order]:
        return Next.complete()

    return Scene.of(manager, key="id").receives("placed")


def test_a_timer_that_stands_still_in_a_pause_does_its_work_after_it() -> None:
    """G4: what its handler asks for is not lost."""
    scene = begun([False])
    (timer,) = scene.timers
    paused = scene.act(ActName.PAUSE).advance(timedelta(hours=2))
    assert (paused.step("pick"), paused.timers) == (None, [])
    resumed = paused.act(ActName.RESUME)
    assert [each.due_ms for each in resumed.timers] == [timer.due_ms + 2 * 3_600_000]
    assert resumed.tick().step("pick") is StepStatus.SENT
    assert resumed.settle().status is Status.COMPLETED


def test_a_timer_whose_handler_raises_waits_for_a_retry() -> None:
    """It does not fire again and again; after a mended deploy the retry calls its handler."""
    raises = [True]
    stands = begun(raises).tick()
    assert stands.status is Status.ATTENTION
    assert not stands.timers
    assert stands.retry().status is Status.ATTENTION
    raises.append(False)
    assert stands.retry().settle().status is Status.COMPLETED


def test_a_timer_that_is_due_while_it_is_unwound_does_nothing() -> None:
    """Neither now nor after a pause."""
    cancelled = begun([False]).act(ActName.PAUSE).advance(timedelta(hours=2)).cancel()
    assert cancelled.settle().status is Status.COMPENSATED
    assert cancelled.step("pick") is None
