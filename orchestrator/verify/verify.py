"""``verify``: every law, over everything that can happen to one definition within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from ...sagas.definition import AnyDefinition
from ...sagas.process_manager import ProcessManager
from ..messages.values import JsonObject
from .explore import Bounds, Found, Progress, explore
from .laws import Law
from .static import loops, retries, unreached, waits
from .successors import Plan

__all__ = ["Verified", "verify"]

_BOUNDS = Bounds()


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What came of it. ``complete``: everything within the fault budget was seen; the other bounds were not reached.

    ``inputs`` and ``external`` as they were given; ``begins`` counts the inputs, those that were made included.
    """

    definition: AnyDefinition
    found: tuple[Found, ...]
    bounds: Bounds
    key: str
    inputs: tuple[BaseModel | JsonObject, ...]
    external: tuple[str, ...] | None
    begins: int
    states: int
    transitions: int
    depth: int
    complete: bool

    @property
    def laws(self) -> frozenset[str]:
        """The names of the laws that do not hold."""
        return frozenset(found.breach.law.value for found in self.found)


def verify(
    definition: AnyDefinition,
    *,
    app: Sequence[AnyDefinition] = (),
    inputs: Sequence[BaseModel | JsonObject] = (),
    examples: Mapping[type[BaseModel], Sequence[BaseModel | JsonObject]] | None = None,
    external: Sequence[str] | None = None,
    bounds: Bounds = _BOUNDS,
    progress: Progress | None = None,
) -> Verified:
    """Mentions for the shortest way to break each law.

    Args:
        definition: a saga or a process manager.
        app: what is deployed beside it: who else emits events.
        inputs: what it is started with; none: made from the model.
        examples: values of other models, replies and events, instead of made ones.
        external: events that come from outside the app; None: all that the app does not emit.
        bounds: how far is looked.
        progress: called now and then.

    Raises:
        NoSampleError: no valid value of a model could be made; the author gives one.
        AssertionError: an input is not valid.
    """
    given = {**(examples or {}), **({definition.state: inputs} if inputs else {})}
    plan = Plan(definition=definition, given=given)
    begins = (None,) if isinstance(definition, ProcessManager) else plan.inputs()
    seen = explore(plan, begins, bounds, progress)
    found = [*seen.found, *retries(definition, seen)]
    if not isinstance(definition, ProcessManager):
        found += loops(plan, begins, seen)
    others = app if any(each is definition for each in app) else (*app, definition)
    found += [Found(breach=breach, input=None) for breach in waits(definition, others, external)]
    if seen.complete and all(each.breach.law is Law.NO_UNDO for each in found):
        # What lies behind a mistake was not looked at: nothing is called unreachable for it.
        found += [Found(breach=breach, input=None) for breach in unreached(definition, seen)]
    return Verified(
        definition=definition,
        found=tuple(found),
        bounds=bounds,
        key=plan.key(),
        inputs=tuple(inputs),
        external=None if external is None else tuple(external),
        begins=len(begins),
        states=seen.states,
        transitions=seen.transitions,
        depth=seen.depth,
        complete=seen.complete,
    )
