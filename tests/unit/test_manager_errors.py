"""Mistakes in process managers, and in what all definitions share, as in ``test_language_errors``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from sagaline.orchestrator.kernel import Registry
from sagaline.sagas import DefinitionError, Event, Saga
from sagaline.sagas.nodes import run, sleep
from sagaline.sagas.process_manager import Next, ProcessManager

from .test_language_errors import NAME, Notes, Other, declare, make, undo
from .test_node_errors import HOUR, Paid, child, other_paid, paid, saga


def manager(**more: Any) -> ProcessManager[Notes]:
    return ProcessManager("pm", Notes, **more)


def begun(e: Paid) -> Next[Notes]:
    return Next("new")


def taken(s: Notes, e: Paid) -> Next[Notes]:
    return Next("new")


def timed(s: Notes) -> Next[Notes]:
    return Next("new")


def order_of(e: Paid) -> str:
    return e.order


def _starts_twice() -> None:
    pm = manager()
    pm.starts_on(paid, key=order_of)(begun)
    pm.starts_on(paid, key=order_of)(begun)


def _start_of_another_event() -> None:
    def begin(e: Other) -> Next[Notes]:
        return Next("new")

    manager().starts_on(cast("Event[Other]", paid), key=lambda e: "1")(begin)


def _two_events_in_a_manager() -> None:
    pm = manager()
    pm.starts_on(paid, key=order_of)(begun)
    pm.on(other_paid, key=lambda e: str(e.x))(lambda s, e: Next("new"))


def _handler_without_event() -> None:
    manager().on(paid, key=order_of)(cast("Any", timed))


def _two_handlers(when_one: Any, when_other: Any) -> Callable[[], None]:
    def provoke() -> None:
        pm = manager()
        pm.on_timer("late", when=when_one)(timed)
        pm.on_timer("late", when=when_other)(timed)

    return provoke


def _two_handlers_of_an_event() -> None:
    pm = manager()
    pm.on(paid, key=order_of, when="new")(taken)
    pm.on(paid, key=order_of, when=["old", "new"])(taken)


def _async_handler() -> None:
    async def handle(s: Any) -> Any:
        return Next("new")

    pm = manager(steps=[declared := make()])
    pm.on_done(declared)(cast("Any", handle))


def _migrate(version: int, twice: bool = False) -> Callable[[], None]:
    def provoke() -> None:
        definition = declare(make(), version=3)
        definition.migrate(from_version=version)(lambda state: Notes.model_validate(state))
        if twice:
            definition.migrate(from_version=version)(lambda state: Notes.model_validate(state))

    return provoke


def _phases_of_a_saga() -> None:
    declare(make(), version=3).migrate(from_version=2, phases={"waits": "ready"})


def _two_invariants() -> None:
    definition = declare(make())
    for _ in range(2):

        @definition.invariant
        def holds(s: Notes, status: str) -> bool:
            return True


def _undo_in_a_manager_too_late() -> None:
    declared = make()
    manager(steps=[declared])
    declared.undo(undo)


MANAGER_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    # process managers
    "manager name": (lambda: ProcessManager("PM", Notes), f"process manager 'PM': {NAME}"),
    "manager version": (
        lambda: manager(version=0),
        "process manager 'pm': version is 0; give a whole number, 1 or more",
    ),
    "a step that is none": (
        lambda: manager(steps=[7]),
        "process manager 'pm': 7 in steps is not a step; make it with @step(contract)",
    ),
    "a step of another manager": (
        lambda: manager().on_done(make()),
        "process manager 'pm': Step('a') is not one of its steps; add it to steps=[…]",
    ),
    "a failure of another's step": (
        lambda: manager(steps=[make()]).on_failed(make()),
        "process manager 'pm': Step('a') is not one of its steps; add it to steps=[…]",
    ),
    "started twice": (_starts_twice, "process manager 'pm': event 'paid' already starts it; remove one of the two"),
    "started by another body": (
        _start_of_another_event,
        "process manager 'pm', start on 'paid': its function reads a Other, it is given a Paid; let it read that",
    ),
    "two events of one name in a manager": (
        _two_events_in_a_manager,
        "process manager 'pm': two different events are called 'paid'; share one, or rename the other",
    ),
    "a handler without the event": (
        _handler_without_event,
        "process manager 'pm', on 'paid': its function takes 1 arguments; it is given a Notes and a Paid, "
        "let it take 2",
    ),
    "two handlers of one phase": (
        _two_handlers("new", "new"),
        "process manager 'pm', timer 'late': two handlers for the same phase; give each its own when=…",
    ),
    "a handler of every phase beside another": (
        _two_handlers(None, "new"),
        "process manager 'pm', timer 'late': two handlers for the same phase; give each its own when=…",
    ),
    "two handlers of an event": (
        _two_handlers_of_an_event,
        "process manager 'pm', on 'paid': two handlers for the same phase; give each its own when=…",
    ),
    "an async handler": (
        _async_handler,
        "process manager 'pm', done 'a': its function is async or a generator; make it a plain, pure function",
    ),
    "timer name": (lambda: manager().on_timer("Late"), f"timer 'Late': {NAME}"),
    "undo after the manager": (
        _undo_in_a_manager_too_late,
        "step 'a' is already part of 'pm'; declare its undo before that definition",
    ),
    # versions
    "migration from a newer version": (
        _migrate(3),
        "Saga('demo', version=3): migrate from version 3; give an older version, 1 or more",
    ),
    "phases of what has none": (
        _phases_of_a_saga,
        "Saga('demo', version=3): only a process manager has phases; leave them out",
    ),
    "two migrations": (
        _migrate(2, twice=True),
        "Saga('demo', version=3): there are two migrations from version 2; remove one",
    ),
    "two invariants": (_two_invariants, "Saga('demo', version=1): there are two invariants 'holds'; rename one"),
    "a child deployed twice": (
        lambda: Registry([saga(run(child, lambda s: Other(x=1))), Saga("child", Other, flow=[sleep("z", HOUR)])]),
        "Saga('child', version=1) is deployed twice; give one of the two another version",
    ),
}


@pytest.mark.parametrize("mistake", MANAGER_MISTAKES)
def test_a_mistake_in_a_manager_is_raised_at_declaration_and_says_how_to_fix_it(mistake: str) -> None:
    provoke, message = MANAGER_MISTAKES[mistake]
    with pytest.raises(DefinitionError) as caught:
        provoke()
    assert str(caught.value) == message
