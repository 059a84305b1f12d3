"""The laws: what must hold of every scene that can be reached. Each has a name, by which findings and tests call it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ...sagas import Step
from ...sagas.definition import AnyDefinition
from ...sagas.models import read
from ..kernel.context import said
from ..kernel.places import name_of
from ..messages.document import CauseKind, Document, Status, StepStatus
from ..scenes.scene import Scene

__all__ = ["Breach", "Law", "breaches", "ended", "must"]


class Law(StrEnum):
    """What is checked."""

    STEP_RAISES = "step-raises"
    UNDO_RAISES = "undo-raises"
    CODE_RAISES = "code-raises"
    NO_UNDO = "no-undo"
    NOT_UNDONE = "not-undone"
    UNDONE_TWICE = "undone-twice"
    NO_WAKE_UP = "no-wake-up"
    LATE_REPLY = "late-reply"
    INVARIANT = "invariant"
    NEVER_ENDS = "never-ends"
    UNREACHABLE = "unreachable"
    LOOP = "loop-runs-out"
    RETRY = "retry-too-long"
    WAIT = "nobody-emits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A law that does not hold; ``place``: of what, so that one mistake is told once."""

    law: Law
    place: str
    message: str


_EFFECT = frozenset({StepStatus.DONE, StepStatus.FAILED, StepStatus.BLOCKED})
_OPEN_UNDO = _EFFECT | {StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF, StepStatus.UNDO_FAILED}


def breaches(scene: Scene, before: Scene | None = None) -> Iterator[Breach]:
    """The laws that do not hold of a scene.

    ``before``: one in which they held; what is as it was there is not looked at again.
    """
    for document in scene.documents:
        definition = scene.registry.find(document.definition, document.version)
        if definition is None or (before is not None and before.entities.get(document.id) is document):
            continue
        yield from _raised(definition, document)
        if document.status is Status.COMPENSATED:
            yield from _left(definition, document)
        yield from _invariants(definition, document)
    if len(scene.undone) != len(set(scene.undone)):
        for key, times in Counter(scene.undone).items():
            if times > 1:
                yield Breach(law=Law.UNDONE_TWICE, place=key, message=f"{key} was undone {times} times")
    yield from _asleep(scene)


def must(law: str, scene: Scene) -> None:
    """Raises AssertionError when a law does not hold of a scene; for tests.

    ``never-ends`` asks for a scene in which everything has been done: it has ended or needs attention.
    ``retry-too-long`` asks for one in which every attempt of a step has just failed: none was cut off by its timeout.
    """
    found = [breach.message for breach in breaches(scene) if breach.law == law]
    if law == Law.NEVER_ENDS and not ended(scene):
        found.append("it neither ends nor needs attention")
    if law == Law.RETRY:
        found += [f"{place}: {scene.document.steps[place].error}" for place in _cut_off(scene)]
    assert not found, f"{law}: {'; '.join(found)}\n{scene}"


def _cut_off(scene: Scene) -> Iterator[str]:
    """The steps that have failed, and may be undone already, with attempts left."""
    for place, record in scene.document.steps.items():
        step = scene.definition.steps.get(name_of(place))
        failed = record.error is not None and (record.status is StepStatus.FAILED or record.status.is_undoing)
        if step is not None and failed and record.attempt - record.spent < step.options.retry.max_attempts:
            yield place


def ended(scene: Scene) -> bool:
    """True when nothing more is expected to happen: it has ended, or an operator must look."""
    return scene.status is not None and (
        scene.status.is_final or any(document.status is Status.ATTENTION for document in scene.documents)
    )


def _raised(definition: AnyDefinition, document: Document) -> Iterator[Breach]:
    attention = document.attention
    if attention is None or attention.kind is not CauseKind.CODE:
        return
    place = attention.step or "handler"
    record = document.steps.get(place)
    law = Law.CODE_RAISES
    if record is not None and record.status is StepStatus.UNDO_FAILED:
        law = Law.UNDO_RAISES
    elif name_of(place) in definition.steps:
        law = Law.STEP_RAISES
    yield Breach(law=law, place=f"{document.definition}/{name_of(place)}", message=attention.message)


def _left(definition: AnyDefinition, document: Document) -> Iterator[Breach]:
    """It says that it is compensated: nothing may be left of it."""
    for place, record in document.steps.items():
        spot = definition.tree[name_of(place)]
        where = f"{definition.name}/{name_of(place)}"
        if record.undo is not None and record.attempt and record.status in _OPEN_UNDO:
            yield Breach(
                law=Law.NOT_UNDONE, place=where, message=f"compensated, and {place!r} ({record.status}) is not undone"
            )
        node = spot.node
        if isinstance(node, Step) and record.undo is None and record.status in _EFFECT and not node.options.read_only:
            happened = "was done" if record.status is StepStatus.DONE else "may have been done"
            yield Breach(
                law=Law.NO_UNDO,
                place=where,
                message=f"step {place!r} {happened} and has no undo, yet the flow can fail behind it; "
                f"give it one, set it behind the pivot, or say read_only=True",
            )


def _invariants(definition: AnyDefinition, document: Document) -> Iterator[Breach]:
    if not definition.invariants or not document.state:
        return
    for name, holds in definition.invariants.items():
        where = f"{definition.name}/{name}"
        try:
            state = read(definition.state, document.state)
            broken = "" if holds(state, document.status.value) else f"invariant {name!r} does not hold"
        except Exception as error:  # the author's function or model
            broken = f"invariant {name!r} raised {said(error)}"
        if broken:
            yield Breach(law=Law.INVARIANT, place=where, message=f"{broken} while it is {document.status}")


def _asleep(scene: Scene) -> Iterator[Breach]:
    """G4: whoever lives has a timer, or waits for somebody who has, or is shown to an operator."""
    root = scene.entities.get(scene.id)
    if not isinstance(root, Document) or root.status.is_final or root.paused:
        return
    if scene.has_timer or any(document.status is Status.ATTENTION for document in scene.documents):
        return
    phase = root.managed.phase if root.managed else None
    where = f"in phase {phase!r} " if phase else ""
    yield Breach(
        law=Law.NO_WAKE_UP,
        place=phase or root.definition,
        message=f"{where}it waits, and nothing will ever wake it; set a timer, ask for a step, or end it",
    )
