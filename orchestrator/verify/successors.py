"""The possible next moves of a scene, as values: they can be applied, described in a line, and written as a call.

A *fault* is anything that a run without errors does not have: a rejection, a crash, exhaustion, a timeout, a cancel, a
failing undo, a duplicate event. Faults are counted against a budget.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ...sagas import Event, Step
from ...sagas.definition import AnyDefinition
from ...sagas.fields import fills
from ...sagas.models import as_json, read_foreign
from ...sagas.nodes import Ask, Route, Wait
from ...sagas.process_manager import ProcessManager
from ...sagas.routing_slip import RoutingSlip
from ..kernel.places import name_of
from ..kernel.slip import carried
from ..messages.document import CauseKind, Document, Status, StepRecord, StepStatus
from ..messages.values import JsonObject
from ..scenes.sample import Mentions, samples
from ..scenes.scene import Scene
from .inspect_code import inspect_code

__all__ = ["Move", "Plan", "as_value", "literal", "successors"]

_TOLD = {
    "start": "it is started",
    "ok": "{step} is done",
    "rejects": "{step} is rejected",
    "crash": "an attempt of {step} fails",
    "exhaust": "every attempt of {step} fails",
    "time_out": "{step} is not answered in time",
    "undo_ok": "{step} is undone",
    "undo_rejects": "the undo of {step} is rejected",
    "undo_exhaust": "every attempt to undo {step} fails",
    "late": "a second reply to {step} arrives",
    "receives": "event {step} arrives",
    "answer": "a person answers {step}",
    "cancel": "it is cancelled",
    "retry": "an operator retries",
    "tick": "time passes until the next timer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move: ``kind`` is the method of ``Scene``, ``step`` its subject."""

    kind: str
    step: str | None = None
    value: JsonObject | None = None
    of: str | None = None
    fault: bool = False

    def apply(self, scene: Scene) -> Scene:
        """The scene after the move."""
        method: Callable[..., Scene] = getattr(scene, self.kind)
        given = [part for part in (self.step, self.value) if part is not None]
        return method(*given) if self.of is None else method(*given, of=self.of)

    @property
    def told(self) -> str:
        """The move as a sentence."""
        value = f" with {_short(self.value)}" if self.value else ""
        return f"{_TOLD[self.kind].format(step=self.step)}{value}{f' ({self.of})' if self.of else ''}"

    @property
    def call(self) -> str:
        """The move as a method call."""
        parts = [literal(part) for part in (self.step, self.value) if part is not None]
        parts += [f"of={literal(self.of)}"] if self.of is not None else []
        return f".{self.kind}({', '.join(parts)})"


def literal(value: object) -> str:
    """A JSON value as Python source, strings in double quotes."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(name)}: {literal(part)}' for name, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _short(value: JsonObject | None) -> str:
    text = ", ".join(f"{name}={part!r}" for name, part in (value or {}).items())
    return text if len(text) <= 100 else f"{text[:99]}…"


@dataclass(kw_only=True)
class Plan:
    """The values with which a definition is explored: the author's, or generated from its models."""

    definition: AnyDefinition
    given: Mapping[type[BaseModel], Sequence[BaseModel | JsonObject]] = field(default_factory=dict)
    looks: Mentions = field(init=False)

    def __post_init__(self) -> None:
        self.looks = inspect_code(_family(self.definition))
        self._made: dict[type[BaseModel], tuple[JsonObject, ...]] = {}

    def values(self, model: type[BaseModel]) -> tuple[JsonObject, ...]:
        """The values of a reply or event."""
        if model not in self._made:
            given = self.given.get(model)
            made = tuple(map(as_value, given)) if given else samples(model, self.looks)
            self._made[model] = made if given else (*made, *self._revisions(model, made[0]))
        return self._made[model]

    def _revisions(self, model: type[BaseModel], least: JsonObject) -> Iterator[JsonObject]:
        """Replies of a routing slip's stop that revise the itinerary: to all stops declared after it."""
        if not isinstance(self.definition, RoutingSlip):
            return
        names = list(self.definition.stops)
        for place, stop in enumerate(self.definition.stops.values()):
            if stop.revises is not None and stop.contract.reply is model:
                yield {**least, stop.revises: [*names[place + 1 :]]}

    def inputs(self) -> tuple[JsonObject, ...]:
        """The inputs of instances; fields that the flow fills are left empty."""
        definition = self.definition
        if definition.state in self.given:
            return self.values(definition.state)
        filled = frozenset(name for spot in definition.tree for name, _ in fills(spot.node))
        looks = Mentions(names=self.looks.names - filled, read=self.looks.read - filled, constants=self.looks.constants)
        return samples(definition.state, looks)

    def rules(self) -> list[dict[str, str]]:
        """The results of the tables of its routes: no rule, or for one table one of its branches."""
        routes = [spot.node for spot in self.definition.tree if isinstance(spot.node, Route)]
        return [{}, *({route.table: branch.label} for route in routes for branch in route.branches)]

    def key(self) -> str:
        """The key of a process manager's instance, from the event that starts it."""
        if isinstance(self.definition, ProcessManager):
            for each in self.definition.subscriptions.values():
                if each.starts is not None:
                    return each.key(read_foreign(each.event.model, self.values(each.event.model)[0]))
        return "k"

    def body(self, event: Event[Any], scene: Scene) -> Iterator[JsonObject]:
        """Bodies of an event; for a process manager only those with its instance's key."""
        key = scene.id.partition("/")[2]
        for value in self.values(event.model):
            if isinstance(self.definition, ProcessManager) and event.name in self.definition.subscriptions:
                subscription = self.definition.subscriptions[event.name]
                own = subscription.key(read_foreign(event.model, value))
                yield _renamed(value, own, key) if own != key else value
            else:
                yield value


