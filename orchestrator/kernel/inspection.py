"""What an operator must know about an instance: what is wrong, which effects are outstanding, which acts are allowed,
and what a cancel would do now. It applies the same rules as ``decide`` to the stored document.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...sagas.definition import AnyDefinition
from ...sagas.routing_slip import RoutingSlip
from ..messages.document import Attention, Document, StepRecord, StepStatus
from ..messages.inputs import ActName
from ..messages.reasons import Reason, ReasonCode
from .acts import ON_STEPS, fulfilled, objection
from .compatibility import missing_code
from .compensation import undo_order
from .context import DecisionContext
from .deferral import restore_timers, take_in
from .editing import edit_objection
from .forking import fork_objection
from .limits import Limits
from .outstanding import is_outstanding
from .places import name_of
from .restarting import restart_objection
from .slip import at_home, carried

__all__ = ["awaited_queues", "Cancelling", "Inspection", "Outstanding", "inspect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """A step whose effect is or may be outstanding; ``undo``: the contract that undoes it, None: there is none."""

    step: str
    status: StepStatus
    undo: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelling:
    """What a cancel would do now.

    ``denied``: why it would be denied; then the rest is empty. ``awaited``: steps in progress, each undone after its
    reply or its deadline. ``undone``: the steps to undo, in this order if those in progress succeed in the order in
    which they began; branches of a parallel may be undone at the same time. ``stays``: effects, certain or possible,
    that have no undo.
    """

    denied: Reason | None
    awaited: tuple[str, ...] = ()
    undone: tuple[Outstanding, ...] = ()
    stays: tuple[Outstanding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """``attention`` None: no operator is needed. ``outstanding``: steps that took effect, or may have, and are not
    undone, in the order in which they would be. ``acts``: the acts that are allowed now; ``on_steps``: those on a step.
    """

    attention: Attention | None
    outstanding: tuple[Outstanding, ...]
    acts: tuple[ActName, ...]
    on_steps: tuple[tuple[str, ActName], ...]
    cancel: Cancelling


def inspect(definition: AnyDefinition | None, document: Document) -> Inspection:
    """The inspection of one instance. ``definition`` None: not deployed here, so no act on a step is allowed."""
    lacking = missing_code(definition, document) is not None
    return Inspection(
        attention=document.attention,
        outstanding=tuple(_open(place, document.steps[place]) for place in _standing(definition, document)),
        acts=tuple(
            act
            for act in ActName
            if act not in ON_STEPS and _may(definition, document, act) and (act is ActName.ABANDON or not lacking)
        ),
        on_steps=() if definition is None or lacking else _on_steps(definition, document),
        cancel=_cancelling(definition, document),
    )


def awaited_queues(definition: AnyDefinition | None, document: Document) -> frozenset[str]:
    """The queues of the workers whose replies an instance waits for now."""
    if definition is None:
        return frozenset()
    found = set()
    for place, record in document.steps.items():
        step = definition.steps.get(name_of(place))
        if step is None or not record.status.is_in_flight:
            continue
        undo = step.compensation if record.status.is_undoing else None
        found.add(undo.contract.lane if undo is not None else step.contract.lane)
    return frozenset(found)


def _may(definition: AnyDefinition | None, document: Document, act: ActName) -> bool:
    """True when the act is allowed now and would change something."""
    if act is ActName.REVISE and (document.backward or not isinstance(definition, RoutingSlip)):
        return False
    if act is ActName.EDIT and edit_objection(document.steps) is not None:
        return False
    return objection(document, act) is None and not fulfilled(document, act)


def _standing(definition: AnyDefinition | None, document: Document) -> list[str]:
    """The outstanding places in the order in which they would be undone: those being undone; those that never
    completed; those in progress, as if they completed in the order in which they began; then the others in reverse
    order of completion.

    For a slip: from the end of its itinerary.
    """

    def rank(place: str) -> int:
        record = document.steps[place]
        if record.status.is_undoing:
            return 0
        return 3 if record.order is not None else 2 if record.status is StepStatus.SENT else 1

    order = undo_order(document.steps, document.itinerary)
    places = [place for place in order if is_outstanding(definition, place, document.steps[place])]
    return sorted(places, key=rank) if document.itinerary is None else places


def _awaited(definition: AnyDefinition | None, document: Document) -> list[str]:
    """The steps in progress that a cancel waits for: not the questions of a scatter, nor stops that a slip has not
    reached.
    """
    under_way = [
        place
        for place in undo_order(document.steps, document.itinerary)
        if document.steps[place].status is StepStatus.SENT
    ]
    steps = definition.steps if definition is not None else {}
    asking = {name for name, step in steps.items() if step.is_query}
    unsent = at_home(document.steps)
    return [place for place in under_way if name_of(place) not in asking and place not in unsent]


def _open(place: str, record: StepRecord) -> Outstanding:
    return Outstanding(step=place, status=record.status, undo=record.undo, error=record.error)


def _on_steps(definition: AnyDefinition, document: Document) -> tuple[tuple[str, ActName], ...]:
    ctx = DecisionContext(definition, document, document.updated_ms, Limits())
    return tuple((place, act) for place in document.steps for act in _on_step(ctx, place))


def _on_step(ctx: DecisionContext, place: str) -> list[ActName]:
    """The acts that are allowed on a step now."""
    definition, document = ctx.definition, ctx.document
    found = [] if document.status.is_final else _step_acts(ctx, place)
    if objection(document, ActName.RESTART) is None and restart_objection(definition, document, place) is None:
        found.append(ActName.RESTART)
    if fork_objection(definition, document, place) is None:
        found.append(ActName.FORK)
    return found


def _step_acts(ctx: DecisionContext, place: str) -> list[ActName]:
    record, is_step = ctx.steps[place], name_of(place) in ctx.definition.steps
    if record.status is StepStatus.UNDO_FAILED:
        return [ActName.WAIVE, ActName.REPLACE_UNDO] if is_step else [ActName.WAIVE]
    if record.status is StepStatus.WAITING and "question" in (record.memo or {}):
        return [ActName.ANSWER, ActName.CLAIM, ActName.ASSIGN]
    stuck = (record.status.is_stuck or record.status.is_attempting) and not carried(record)
    return [ActName.SKIP] if is_step and stuck and not ctx.unwinds(place) else []


def _heard(definition: AnyDefinition, document: Document) -> Document:
    """The instance after its deferred messages, which a cancel applies first.

    A step that is being undone stays so, even if the reply to its undo is among them.
    """
    ctx = DecisionContext(definition, document, document.updated_ms, Limits())
    ctx.unpause()
    restore_timers(ctx)
    take_in(ctx)
    found = ctx.decision().document
    assert found is not None
    undoing = {place: record for place, record in document.steps.items() if record.status.is_undoing}
    return replace(found, steps={**found.steps, **undoing})


def _cancelling(definition: AnyDefinition | None, document: Document) -> Cancelling:
    denied = objection(document, ActName.CANCEL)
    if denied is None and document.status.is_compensation:
        denied = Reason(ReasonCode.NOTHING_TO_CHANGE, f"it is {document.status} already")
    if denied is None:
        denied = missing_code(definition, document)
    if denied is not None:
        return Cancelling(denied=denied)
    if definition is not None and document.deferred:
        document = _heard(definition, document)
    standing = [_open(place, document.steps[place]) for place in _standing(definition, document)]
    return Cancelling(
        denied=None,
        awaited=tuple(_awaited(definition, document)),
        undone=tuple(each for each in standing if each.undo is not None),
        stays=tuple(each for each in standing if each.undo is None),
    )
