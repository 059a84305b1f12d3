"""Laws that no single run can show: they are about all explored runs, or about the definition itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ...sagas import Retry
from ...sagas.definition import AnyDefinition
from ...sagas.nodes import Emit, Loop, Parallel, Wait
from ...sagas.policy import to_ms
from ...sagas.process_manager import ProcessManager
from ..kernel.places import name_of
from ..messages.document import Document
from ..scenes.scene import Scene
from .explore import Explored, Found
from .laws import Breach, Law
from .successors import Move, Plan

__all__ = ["loops", "retries", "unreached", "waits"]

_TURNS_MAX = 5_000


def unreached(definition: AnyDefinition, seen: Explored) -> Iterator[Breach]:
    """Nodes, and phases that handlers name, that no run reached."""
    for spot in definition.tree:
        name = spot.node.name
        if f"{definition.name}/{name}" not in seen.reached:
            yield Breach(
                law=Law.UNREACHABLE,
                place=name,
                message=f"no run reaches {spot.node.kind} {name!r}; remove it, fix the condition before it, or give "
                "an example of a value that leads there",
            )
    if isinstance(definition, ProcessManager) and not definition.rests:  # else its kind names the phases, no author
        for phase in sorted(_named_phases(definition) - seen.phases):
            yield Breach(
                law=Law.UNREACHABLE,
                place=phase,
                message=f"a handler waits for phase {phase!r}, but no Next(…) leads to it; correct the name",
            )


def _named_phases(manager: ProcessManager[Any]) -> set[str]:
    tables = [manager.done, manager.failed, manager.timers]
    handlers = [handler for table in tables for found in table.values() for handler in found]
    handlers += [handler for subscription in manager.subscriptions.values() for handler in subscription.handlers]
    return {phase for handler in handlers for phase in handler.when or ()}


def loops(plan: Plan, inputs: Iterable[Any], seen: Explored) -> Iterator[Found]:
    """Loops that end only because their rounds are used up."""
    unknown = [spot.node for spot in plan.definition.tree if isinstance(spot.node, Loop)]
    unknown = [node for node in unknown if f"{plan.definition.name}/{node.name}" not in seen.loops_done]
    for node in unknown:
        name = f"{plan.definition.name}/{node.name}"
        found = seen.loops_out.get(name) or _runs_out(plan, inputs, node)
        if found is not None:
            message = f"loop {node.name!r} never ends before its {node.rounds_max} rounds are used up, whatever workers"
            breach = Breach(law=Law.LOOP, place=node.name, message=f"{message} say; make a reply change its condition")
            yield Found(breach=breach, input=found.input, moves=found.moves, rules=found.rules)


def _runs_out(plan: Plan, inputs: Iterable[Any], node: Loop[Any]) -> Found | None:
    """A run without faults that uses up the loop's rounds; None when some run ends the loop."""
    out: Found | None = None
    for input in inputs:
        for variant in range(8):
            scene, path = Scene.start(plan.definition, input), list[Move]()
            for _ in range(_TURNS_MAX):
                move = _happy(plan, scene, variant)
                if move is None:
                    break
                scene = move.apply(scene)
                path.append(move)
            statuses = [r.status for place, r in scene.document.steps.items() if name_of(place) == node.name]
            if "done" in statuses:
                return None
            if "failed" in statuses:
                breach = Breach(law=Law.LOOP, place=node.name, message="")
                out = out or Found(breach=breach, input=input, moves=tuple(path))
    return out


def _happy(plan: Plan, scene: Scene, variant: int) -> Move | None:
    if scene.waiting:
        command = scene.waiting[0]
        document = scene.entities[command.instance]
        assert isinstance(document, Document)
        of = None if document.id == scene.id else document.id
        if command.undo:
            return None
        definition = scene.registry.find(document.definition, document.version)
        assert definition is not None
        values = plan.values(definition.steps[name_of(command.step)].contract.reply)
        return Move(kind="ok", step=command.step, value=values[variant % len(values)], of=of)
    return Move(kind="tick") if scene.has_timer else None


def retries(definition: AnyDefinition, seen: Explored) -> Iterator[Found]:
    """Attempts that can never be sent: the waits before them exceed the step's timeout."""
    for step in definition.steps.values():
        first = seen.steps_first.get(f"{definition.name}/{step.name}")
        number = _beyond(step.options.retry, to_ms(step.options.timeout))
        if first is not None and number is not None:
            message = (
                f"step {step.name!r} may be tried {step.options.retry.max_attempts} times, but the waits before "
                f"attempt {number} are longer than its timeout of {step.options.timeout}; shorten the waits, or raise "
                "the timeout"
            )
            breach = Breach(law=Law.RETRY, place=step.name, message=message)
            move = Move(kind="exhaust", step=step.name, fault=True)
            yield Found(breach=breach, input=first.input, moves=(*first.moves, move), rules=first.rules)
        undo = step.compensation
        number = _beyond(undo.retry, to_ms(undo.timeout)) if undo is not None else None
        if first is not None and undo is not None and number is not None:
            message = f"the undo of step {step.name!r}: the waits before attempt {number} are longer than its timeout"
            breach = Breach(law=Law.RETRY, place=f"undo of {step.name}", message=f"{message} of {undo.timeout}")
            yield Found(breach=breach, input=None)


def _beyond(retry: Retry, timeout_ms: int) -> int | None:
    """The first attempt that cannot be sent in time even if every earlier one fails at once."""
    waited_ms = 0
    for failed in range(1, min(retry.max_attempts, 10_000)):
        waited_ms += retry.delay_ms(failed)
        if waited_ms > timeout_ms:
            return failed + 1
    return None


def waits(
    definition: AnyDefinition, app: Collection[AnyDefinition], external: Collection[str] | None
) -> Iterator[Breach]:
    """Waits that nothing can satisfy.

    An event that the app emits does not come from outside: if only the waiting flow itself emits it, and only after the
    wait, it never comes. An event that the app does not emit comes from outside; with ``external`` only those listed.
    """
    emitters = [(one, spot.node) for one in app for spot in one.tree if isinstance(spot.node, Emit)]
    managed = any(isinstance(one, ProcessManager) for one in app)
    for spot in definition.tree:
        if not isinstance(spot.node, Wait):
            continue
        for expected in spot.node.expected:
            event = expected.event.name
            if external is not None and event in external:
                continue
            own = [(one, node) for one, node in emitters if node.event.name == event]
            nobody = external is not None and not own and not managed
            if nobody or (own and all(one is definition and _behind(one, node, spot.node) for one, node in own)):
                why = "nothing emits it" if nobody else "only this flow emits it, after the wait"
                yield Breach(
                    law=Law.WAIT,
                    place=f"{spot.node.name}/{event}",
                    message=f"wait {spot.node.name!r} waits for event {event!r}, but {why}; emit it elsewhere, or say "
                    f"that it comes from outside: --external {event}",
                )


def _behind(saga: AnyDefinition, emit: Emit[Any], wait: Wait[Any]) -> bool:
    order = [spot.node.name for spot in saga.tree]
    met = saga.tree.meeting(emit.name, wait.name)
    beside = met is not None and isinstance(met[0], Parallel)
    return order.index(emit.name) > order.index(wait.name) and not beside
