"""The laws: conditions on every reachable scene. Findings and tests refer to them by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ...sagas import Step
from ...sagas.definition import AnyDefinition
from ...sagas.models import read
from ...sagas.process_manager import ProcessManager
from ..kernel.context import said
from ..kernel.places import name_of
from ..messages.document import CauseKind, Document, Status, StepStatus
from ..scenes.scene import Scene

__all__ = ["Breach", "Law", "breaches", "ended", "must", "rests"]


class Law(StrEnum):
    """The names of the checks."""

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
    """A broken law; ``place``: where, so that each mistake is reported once."""

    law: Law
    place: str
    message: str


_EFFECT = frozenset({StepStatus.DONE, StepStatus.FAILED, StepStatus.BLOCKED})
_OPEN_UNDO = _EFFECT | {StepStatus.UNDO_SENT, StepStatus.UNDO_BACKOFF, StepStatus.UNDO_FAILED}


def breaches(scene: Scene, before: Scene | None = None) -> Iterator[Breach]:
    """The laws that a scene breaks.

    ``before``: an earlier scene in which they held; unchanged parts are not checked again.
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
    """Raises AssertionError when a scene breaks a law; for tests.

    ``never-ends`` requires a settled scene: the instance must have ended or need attention. ``retry-too-long`` requires
    a scene in which every attempt of a step has just failed: the timeout must not have prevented any attempt.
    """
    found = [breach.message for breach in breaches(scene) if breach.law == law]
    if law == Law.NEVER_ENDS and not ended(scene):
        found.append("it neither ends nor needs attention")
    if law == Law.RETRY:
        found += [f"{place}: {scene.document.steps[place].error}" for place in _cut_off(scene)]
    assert not found, f"{law}: {'; '.join(found)}\n{scene}"


def _cut_off(scene: Scene) -> Iterator[str]:
    """The steps that failed with attempts left; they may already be undone."""
    for place, record in scene.document.steps.items():
        step = scene.definition.steps.get(name_of(place))
        failed = record.error is not None and (record.status is StepStatus.FAILED or record.status.is_undoing)
        if step is not None and failed and record.attempt - record.spent < step.options.retry.max_attempts:
            yield place


def ended(scene: Scene) -> bool:
    """True when it has ended or an operator must act."""
    return scene.status is not None and (
        scene.status.is_final or any(document.status is Status.ATTENTION for document in scene.documents)
    )


def rests(scene: Scene) -> bool:
    """True when it is a process in a phase in which it may wait for events without a timer, as its kind says."""
    root, definition = scene.entities.get(scene.id), scene.definition
    managed = root.managed if isinstance(root, Document) else None
    return managed is not None and isinstance(definition, ProcessManager) and managed.phase in definition.rests


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
    """A compensated instance must have no effects left."""
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
                message=f"step {place!r} {happened} and has no undo, yet the flow can fail after it; "
                f"add an undo, move it after the pivot, or set read_only=True",
            )


def _invariants(definition: AnyDefinition, document: Document) -> Iterator[Breach]:
    if not definition.invariants or not document.state:
        return
    for name, holds in definition.invariants.items():
        where = f"{definition.name}/{name}"
        try:
            state = read(definition.state, document.state)
            broken = "" if holds(state, document.status.value) else f"invariant {name!r} does not hold"
        except Exception as error:  # raised by the author's function or model
            broken = f"invariant {name!r} raised {said(error)}"
        if broken:
            yield Breach(law=Law.INVARIANT, place=where, message=f"{broken} while it is {document.status}")


def _asleep(scene: Scene) -> Iterator[Breach]:
    """G4: a live instance has a timer, waits for another one that has, or needs attention."""
    root = scene.entities.get(scene.id)
    if not isinstance(root, Document) or root.status.is_final or root.paused:
        return
    if scene.has_timer or any(document.status is Status.ATTENTION for document in scene.documents):
        return
    phase = root.managed.phase if root.managed else None
    if rests(scene):
        return
    where = f"in phase {phase!r} " if phase else ""
    yield Breach(
        law=Law.NO_WAKE_UP,
        place=phase or root.definition,
        message=f"{where}it waits, and nothing will ever wake it; set a timer, start a step, or end it",
    )
