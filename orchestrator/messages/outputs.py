"""What a decision asks of the outside world, and what it says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .document import Document
from .entities import Published
from .helpers import Helper
from .inputs import Message
from .slips import Slip

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
    "label_of",
    "place_of_label",
]


OVERDUE = "overdue"
"""``what`` of a change that tells that a step is overdue; ``after`` is its place."""


def label_of(place: str, generation: int) -> str:
    """What a place is called outside: ``charge``, after the first restart that takes it in ``charge+1``."""
    return f"{place}+{generation}" if generation else place


def place_of_label(label: str) -> str:
    """The place that ``label_of`` has given a name."""
    return label.partition("+")[0]


def effect_key(instance: str, step: str, generation: int = 0) -> str:
    """What a participant deduplicates by: the same for every attempt of a step and of its undo."""
    return f"{instance}/{label_of(step, generation)}"


def command_id(instance: str, step: str, *, undo: bool, attempt: int, generation: int = 0) -> str:
    """The id of one attempt; each is published once."""
    key = effect_key(instance, step, generation)
    return f"{key}/undo/{attempt}" if undo else f"{key}/{attempt}"


class Outcome(StrEnum):
    """What became of the message."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    IGNORED = "ignored"
    REFUSED = "refused"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCommand:
    """A command to a worker. ``payload`` is its JSON; ``deadline_ms``: after it nobody waits for the answer.

    ``slip``: the worker sends it on from there.
    """

    instance: str
    step: str
    contract: str
    queue: str
    undo: bool
    attempt: int
    payload: bytes
    deadline_ms: int
    slip: Slip | None = None
    generation: int = 0

    @property
    def id(self) -> str:
        return command_id(self.instance, self.step, undo=self.undo, attempt=self.attempt, generation=self.generation)

    @property
    def effect_key(self) -> str:
        return effect_key(self.instance, self.step, self.generation)


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
    """The whole answer to one message. ``document`` None: there is no instance (any more)."""

    document: Document | None
    outcome: Outcome
    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The whole answer of a helper entity to one message. ``entity`` None: there is nothing to remember (any more)."""

    entity: Helper | None
    outcome: Outcome
    actions: tuple[Action, ...] = ()
    reason: str = ""
