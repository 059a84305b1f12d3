"""Contracts: the interface between a saga and a worker.

A contract names a command, its reply and the queue between them. Saga and worker import it; neither imports the other.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from .errors import DefinitionError
from .given import check_is
from .schemas import check_json_model

__all__ = ["Contract", "Rejected", "check_name", "is_name"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)

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


@dataclass(frozen=True)
class Contract(Generic[C, R]):
    """A command, its reply, and the queue on which the command is sent.

    Args:
        name: the command's type on the wire; unique within a namespace.
        command: pydantic model of the request.
        reply: pydantic model of the answer.
        queue: its topic is ``{namespace}.commands.{queue}``.

    Raises:
        DefinitionError: an invalid name, or a model that cannot be sent as JSON; the author must fix it.
    """

    name: str
    command: type[C]
    reply: type[R]
    _: KW_ONLY
    queue: str

    def __post_init__(self) -> None:
        check_name("contract", self.name)
        check_name(f"queue of contract {self.name!r}", self.queue)
        check_json_model(f"command of contract {self.name!r}", self.command)
        check_json_model(f"reply of contract {self.name!r}", self.reply)


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
