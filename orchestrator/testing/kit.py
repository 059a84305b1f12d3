"""``given(saga, state).when(happenings).then(expectations)``: tests of a definition with the real kernel.

- Steps are given by their function or by name. Happenings are ``ok``, ``rejects``, ``crash`` …, applied in order;
  replies that are not given are the smallest that their models allow.
- Expectations check the effects of the last ``when``: ``sent``, ``published``; or the current state: ``has_status``,
  ``has_state``, ``waits_for``, ``undone``, ``needs_attention``.
- A failed expectation raises AssertionError, which shows all expectations and the instance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from ...sagas import Event, Step
from ...sagas.definition import AnyDefinition, StatusName
from ...sagas.models import as_json
from ...sagas.personal import pretend_sealed
from ..messages.document import StepStatus
from ..messages.inputs import ActName
from ..messages.values import JsonObject
from ..scenes.scene import Scene

__all__ = [
    "Expectation",
    "Given",
    "Happening",
    "after",
    "answer",
    "cancel",
    "crash",
    "exhaust",
    "given",
    "has_state",
    "has_status",
    "needs_attention",
    "ok",
    "pause",
    "published",
    "receives",
    "rejects",
    "resume",
    "retry",
    "sent",
    "settle",
    "time_out",
    "undo_crash",
    "undo_exhaust",
    "undo_ok",
    "undo_rejects",
    "undone",
    "waits_for",
]

AnyStep: TypeAlias = Step[Any] | str
Value: TypeAlias = BaseModel | JsonObject
Happening: TypeAlias = Callable[[Scene], Scene]


@dataclass(frozen=True, slots=True)
class Expectation:
    """A condition; ``complaint`` returns why it fails. Takes the scene before ``when``, and after it."""

    text: str
    complaint: Callable[[Scene, Scene], str | None]


@dataclass(frozen=True, slots=True)
class Given:
    """A scene and the start of its last ``when``. Immutable: each ``when`` returns a new one, so it can be shared."""

    scene: Scene
    before: Scene

    def when(self, *happenings: Happening) -> Given:
        """Applies all happenings, in order.

        Raises:
            AssertionError: one is not possible: the reply is not expected, or no timer is due.
        """
        scene = self.scene
        for happens in happenings:
            scene = happens(scene)
        return replace(self, scene=scene, before=self.scene)

    def then(self, *expectations: Expectation) -> Given:
        """Checks all expectations.

        Raises:
            AssertionError: one of them fails.
        """
        __tracebackhide__ = True
        found = [(each, each.complaint(self.before, self.scene)) for each in expectations]
        if any(complaint for _, complaint in found):
            lines = [f"  {each.text}: {complaint or 'holds'}" for each, complaint in found]
            raise AssertionError("\n".join(["not as expected:", *lines, str(self.scene)]))
        return self


def given(definition: AnyDefinition, state: Value | None = None, *, key: str = "k") -> Given:
    """A saga that was started with this state (None: the smallest valid one), or a process manager before its start.

    ``then`` directly after ``given`` checks the effects of the start.

    Raises:
        AssertionError: the state is not valid.
    """
    before = Scene.of(definition, key=key)
    if hasattr(definition, "subscriptions"):
        return Given(before, before)
    return Given(Scene.start(definition, state, key=key), before)


# -- happenings ------------------------------------------------------------------------------------------------------


def ok(step: AnyStep, reply: Value | None = None) -> Happening:
    """The worker completes the step."""
    return lambda scene: scene.ok(_name(step), reply)


def rejects(step: AnyStep, reason: str = "rejects", *, code: str = "no") -> Happening:
    """The worker rejects the step."""
    return lambda scene: scene.rejects(_name(step), reason, code=code)


def crash(step: AnyStep) -> Happening:
    """One attempt fails."""
    return lambda scene: scene.crash(_name(step))


def exhaust(step: AnyStep) -> Happening:
    """Every attempt fails, until the step fails."""
    return lambda scene: scene.exhaust(_name(step))


def time_out(step: AnyStep) -> Happening:
    """No reply comes until the step times out."""
    return lambda scene: scene.time_out(_name(step))


def undo_ok(step: AnyStep, reply: Value | None = None) -> Happening:
    """The worker completes the undo."""
    return lambda scene: scene.undo_ok(_name(step), reply)


def undo_rejects(step: AnyStep, reason: str = "no") -> Happening:
    """The worker rejects the undo."""
    return lambda scene: scene.undo_rejects(_name(step), reason)


def undo_crash(step: AnyStep) -> Happening:
    """One attempt of the undo fails."""
    return lambda scene: scene.undo_crash(_name(step))


def undo_exhaust(step: AnyStep) -> Happening:
    """Every attempt of the undo fails, until the undo fails."""
    return lambda scene: scene.undo_exhaust(_name(step))


def answer(step: str, form: Value, *, by: str | None = None) -> Happening:
    """A person answers a question, by default the first who may.

    Raises:
        AssertionError: it is denied: there is no such question, the form is wrong, or the person may not answer.
    """

    def happens(scene: Scene) -> Scene:
        answered = scene.answer(step, form, by=by)
        assert answered.step(step) is StepStatus.DONE, answered.last.reason if answered.last else "nobody asks"
        return answered

    return happens


def receives(event: Event[Any], body: Value | None = None, *, key: str | None = None) -> Happening:
    """An event is published; the default key is one that an instance here waits for."""
    return lambda scene: scene.receives(event, body, key=key)


def after(span: timedelta) -> Happening:
    """Time passes; timers that are due fire."""
    return lambda scene: scene.advance(span)


def settle() -> Happening:
    """Every worker completes its commands and time passes, until nothing more happens."""
    return lambda scene: scene.settle()


def cancel(reason: str = "") -> Happening:
    """The instance is cancelled."""
    return lambda scene: scene.cancel(reason)


def retry() -> Happening:
    """An operator retries what put the instance into attention."""
    return lambda scene: scene.retry()


def pause() -> Happening:
    """An operator pauses it."""
    return lambda scene: scene.act(ActName.PAUSE)


def resume() -> Happening:
    """An operator resumes it."""
    return lambda scene: scene.act(ActName.RESUME)


# -- expectations ----------------------------------------------------------------------------------------------------


def sent(step: AnyStep, command: BaseModel | None = None, *, undo: bool = False) -> Expectation:
    """A command of the step, or of its undo, was sent; with ``command``: exactly this one."""
    name = _name(step)

    def complaint(before: Scene, now: Scene) -> str | None:
        new = now.sent[len(before.sent) :]
        found = [from_json(each.payload) for each in new if (each.step, each.undo) == (name, undo)]
        if not found:
            others = ", ".join(f"{'undo of ' if each.undo else ''}{each.step}" for each in new)
            return f"not sent; sent: {others or 'nothing'}"
        if command is None or as_json(pretend_sealed(command)) in found:
            return None
        return f"sent, but with {to_json(found[-1]).decode()}"

    return Expectation(f"sent {'the undo of ' if undo else ''}{name}", complaint)


def published(event: Event[Any], body: BaseModel | None = None) -> Expectation:
    """The event was published; with ``body``: exactly this one."""

    def complaint(before: Scene, now: Scene) -> str | None:
        found = [each.body for each in now.published[len(before.published) :] if each.event == event.name]
        if not found:
            return "not published"
        if body is None or as_json(pretend_sealed(body)) in found:
            return None
        return f"published, but with {to_json(found[-1]).decode()}"

    return Expectation(f"published {event.name}", complaint)


def has_status(status: StatusName | Literal["not started"]) -> Expectation:
    """The status of the instance."""

    def complaint(_: Scene, now: Scene) -> str | None:
        there = now.status.value if now.status else "not started"
        return None if there == status else f"it is {there}"

    return Expectation(f"has status {status}", complaint)


def has_state(**fields: object) -> Expectation:
    """Fields of the state and their values."""

    def complaint(_: Scene, now: Scene) -> str | None:
        state = now.state
        missing = [name for name in fields if name not in type(state).model_fields]
        if missing:
            return f"the state has no field {', '.join(missing)}"
        other = [
            f"{name} is {getattr(state, name)!r}" for name, value in fields.items() if getattr(state, name) != value
        ]
        return ", ".join(other) or None

    return Expectation(f"has state {', '.join(fields)}", complaint)


def waits_for(*steps: AnyStep) -> Expectation:
    """Exactly these steps, or their undos, wait for a worker's reply."""
    names = sorted(map(_name, steps))

    def complaint(_: Scene, now: Scene) -> str | None:
        there = sorted(each.step for each in now.waiting)
        return None if there == names else f"it waits for {', '.join(there) or 'nothing'}"

    return Expectation(f"waits for {', '.join(names) or 'nothing'}", complaint)


def undone(*steps: AnyStep) -> Expectation:
    """Exactly these steps were undone, in this order."""
    names = [_name(step) for step in steps]

    def complaint(_: Scene, now: Scene) -> str | None:
        there = [key.removeprefix(f"{now.id}/") for key in now.undone]
        return None if there == names else f"undone: {', '.join(there) or 'nothing'}"

    return Expectation(f"undone {', '.join(names) or 'nothing'}", complaint)


def needs_attention(words: str = "", *, code: str | None = None) -> Expectation:
    """The instance needs attention, with this reason code and a message that contains these words."""

    def complaint(_: Scene, now: Scene) -> str | None:
        attention = now.attention
        if attention is None:
            return "it does not need attention"
        if code is not None and attention.code != code:
            return f"its code is {attention.code!r}"
        return None if words in attention.message else f"it says {attention.message!r}"

    return Expectation(f"needs attention: {' '.join(filter(None, (code, words)))}", complaint)


def _name(step: AnyStep) -> str:
    return step if isinstance(step, str) else step.name
