"""The parts of generated definitions: models, contracts and events that are the same in every run, and the author's
functions as values.

The functions are objects, not lambdas: two with the same options are equal, and no source has to be read to check them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel

from sagaline.sagas import Contract, Event
from sagaline.sagas.nodes import Facts

__all__ = [
    "ASKED",
    "EVENTS",
    "FORWARD",
    "QUEUES",
    "UNDO",
    "Begins",
    "Even",
    "EventKey",
    "Fewer",
    "Form",
    "Gathers",
    "Happened",
    "Happens",
    "Known",
    "Looks",
    "Naps",
    "Part",
    "Parts",
    "Question",
    "Request",
    "Seed",
    "Sees",
    "TRIPS",
    "Told",
    "Who",
    "cost",
]

QUEUES = ("even", "odd")
TRIPS = "cannot bear the size"
"""In the message of every function that raises."""


class Seed(BaseModel):
    """The first value of every state. Several instances share a ``group``, which names locks and events."""

    key: str
    size: int = 0
    group: int = 0


class Request(BaseModel):
    """Every command."""

    key: str
    note: str


class Told(BaseModel):
    """Every reply."""

    number: int = 0


class Form(BaseModel):
    """The form of a question."""

    yes: bool


class Happened(BaseModel):
    """The body of every event."""

    key: str
    number: int = 0


class Part(Seed):
    """The state of a child."""

    r0: Told | None = None
    r1: Told | None = None
    r2: Told | None = None
    r3: Told | None = None
    answers: list[Told] = []


class Known(Seed):
    """The state of an instance."""

    r0: Told | None = None
    r1: Told | None = None
    r2: Told | None = None
    r3: Told | None = None
    r4: Told | None = None
    r5: Told | None = None
    r6: Told | None = None
    r7: Told | None = None
    answers: list[Told] = []
    best: Told | None = None
    h0: Happened | None = None
    h1: Happened | None = None
    form: Form | None = None
    child: Part | None = None
    gathered: int = 0


FORWARD = tuple(Contract(f"do-{n}", Request, Told, queue=QUEUES[n % 2]) for n in range(8))
UNDO = tuple(Contract(f"undo-{n}", Request, Told, queue=QUEUES[n % 2]) for n in range(4))
ASKED = Contract("ask-all", Request, Told, queue=QUEUES[0])
EVENTS = tuple(Event(f"event-{n}", Happened, keep=timedelta(seconds=span)) for n, span in enumerate((2, 5, 20)))


@dataclass(frozen=True)
class Looks:
    """Builds a command. ``trips_at``: raises for a state of that size, like a mistake of an author."""

    note: str
    trips_at: int = -1

    def __call__(self, s: Seed) -> Request:
        if s.size == self.trips_at:
            raise RuntimeError(f"{self.note} {TRIPS} {s.size}")
        return Request(key=s.key, note=self.note)


@dataclass(frozen=True)
class Even:
    """A predicate: true for every other size; inside a flow it may use a reply instead."""

    field: str = ""

    def __call__(self, s: Seed) -> bool:
        told = getattr(s, self.field) if self.field else None
        return (told.number if isinstance(told, Told) else s.size) % 2 == 0


@dataclass(frozen=True)
class Fewer:
    """Another round, until a reply is large enough."""

    field: str
    most: int

    def __call__(self, s: Seed) -> bool:
        told = getattr(s, self.field)
        return not isinstance(told, Told) or told.number < self.most


@dataclass(frozen=True)
class EventKey:
    """An event's key: the instance's own, or one that its group shares."""

    shared: bool

    def __call__(self, s: Seed) -> str:
        return f"group-{s.group}" if self.shared else s.key


@dataclass(frozen=True)
class Happens:
    """An event's body."""

    number: int

    def __call__(self, s: Seed) -> Happened:
        return Happened(key=s.key, number=self.number)


@dataclass(frozen=True)
class Naps:
    """A span that depends on the size; for some sizes none."""

    step_ms: int

    def __call__(self, s: Seed) -> timedelta:
        return timedelta(milliseconds=s.size * self.step_ms)


@dataclass(frozen=True)
class Sees:
    """The facts of a route."""

    def __call__(self, s: Seed) -> Facts:
        return {"size": s.size, "group": s.group}


@dataclass(frozen=True)
class Question:
    """The text of a question."""

    text: str

    def __call__(self, s: Seed) -> str:
        return f"{self.text} {s.key}?"


@dataclass(frozen=True)
class Who:
    """Who may answer."""

    names: tuple[str, ...]

    def __call__(self, s: Seed) -> Sequence[str]:
        return self.names


@dataclass(frozen=True)
class Begins:
    """The first state of a child."""

    def __call__(self, s: Seed) -> Part:
        return Part(key=s.key, size=s.size, group=s.group)


@dataclass(frozen=True)
class Parts:
    """The parts of a collection, as many as the size says."""

    most: int

    def __call__(self, s: Seed) -> list[Part]:
        return [Part(key=f"{s.key}.{n}", size=n, group=s.group) for n in range(min(s.size, self.most))]


@dataclass(frozen=True)
class Gathers:
    """Counts completed parts."""

    def __call__(self, s: Known, part: Part) -> Known:
        return s.model_copy(update={"gathered": s.gathered + 1})


def cost(told: Told) -> float:
    """The cost of an answer."""
    return told.number
