"""What a decision asks of the outside world, and what it says about itself."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum

from .document import Document
from .entities import Entity
from .entity_messages import Published
from .inputs import Message
from .reasons import ReasonCode
from .slips import Slip
from .values import JsonObject

__all__ = [
    "OVERDUE",
    "Action",
    "Answer",
    "Change",
    "DeadLetter",
    "Decision",
    "Outcome",
    "Publish",
    "SendCommand",
    "Tell",
    "command_id",
    "effect_key",
    "incarnation_of",
    "instance_of_command",
    "label_of",
    "place_of_label",
    "shown_label",
    "taker_of",
]


OVERDUE = "overdue"
"""``what`` of a change that tells that a step is overdue; ``after`` is its place."""


def incarnation_of(begun_by: str, created_ms: int) -> str:
    """Which life of its key an instance is, in 8 characters, from what begins it: nothing is left of the life before.

    Args:
        begun_by: the id of the start, or of the event that begins a process manager's instance.
        created_ms: the time of that decision.
    """
    digest = hashlib.sha256(f"{created_ms}/{begun_by}".encode()).digest()
    return base64.b32encode(digest[:5]).decode().lower()


def label_of(place: str, generation: int, incarnation: str) -> str:
    """What a place is called outside: ``charge~k3x9wq2z``, after the first restart that takes it in
    ``charge~k3x9wq2z+1``.
    """
    return f"{place}~{incarnation}+{generation}" if generation else f"{place}~{incarnation}"


def place_of_label(label: str) -> str:
    """The place that ``label_of`` has given a name."""
    return label.partition("~")[0]


def shown_label(label: str) -> str:
    """A label as people read it beside its instance, without the incarnation."""
    place, _, life = label.partition("~")
    _, plus, generation = life.partition("+")
    return f"{place}{plus}{generation}"


def taker_of(instance: str, label: str) -> str:
    """What a life of an instance is called where only that counts: ``orders/A-1~k3x9wq2z``."""
    life = label.partition("~")[2].partition("+")[0]
    return f"{instance}~{life}" if life else instance


def effect_key(instance: str, label: str) -> str:
    """What a participant deduplicates by: the same for every attempt of a step and of its undo, and never again for
    another life of the same key.
    """
    return f"{instance}/{label}"


def command_id(instance: str, label: str, *, undo: bool, attempt: int) -> str:
    """The id of one attempt; each is published once."""
    key = effect_key(instance, label)
    return f"{key}/undo/{attempt}" if undo else f"{key}/{attempt}"


def instance_of_command(sent: str) -> str | None:
    """The instance that a command's id names; None: it is no such id."""
    key, _, attempt = sent.rpartition("/")
    instance, _, label = key.removesuffix("/undo").rpartition("/")
    return instance if instance and "~" in label and attempt.isdigit() else None


class Outcome(StrEnum):
    """What became of the message."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    IGNORED = "ignored"
    DENIED = "denied"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCommand:
    """A command to a worker. ``payload`` is its JSON; ``deadline_ms``: after it nobody waits for the answer.

    ``attempt_timeout_ms``: an attempt that says nothing for so long is given up; None: only the deadline counts.
    ``progress``: what the last heartbeat of an earlier attempt said. ``slip``: the worker sends it on from there.
    """

    instance: str
    step: str
    contract: str
    queue: str
    undo: bool
    attempt: int
    payload: bytes
    deadline_ms: int
    incarnation: str
    slip: Slip | None = None
    generation: int = 0
    attempt_timeout_ms: int | None = None
    progress: JsonObject | None = None

    @property
    def label(self) -> str:
        return label_of(self.step, self.generation, self.incarnation)

    @property
    def id(self) -> str:
        return command_id(self.instance, self.label, undo=self.undo, attempt=self.attempt)

    @property
    def effect_key(self) -> str:
        return effect_key(self.instance, self.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """The message can never be carried out: its original bytes go to the dead letter topic."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """A message to another entity, or a child's start: it travels to ``message.instance`` in the same commit."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """An event goes to the topic of events, for whoever reads it there."""

    event: Published


Action = SendCommand | DeadLetter | Tell | Publish


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition, as the history shows it: ``what`` is ``instance``, ``paused``, ``phase``, ``version``,
    ``overdue``, ``itinerary``, ``state`` (edited), ``restart`` (from where, and that all from there on is taken back:
    over), ``fork`` (into which instance) or the name of a step.
    """

    what: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The whole answer to one message. ``document`` None: there is no instance (any more).

    ``code`` says for programs why, and is there unless the message was applied; ``reason`` says it for people.
    """

    document: Document | None
    outcome: Outcome
    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
    code: ReasonCode | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The whole answer of an entity to one message. ``entity`` None: there is nothing to remember (any more)."""

    entity: Entity | None
    outcome: Outcome
    actions: tuple[Action, ...] = ()
    code: ReasonCode | None = None
    reason: str = ""
