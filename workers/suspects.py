"""Messages that may have killed their consumer: who had them at work and did not close the partition afterwards.

``~open`` names the process that is at work on a partition. Another process that finds it knows that this one crashed,
or lives and has lost the partition without being able to say so; the log cannot tell which. A process that finds its
own name has only lost its connection, and nothing died.

After such an end, each message of the backlog is counted before its delivery: ``~seen/`` lists the processes that had
it. A process that takes the partition again has proven that it lives: it is removed from every list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from pydantic_core import to_json

if TYPE_CHECKING:
    from .arrived import Arrived

__all__ = ["OPEN", "SEEN", "Suspects"]

OPEN: Final = b"~open"
SEEN: Final = b"~seen/"
_OF_SOURCE: Final = SEEN + b"s/"
_OF_REDELIVERIES: Final = SEEN + b"r/"


class Suspects:
    """What one owner of a partition knows.

    Args:
        process: the id of this process.
    """

    def __init__(self, process: str) -> None:
        self._process = process
        self._predecessor: str | None = None
        self.had: dict[bytes, list[str]] = {}
        """The processes that had a message at work, by its document."""

    @property
    def found(self) -> bool:
        """Whether messages that were there when the partition was taken are counted before their delivery."""
        return self._predecessor is not None or bool(self.had)

    def restore(self, name: bytes, processes: list[str]) -> None:
        """What the document of a message says."""
        self.had[name] = processes

    def taken(self, opened_by: str | None, position: int) -> dict[bytes, bytes | None]:
        """The partition was taken; ``opened_by``: who left it open. Returns the documents to write."""
        self._predecessor = opened_by if opened_by != self._process else None
        changes: dict[bytes, bytes | None] = {OPEN: to_json(self._process)}
        for name, processes in list(self.had.items()):
            passed = name.startswith(_OF_SOURCE) and int(name[len(_OF_SOURCE) :]) < position
            others = [] if passed else [each for each in processes if each != self._process]
            if others != processes:
                changes[name] = to_json(others) if others else None
                self.had[name] = others
        self.had = {name: processes for name, processes in self.had.items() if processes}
        return changes

    def count(self, arrived: Arrived) -> int:
        """How many processes have had the message at work and were not seen since."""
        return len(self.had.get(_name(arrived), ()))

    def delivered(self, messages: Iterable[Arrived]) -> dict[bytes, bytes | None]:
        """The documents to write before these are delivered here."""
        changes: dict[bytes, bytes | None] = {}
        for arrived in messages:
            had = self.had.setdefault(_name(arrived), [self._predecessor] if self._predecessor else [])
            had.append(self._process)
            changes[_name(arrived)] = to_json(had)
        return changes

    def forget(self, arrived: Arrived) -> dict[bytes, bytes | None]:
        """The message has left its handler: the documents to write."""
        name = _name(arrived)
        return {name: None} if self.had.pop(name, None) is not None else {}


def _name(arrived: Arrived) -> bytes:
    kind = _OF_SOURCE if arrived.redelivered is None else _OF_REDELIVERIES
    return kind + str(arrived.record.offset).encode()
