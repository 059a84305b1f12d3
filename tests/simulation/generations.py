"""The law of restarts: repeated steps were undone once before, and get new effect keys.

It uses its own model: the places from a step on come from the flow, their generation from the recorded acts and
changes. ``Restarts`` is that model, also for other laws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sagaline.orchestrator.kernel.places import name_of
from sagaline.orchestrator.messages.document import Document, Status, StepRecord, StepStatus
from sagaline.orchestrator.messages.entity_messages import EventDelivered
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Act, ActName
from sagaline.orchestrator.messages.outputs import Change, Outcome, incarnation_of
from sagaline.sagas import Saga
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import Child, Each

from .witness import Decided, Evidence, begins

__all__ = ["Restarts", "began_as", "has_undo", "key_at", "leaves_nothing", "record_key", "restarted"]

_BACK = frozenset({StepStatus.UNDONE, StepStatus.WAIVED, StepStatus.REJECTED, StepStatus.DROPPED})
"""The final statuses of a place that had sent a command, before it is repeated."""
_TURNED = frozenset({Status.COMPENSATING, Status.COMPENSATED, Status.ABANDONED})


def key_at(instance: str, incarnation: str, place: str, generation: int) -> str:
    """The effect key of a place in one incarnation of an instance, after this many restarts."""
    key = f"{instance}/{place}~{incarnation}"
    return f"{key}+{generation}" if generation else key


def record_key(document: Document, place: str, record: StepRecord) -> str:
    """The effect key of a recorded place."""
    return key_at(document.id, document.incarnation, place, record.generation)


def has_undo(definition: AnyDefinition, place: str) -> bool:
    """True when a place has an undo."""
    spot = definition.tree[name_of(place)]
    if name_of(place) in definition.steps:
        return definition.steps[name_of(place)].compensation is not None
    return isinstance(spot.node, Child | Each) and not spot.past_pivot


def leaves_nothing(definition: AnyDefinition, place: str) -> bool:
    """True when a place that sends a command has no effect: the leg of a scatter, or a read-only step."""
    step = definition.steps.get(name_of(place))
    return step is not None and step.options.read_only


class Restarts:
    """Follows the restarts of one instance, change by change."""

    def __init__(self, definition: AnyDefinition) -> None:
        self._definition = definition
        flow = definition.flow if isinstance(definition, Saga) else ()
        self._order = {node.name: number for number, node in enumerate(flow)}
        self.under_way: str | None = None
        """The step of the running restart, if any."""
        self.over = 0

    def decided(self, record: HistoryRecord) -> None:
        """Called with a decision, before its changes."""
        act = record.message
        if isinstance(act, Act) and act.act is ActName.RESTART and record.outcome is Outcome.APPLIED:
            self.under_way = name_of(act.step)

    def ends_with(self, change: Change) -> str | None:
        """The step of the restart that ends with this change, whose records from there on are dropped; None: none."""
        if change.what == "instance" and change.after in _TURNED:
            self.under_way = None
        if change.what != "restart" or change.before is None:
            return None
        self.under_way = None
        self.over += 1
        return change.before

    def takes_back(self, place: str) -> bool:
        """True when the running restart undoes this place."""
        return self.under_way is not None and self.lies_from(self.under_way, place)

    def lies_from(self, step: str, place: str) -> bool:
        """True when a place is this step or after it."""
        return self._at(place) >= self._at(step)

    def _at(self, place: str) -> int:
        path = self._definition.tree[name_of(place)].path
        return self._order[path[0][0].name if path else name_of(place)]


@dataclass(slots=True)
class _Life:
    """One instance at one point of its history."""

    instance: str
    definition: AnyDefinition
    restarts: Restarts
    incarnation: str = ""
    status: dict[str, str] = field(default_factory=dict)
    generation: dict[str, int] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    """Places that have sent a command or started a child, or that an operator has set to done."""

    def key(self, place: str, generation: int) -> str:
        """The effect key of a place after this many restarts."""
        return key_at(self.instance, self.incarnation, place, generation)


def restarted(found: Evidence) -> Iterator[str]:
    """Steps that a restart repeats were undone once before, and have new effect keys."""
    at: dict[tuple[str, bool], int] = {}
    for number, effect in enumerate(found.effects):
        if not effect.undo or effect.had:
            at.setdefault((effect.effect_key, effect.undo), number)
    for document, definition, history in found.lives():
        yield from _followed(found, document, definition, history, at)


def _followed(
    found: Evidence,
    document: Document,
    definition: AnyDefinition,
    history: Sequence[Decided],
    at: Mapping[tuple[str, bool], int],
) -> Iterator[str]:
    instance = document.id
    life = _Life(instance, definition, Restarts(definition))
    for record in (decided.record for decided in history):
        life.restarts.decided(record)
        if begins(record):
            life.incarnation = began_as(record)
        act = record.message
        if isinstance(act, Act) and act.act is ActName.SKIP and record.outcome is Outcome.APPLIED:
            life.sent.add(act.step)
        if life.restarts.under_way is not None and not isinstance(definition, Saga):
            yield f"{instance} is restarted, and has no order of steps"
            return
        for change in record.changes:
            under_way = life.restarts.under_way
            if (step := life.restarts.ends_with(change)) is not None:
                if step != under_way:
                    yield f"{instance}: a restart from {step} is over, and one from {under_way} was under way"
                yield from _anew(found, life, step, at)
            if name_of(change.what) not in definition.tree:
                continue
            if change.before is None:
                life.generation[change.what] = life.restarts.over
            life.status[change.what] = change.after
            if change.after == StepStatus.SENT:
                life.sent.add(change.what)
        for sent in record.sent:
            if not _is_named(life, sent.id):
                yield f"{instance}: {sent.id} leaves after {life.restarts.over} restarts"
    for place, step_record in document.steps.items():
        if step_record.attempt and step_record.generation != life.generation.get(place, 0):
            yield f"{instance}: {place} is on record as of generation {step_record.generation}"


def began_as(record: HistoryRecord) -> str:
    """The incarnation of a run, from its first decision: by its start, or a process manager's first event."""
    begun = record.message
    id = begun.event_id if isinstance(begun, EventDelivered) else begun.id if begun is not None else ""
    return incarnation_of(id, record.at_ms)


