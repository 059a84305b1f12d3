"""Breadth-first search over all possible runs: the first run found that breaks a law is a shortest one.

Scenes with the same future are one state (``fingerprint``). A state that is reached again with fewer faults is explored
again. Bounds: depth (moves), faults on one path, number of states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...sagas.nodes import Loop, Pivot
from ..kernel.context import said
from ..kernel.places import name_of
from ..messages.document import CauseKind, StepStatus
from ..messages.outputs import Outcome
from ..scenes.sample import NoSampleError
from ..scenes.scene import Scene
from .fingerprint import fingerprint
from .laws import Breach, Law, breaches, ended, rests
from .successors import Move, Plan, successors

__all__ = ["Bounds", "Explored", "Found", "Progress", "explore"]

Progress = Callable[[int, int, int], None]
"""Called from time to time with: states visited, states to visit, depth."""

_REPORT_EVERY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits of the search: moves in one run, faults in one run, states in total."""

    depth: int = 60
    faults: int = 2
    states: int = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A broken law, and the shortest run to it: ``moves`` from the start with ``input`` and ``rules``."""

    breach: Breach
    input: Any
    moves: tuple[Move, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _State:
    scene: Scene | None
    before: int
    move: Move | None
    faults: int
    depth: int
    input: Any
    rules: Mapping[str, str]
    after: list[int] = field(default_factory=list)
    open: bool = False


@dataclass(slots=True)
class Explored:
    """The result of the search. ``complete``: neither the depth nor the number of states reached its bound."""

    found: list[Found] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    phases: set[str] = field(default_factory=set)
    loops_done: set[str] = field(default_factory=set)
    loops_out: dict[str, Found] = field(default_factory=dict)
    steps_first: dict[str, Found] = field(default_factory=dict)
    states: int = 0
    transitions: int = 0
    depth: int = 0
    complete: bool = True


def explore(plan: Plan, inputs: tuple[Any, ...], bounds: Bounds, progress: Progress | None = None) -> Explored:
    """Explores all runs of a definition within the bounds."""
    return _Search(plan, bounds, progress).run(inputs)


class _Search:
    """One running search."""

    def __init__(self, plan: Plan, bounds: Bounds, progress: Progress | None) -> None:
        self.plan, self.bounds, self.progress = plan, bounds, progress
        self.seen: dict[int, int] = {}
        self.states: list[_State] = []
        self.told: set[tuple[Law, str]] = set()
        self.out = Explored()

    def run(self, inputs: tuple[Any, ...]) -> Explored:
        for input in inputs:
            for rules in self.plan.rules():
                state = _State(None, -1, None, 0, 0, input, rules)
                self._enter(state, self._begin(input, rules), None)
        index = 0
        while index < len(self.states):
            if self.progress is not None and index % _REPORT_EVERY == 0:
                self.progress(index, len(self.states) - index, self.states[index].depth)
            self._expand(index)
            index += 1
        self._endless()
        self.out.states = len(self.seen)
        return self.out

    def _begin(self, input: Any, rules: Mapping[str, str]) -> Scene:
        if input is None:
            return Scene.of(self.plan.definition, key=self.plan.key())
        return Scene.start(self.plan.definition, input, rules=rules)

    def _expand(self, index: int) -> None:
        state = self.states[index]
        scene, state.scene = state.scene, None
        if scene is None:
            return
        if state.depth >= self.bounds.depth or len(self.seen) >= self.bounds.states:
            self.out.complete = False
            return
        count = 0
        for move in self._moves(scene, state):
            count += 1
            self.out.transitions += 1
            next_ = _State(None, index, move, state.faults + move.fault, state.depth + 1, state.input, state.rules)
            try:
                after = move.apply(scene)
            except Exception as error:  # raised by the author's key function, or a defect of Sagaline
                self._tell(Breach(law=Law.CODE_RAISES, place=str(move.step), message=f"it raised {said(error)}"), next_)
                continue
            self._enter(next_, after, scene)
        over = ended(scene) or rests(scene)
        state.open = count > 0 and not over
        if count == 0 and not over and scene.status is not None:
            stuck = Breach(law=Law.NEVER_ENDS, place="stuck", message="nothing more can happen, but it has not ended")
            self._tell(stuck, state)

    def _moves(self, scene: Scene, state: _State) -> list[Move]:
        try:
            return list(successors(self.plan, scene, fault=state.faults < self.bounds.faults))
        except NoSampleError:
            raise
        except Exception as error:  # raised by the author's key function
            self._tell(Breach(law=Law.CODE_RAISES, place="key", message=f"a key raised {said(error)}"), state)
            return []

    def _enter(self, state: _State, scene: Scene, before: Scene | None) -> None:
        """Checks a scene that was reached, and queues it unless it is known."""
        key = fingerprint(scene)
        index = self.seen.get(key)
        known = index is not None
        if index is None or self.states[index].faults > state.faults:
            self.states.append(state)
            self.seen[key] = index = len(self.states) - 1
            found = list(breaches(scene, before))
            for breach in found:
                self._tell(breach, state)
            if not any(breach.law is not Law.NO_UNDO for breach in found):  # a broken scene is not explored further
                state.scene = scene
            if not known:
                self._note(scene, state)
                self.out.depth = max(self.out.depth, state.depth)
                self._late(scene, state)
        if state.move is not None and not state.move.fault:
            self.states[state.before].after.append(index)

    def _note(self, scene: Scene, state: _State) -> None:
        """Records the nodes and phases that were reached."""
        for document in scene.documents:
            definition = scene.registry.find(document.definition, document.version)
            if document.managed is not None and document.managed.phase is not None:
                self.out.phases.add(document.managed.phase)
            if definition is None:
                continue
            if document.pivot_passed:
                self.out.reached |= {
                    f"{definition.name}/{spot.node.name}" for spot in definition.tree if isinstance(spot.node, Pivot)
                }
            for place, record in document.steps.items():
                name = f"{definition.name}/{name_of(place)}"
                if name not in self.out.reached:
                    self.out.reached.add(name)
                    here = Breach(law=Law.RETRY, place=name, message="")
                    self.out.steps_first[name] = self._found(here, state)
                if isinstance(definition.tree[name_of(place)].node, Loop):
                    self._note_loop(name, place, record.status, document.cause, state)

    def _note_loop(self, name: str, place: str, status: StepStatus, cause: Any, state: _State) -> None:
        if status is StepStatus.DONE:
            self.out.loops_done.add(name)
        elif status is StepStatus.FAILED and cause is not None and cause.kind is CauseKind.ROUNDS:
            here = Breach(law=Law.LOOP, place=name, message="")
            self.out.loops_out.setdefault(name, self._found(here, state))

    def _late(self, scene: Scene, state: _State) -> None:
        """G8: a late reply changes nothing."""
        move = state.move
        if move is None or move.kind not in ("ok", "rejects", "exhaust", "time_out") or move.step is None:
            return
        command = scene._newest(move.step, move.of)
        record = scene.entities[command.instance].steps[command.step]  # type: ignore[union-attr]  # it sent a command
        if record.status is StepStatus.SENT:
            return
        after = Move(kind="late", step=move.step, of=move.of).apply(scene)
        if after.last is not None and after.last.outcome is not Outcome.IGNORED:
            self._tell(Breach(law=Law.LATE_REPLY, place=move.step, message="a late reply changed something"), state)

    def _endless(self) -> None:
        """From every state an end, or a bound of the search, must be reachable without further faults."""
        backward: list[list[int]] = [[] for _ in self.states]
        for index, state in enumerate(self.states):
            for next_ in state.after:
                backward[next_].append(index)
        fine = [index for index, state in enumerate(self.states) if not state.open]
        ends = set(fine)
        while fine:
            for index in backward[fine.pop()]:
                if index not in ends:
                    ends.add(index)
                    fine.append(index)
        for index, state in enumerate(self.states):
            if index not in ends and (state.input is not None or state.move is not None):
                breach = Breach(law=Law.NEVER_ENDS, place="cycle", message="from here on it loops and never ends")
                self._tell(breach, state)
                return

    def _tell(self, breach: Breach, state: _State) -> None:
        if (breach.law, breach.place) not in self.told:
            self.told.add((breach.law, breach.place))
            self.out.found.append(self._found(breach, state))

    def _found(self, breach: Breach, state: _State) -> Found:
        return Found(breach=breach, input=state.input, moves=tuple(self._path(state))[::-1], rules=state.rules)

    def _path(self, state: _State) -> Iterator[Move]:
        while state.move is not None:
            yield state.move
            state = self.states[state.before]
