"""``verify``: checks every law over all runs of one definition within bounds."""

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
    """The result. ``complete``: every run within the fault budget was explored; the other bounds were not reached.

    ``inputs`` and ``external`` as given; ``begins`` counts the inputs, generated ones included.
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
        """The names of the broken laws."""
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
    """Searches for the shortest run that breaks each law.

    Args:
        definition: a saga or a process manager.
        app: the other deployed definitions, which may emit events.
        inputs: the inputs of the instance; none: generated from the model.
        examples: values of replies and events, instead of generated ones.
        external: events that come from outside the app; None: all events that the app does not emit.
        bounds: the limits of the search.
        progress: called from time to time.

    Raises:
        NoSampleError: no valid value of a model could be generated; the author must give one.
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
        # Runs were not explored past a mistake, so unreached nodes are not reported.
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