def _is_named(life: _Life, command_id: str) -> bool:
    """True when a command's id contains the generation of its place."""
    label = command_id.removeprefix(f"{life.instance}/").partition("/")[0]
    place = label.partition("~")[0]
    return life.key(place, life.generation.get(place, 0)) == f"{life.instance}/{label}"


def _anew(found: Evidence, life: _Life, step: str, at: Mapping[tuple[str, bool], int]) -> Iterator[str]:
    """At the end of a restart everything from its step on was undone, and nothing of it took effect again before."""
    instance, definition = life.instance, life.definition
    gone = [place for place in life.status if life.restarts.lies_from(step, place)]
    first = min(
        (number for (key, _), number in at.items() if _is_of(life, key)),
        default=len(found.effects),
    )
    for place in gone:
        status, key = life.status[place], life.key(place, life.generation[place])
        if place in life.sent and not leaves_nothing(definition, place) and status not in _BACK:
            yield f"{instance} begins {step} anew while {place} is {status}"
        did, undid = at.get((key, False)), at.get((key, True))
        if did is None or status == StepStatus.WAIVED or leaves_nothing(definition, place):
            continue
        if undid is None:
            yield f"{instance} begins {step} anew, and the effect of {key} is outstanding"
        elif undid > first:
            yield f"{instance} begins {step} anew before {key} is undone"
    for place in gone:
        yield from _children(found, life, place, step)
        del life.status[place], life.generation[place]
        life.sent.discard(place)


def _is_of(life: _Life, key: str) -> bool:
    """True when an effect key belongs to this incarnation after its last restart, or to a later one."""
    label = key.removeprefix(f"{life.instance}/")
    incarnation, _, number = label.partition("~")[2].partition("+")
    ours = label != key and "/" not in label and incarnation == life.incarnation
    return ours and number.isdigit() and int(number) >= life.restarts.over


def _children(found: Evidence, life: _Life, place: str, step: str) -> Iterator[str]:
    """A child that was undone as a unit is not completed."""
    if life.status[place] != StepStatus.UNDONE:
        return
    label = life.key(place, life.generation[place]).removeprefix(f"{life.instance}/")
    for child in found.documents.values():
        parent = child.parent
        if parent is None or (parent.instance, parent.place) != (life.instance, label):
            continue
        if child.status is Status.COMPLETED:
            yield f"{life.instance} begins {step} anew, and the child {child.id} of {place} is completed"
