"""Contracts: the interface between a saga and a worker.

A contract names a command, its reply and the queue between them. Saga and worker import it; neither imports the other.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Final, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel

from .errors import DefinitionError
from .given import check_choice, check_is
from .schemas import check_json_model

__all__ = ["PRIORITIES", "Contract", "Priority", "Rejected", "check_name", "is_name", "lane_of", "priority_of"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)

Priority: TypeAlias = Literal["high", "normal", "low"]
PRIORITIES: Final[tuple[Priority, ...]] = ("high", "normal", "low")
"""The lanes of a queue that has some, most urgent first."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


def is_name(name: object) -> bool:
    """True when ``name`` is valid in topic names, URLs and ids."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_name(what: str, name: str) -> None:
    """Raises DefinitionError unless ``name`` is valid in topic names, URLs and ids."""
    if not is_name(name):
        raise DefinitionError(
            f"{what} {name!r}: a name is 1 to 64 of a-z, 0-9, '-' and '_' and begins with a letter; choose such a name"
        )


def lane_of(queue: str, priority: Priority | None) -> str:
    """The lane of a queue: the queue itself for normal commands, else a queue of its own, such as ``mail.high``."""
    return queue if priority is None or priority == "normal" else f"{queue}.{priority}"


def priority_of(lane: str) -> Priority:
    """The priority of a lane, or of its topic."""
    for each in PRIORITIES:
        if lane.endswith(f".{each}"):
            return each
    return "normal"


@dataclass(frozen=True)
class Contract(Generic[C, R]):
    """A command, its reply, and the queue on which the command is sent.

    Args:
        name: the command's type on the wire; unique within a namespace.
        command: pydantic model of the request.
        reply: pydantic model of the answer.
        queue: its topic is ``{namespace}.commands.{queue}``.
        priority: of its commands, unless ``at`` names another one. With a priority, also ``normal``, the queue has a
            lane for each: topics of their own, read by the same workers, urgent ones first and none starved. Order per
            key holds within a lane. None: the queue has no lanes for this contract.

    Raises:
        DefinitionError: an invalid name or priority, or a model that cannot be sent as JSON; the author must fix it.
    """

    name: str
    command: type[C]
    reply: type[R]
    _: KW_ONLY
    queue: str
    priority: Priority | None = field(default=None, compare=False)

    @property
    def lane(self) -> str:
        """Where its commands go: the queue, or its lane of that priority."""
        return lane_of(self.queue, self.priority)

    @property
    def lanes(self) -> tuple[str, ...]:
        """Every lane of its queue, most urgent first; without a priority only the queue itself."""
        return (self.queue,) if self.priority is None else tuple(lane_of(self.queue, each) for each in PRIORITIES)

    def at(self, priority: Priority) -> Self:
        """The same contract, for commands of another priority: ``step(charge.at("high"))``.

        Raises:
            DefinitionError: no such priority, or its queue has no lanes.
        """
        if self.priority is None:
            raise DefinitionError(
                f"contract {self.name!r} has no priority, so its queue has no lanes; declare it with "
                f"Contract(…, queue={self.queue!r}, priority='normal')"
            )
        return replace(self, priority=priority)

    def __post_init__(self) -> None:
        check_name("contract", self.name)
        check_name(f"queue of contract {self.name!r}", self.queue)
        if self.priority is not None:
            check_choice(f"priority of contract {self.name!r}", self.priority, PRIORITIES)
        check_json_model(f"command of contract {self.name!r}", self.command)
        check_json_model(f"reply of contract {self.name!r}", self.reply, enters=True)


@dataclass(unsafe_hash=True)
class Rejected(Exception):  # a business "no" is not an error
    """A business "no": the worker did nothing and will not do it. A handler returns or raises it.

    Args:
        reason: a sentence for people; kept in the history.
        code: a short word for programs, such as ``card_declined``.

    Raises:
        DefinitionError: one of the two is not a string.
    """

    reason: str
    code: str = "rejected"

    def __post_init__(self) -> None:
        check_is("Rejected.reason", self.reason, str, "give a sentence for people")
        check_is("Rejected.code", self.code, str, "give a short word for programs")
        super().__init__(self.reason, self.code)

    def __str__(self) -> str:
        return f"{self.reason} ({self.code})"
