"""Process managers: an end that was said stays said, and a migration moves phases."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import JsonValue

from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import DefinitionError
from sagaline.sagas.process_manager import Next, ProcessManager

from .kernel_nodes import HOUR, Paid, Talk, flow_of, leg, paid, redeployed, timers_of

a, b = leg("a"), leg("b")


def managing(on_a: Any, *, version: int = 1, phases: dict[str, str] | None = None) -> ProcessManager[Talk]:
    """Begins ``a``, and ends with the second event of its key."""
    pm = ProcessManager("talk", Talk, steps=[a, b], version=version)
    pm.starts_on(paid, key=lambda e: "k")(lambda e: Next("one", Talk(n=e.amount), do=[a], timers={"late": HOUR}))
    pm.on(paid, key=lambda e: "k")(lambda s, e: Next.complete(Talk(n=s.n + 1)))
    pm.on_done(a)(on_a)
    pm.on_timer("late")(lambda s: Next.fail("too late"))
    if version == 2:

        @pm.migrate(from_version=1, phases=phases)
        def upgrade(before: dict[str, JsonValue]) -> Talk:
            return Talk.model_validate(before)

    return pm


def ending(on_a: Any) -> Scene:
    """The end is said while ``a`` is under way."""
    begun = Scene.of(managing(on_a)).receives(paid, Paid(amount=5), key="k")
    ending = begun.receives(paid, Paid(amount=1), key="k")
    assert ending.status is Status.RUNNING
    assert [name for name in timers_of(ending) if name.endswith(":timer")] == []
    return ending


def test_a_later_handler_does_not_take_back_that_it_completes() -> None:
    """It may change the state; the phase stays, and no timer is set."""
    done = ending(lambda s: Next("two", Talk(n=s.n * 10), timers={"late": HOUR})).ok("a")
    assert (done.status, done.state.n) == (Status.COMPLETED, 60)
    assert done.document.managed is not None
    assert done.document.managed.phase == "completed"


def test_a_later_handler_may_still_do_a_step_before_the_end() -> None:
    doing = ending(lambda s: Next("two", do=[b])).ok("a")
    assert (doing.status, doing.ok("b").status) == (Status.RUNNING, Status.COMPLETED)


def test_a_later_handler_may_still_fail_it() -> None:
    failed = ending(lambda s: Next.fail("no")).ok("a")
    assert failed.undo_ok("a").status is Status.COMPENSATED


@pytest.mark.parametrize(("phases", "phase"), [({"one": "first"}, "first"), ({"other": "x"}, "one"), (None, "one")])
def test_a_migration_moves_the_phase(phases: dict[str, str] | None, phase: str) -> None:
    """And says so in the history; a phase that it does not name stays."""
    begun = Scene.of(managing(lambda s: Next("two"))).receives(paid, Paid(amount=5), key="k")

    def on_a(s: Talk) -> Next[Talk]:
        return Next("done")

    newer = managing(on_a, version=2, phases=phases)
    newer.done["a"].clear()
    newer.on_done(a, when=phase)(on_a)
    moved = redeployed(begun, newer).ok("a")
    assert moved.document.managed is not None
    assert (moved.document.version, moved.document.managed.phase) == (2, "done")
    found = [each.after for _, each in moved.changes if each.what == "phase"]
    assert found == ["one", *(["first"] if phase == "first" else []), "done"]


def test_only_a_process_manager_has_phases() -> None:
    with pytest.raises(DefinitionError, match="only a process manager has phases; leave them out"):
        type(flow_of(leg("a")))("talk", Talk, flow=[leg("a")], version=2).migrate(from_version=1, phases={"x": "y"})
