"""A decision: its actions in the outside world, its changes and its outcome."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum

from .document import Document
from .entities import Entity
from .entity_messages import Published, Rule
from .inputs import Message
from .parcels import Letter
from .reasons import ReasonCode
from .slips import Slip
from .values import JsonObject

__all__ = [
    "ABOUT_INSTANCE",
    "OVERDUE",
    "Action",
    "Announce",
    "Answer",
    "Archive",
    "Change",
    "DeadLetter",
    "Decision",
    "Forward",
    "Outcome",
    "Publish",
    "SendCommand",
    "Tell",
    "command_id",
    "effect_key",
    "incarnation_of",
    "instance_of_command",
    "label_of",
    "place_named",
    "place_of_label",
    "shown_label",
    "taker_of",
]


OVERDUE = "overdue"
"""``what`` of a change that reports an overdue step; ``after`` is its place."""
ABOUT_INSTANCE = frozenset(
    {
        *("instance", "paused", "phase", "version", "itinerary", "state", "restart", "fork", "denied", "queued"),
        OVERDUE,
    }
)
"""``what`` of the changes that are about the instance; that of every other change is the place whose status changed."""


def incarnation_of(begun_by: str, created_ms: int) -> str:
    """Identifies one life of a key, in 8 characters, from its first message: nothing remains of an earlier life.

    Args:
        begun_by: the id of the start, or of the event that begins a process manager's instance.
        created_ms: the time of that decision.
    """
    digest = hashlib.sha256(f"{created_ms}/{begun_by}".encode()).digest()
    return base64.b32encode(digest[:5]).decode().lower()


def label_of(place: str, generation: int, incarnation: str) -> str:
    """The name of a place outside its instance: ``charge~k3x9wq2z``, or ``charge~k3x9wq2z+1`` after a restart."""
    return f"{place}~{incarnation}+{generation}" if generation else f"{place}~{incarnation}"


def place_of_label(label: str) -> str:
    """The place of a label."""
    return label.partition("~")[0]


def shown_label(label: str) -> str:
    """A label for people, without the incarnation."""
    place, _, life = label.partition("~")
    _, plus, generation = life.partition("+")
    return f"{place}{plus}{generation}"


def taker_of(instance: str, label: str) -> str:
    """The name of one life of an instance: ``orders/A-1~k3x9wq2z``."""
    life = label.partition("~")[2].partition("+")[0]
    return f"{instance}~{life}" if life else instance


def effect_key(instance: str, label: str) -> str:
    """The key by which workers deduplicate: the same for every attempt of a step and of its undo, and different for
    each life of the instance's key.
    """
    return f"{instance}/{label}"


def command_id(instance: str, label: str, *, undo: bool, attempt: int) -> str:
    """The id of one attempt; each is published once."""
    key = effect_key(instance, label)
    return f"{key}/undo/{attempt}" if undo else f"{key}/{attempt}"


def place_named(instance: str, name: str) -> str:
    """The place that an effect key or a command's id of this instance names."""
    return place_of_label(name.removeprefix(f"{instance}/").partition("/")[0])


def instance_of_command(sent: str) -> str | None:
    """The instance that a command's id names; None: it is no such id."""
    key, _, attempt = sent.rpartition("/")
    instance, _, label = key.removesuffix("/undo").rpartition("/")
    return instance if instance and "~" in label and attempt.isdigit() else None


class Outcome(StrEnum):
    """What a decision did with the message."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    IGNORED = "ignored"
    DENIED = "denied"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCommand:
    """A command to a worker. ``payload``: its JSON; ``deadline_ms``: after it a reply is ignored.

    ``attempt_timeout_ms``: an attempt without a heartbeat for so long fails; None: only the deadline counts.
    ``progress``: the progress in the last heartbeat of an earlier attempt. ``slip``: the routing slip that the worker
    forwards.
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
    """The message can never be carried out: its original bytes go to the dead letter topic.

    ``letter``: not the message, but this letter of a parcel. ``message``: not the message that has arrived, but this
    one, which an instance has kept. ``detail``: the traceback of its failure.
    """

    reason: str
    letter: Letter | None = None
    message: Message | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """A message to another entity, or a child's start: it travels to ``message.instance`` in the same commit."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """An event that is published to the topic of events."""

    event: Published


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A record that is written as it is, in the commit that changes its parcel. ``partition`` None: by the key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """The rules of a table that processes follow have changed. ``version``: of the table, since this change."""

    table: str
    version: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """A key of a person is removed from its topic: what it has sealed can never be opened again."""

    subject: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The last document of a run, written to the topic of archived documents in the commit that removes it."""

    document: Document


Action = SendCommand | DeadLetter | Tell | Publish | Forward | Announce | Erase | Archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition, as the history shows it. ``what``: ``instance``, ``paused``, ``phase``, ``version``, ``overdue``,
    ``itinerary``, ``state`` (edited), ``restart`` (its step; ``over`` once the undos are done), ``fork`` (the new
    instance), ``denied`` (an event, and the reason), ``queued`` (a start that waits) or the place of a node.
    """

    what: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The complete result of one message. ``document`` None: there is no instance, or no longer.

    ``code`` says why, for programs; it is set unless the message was applied. ``reason`` says it for people.
    """

    document: Document | None
    outcome: Outcome
    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
    code: ReasonCode | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The complete result of one message to an entity. ``entity`` None: it has no data, or no longer."""

    entity: Entity | None
    outcome: Outcome
    actions: tuple[Action, ...] = ()
    code: ReasonCode | None = None
    reason: str = ""