def _family(definition: AnyDefinition) -> list[AnyDefinition]:
    found = [definition]
    for each in found:
        found += [child for child in each.children if child not in found]
    return found


def as_value(value: BaseModel | JsonObject) -> JsonObject:
    """A model as its JSON; JSON as it is."""
    return as_json(value) if isinstance(value, BaseModel) else value


def _renamed(value: Any, before: str, after: str) -> Any:
    if isinstance(value, dict):
        return {name: _renamed(part, before, after) for name, part in value.items()}
    return after if value == before else value


def successors(plan: Plan, scene: Scene, *, fault: bool) -> Iterator[Move]:
    """All possible next moves; without ``fault`` only moves that are not faults."""
    root = scene.entities.get(scene.id)
    in_flight = sum(r.status.is_in_flight for document in scene.documents for r in document.steps.values())
    if isinstance(root, Document) and root.status.is_final and not in_flight:
        return
    for document in scene.documents:
        of = None if document.id == scene.id else document.id
        definition = scene.registry.find(document.definition, document.version)
        if definition is None or document.status.is_final:
            continue
        for place, record in document.steps.items():
            step = definition.steps.get(name_of(place))
            if step is not None and record.status.is_in_flight and not carried(record):
                yield from _replies(plan, step, (place, of), record, fault=fault, alone=in_flight == 1)
            elif record.status is StepStatus.WAITING:
                node = definition.tree[name_of(place)].node
                if isinstance(node, Wait):
                    got = (record.memo or {}).get("got") or []
                    yield from _awaited(plan, scene, node, got if isinstance(got, list) else [])
                elif isinstance(node, Ask):
                    for value in plan.values(node.options.form):
                        yield Move(kind="answer", step=place, value=value, of=of)
        attention = document.attention
        if document.status is Status.ATTENTION and attention is not None and attention.kind is not CauseKind.CODE:
            yield Move(kind="retry", of=of)
    yield from _events(plan, scene, fault)
    if isinstance(root, Document) and root.status is Status.RUNNING and not root.pivot_passed and fault:
        yield Move(kind="cancel", fault=True)
    if _time_alone(scene):
        yield Move(kind="tick")


def _replies(
    plan: Plan, step: Step[Any], at: tuple[str, str | None], record: StepRecord, *, fault: bool, alone: bool
) -> Iterator[Move]:
    """The possible replies of a worker, and none.

    An undo that is rejected, exhausted or not answered ends in the same state, so only the rejection is explored, and
    the exhaustion where nothing else is in flight, so that time affects nothing else.
    """
    place, of = at
    if record.status is StepStatus.UNDO_SENT:
        yield Move(kind="undo_ok", step=place, of=of)
        if fault:
            yield Move(kind="undo_rejects", step=place, of=of, fault=True)
        if fault and alone:
            yield Move(kind="undo_exhaust", step=place, of=of, fault=True)
        return
    for value in plan.values(step.contract.reply):
        yield Move(kind="ok", step=place, value=value or None, of=of)
    if fault:
        yield Move(kind="rejects", step=place, of=of, fault=True)
        if step.options.retry.max_attempts > record.attempt:
            yield Move(kind="crash", step=place, of=of, fault=True)
        yield Move(kind="exhaust", step=place, of=of, fault=True)
        yield Move(kind="time_out", step=place, of=of, fault=True)


def _awaited(plan: Plan, scene: Scene, node: Wait[Any], got: Sequence[object]) -> Iterator[Move]:
    for index, expected in enumerate(node.expected):
        if index not in got:
            for value in plan.body(expected.event, scene):
                yield Move(kind="receives", step=expected.event.name, value=value)


def _events(plan: Plan, scene: Scene, fault: bool) -> Iterator[Move]:
    """A process manager's events: each once, and a duplicate as a fault."""
    if not isinstance(plan.definition, ProcessManager):
        return
    root = scene.entities.get(scene.id)
    if isinstance(root, Document) and root.status is not Status.RUNNING:
        return
    for name, subscription in plan.definition.subscriptions.items():
        times = sum(1 for each in scene.published if each.event == name)
        if times == 0 or (times == 1 and fault):
            for value in plan.body(subscription.event, scene):
                yield Move(kind="receives", step=name, value=value, fault=times > 0)


def _time_alone(scene: Scene) -> bool:
    """True when the next timer is not the timeout of a worker, which would be a fault."""
    for timer in scene.timers:
        what = timer.name.rpartition(":")
        document = scene.entities[timer.instance]
        if what[2] == "expected" or not isinstance(document, Document):
            continue
        record = document.steps.get(what[0])
        definition = scene.registry.find(document.definition, document.version)
        worked = definition is not None and name_of(what[0]) in definition.steps
        return not (record is not None and record.status.is_in_flight and not carried(record) and worked)
    return False
