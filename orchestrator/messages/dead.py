"""Dead letters as people see and act on them: a record of the dead letter topic, and what is asked about it.

Each letter has one entity, ``@dead/{partition}-{offset}``, by its place in the dead letter topic. It exists once the
letter was edited, redriven or discarded: its document is the mark that decides whether the letter was redriven already.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from .parcels import Base64, Letter, Millis, TopicName

__all__ = ["DEAD", "Cut", "DeadAct", "DeadRecord", "DeadRequest", "dead_id", "fingerprint", "place_of_dead"]

DEAD: Final = "@dead/"
"""Prefix of the ids of these entities."""

_PLACE = re.compile(r"(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,18})")
_FINGERPRINT_CHARS = 12
_VARIES = re.compile(r"[\w@/:.+-]*[0-9][\w@/:.+-]*")
"""Numbers, ids, addresses, times, lines: a run of letters and signs that has a digit."""


def dead_id(partition: int, offset: int) -> str:
    """The entity of the letter at this place of the dead letter topic."""
    return f"{DEAD}{partition}-{offset}"


def place_of_dead(id: str) -> tuple[int, int] | None:
    """Partition and offset of ``{partition}-{offset}``; None: it is not one."""
    found = _PLACE.fullmatch(id)
    return (int(found[1]), int(found[2])) if found is not None else None


def fingerprint(failure: str) -> str:
    """The same for failures that differ only in numbers, ids, addresses and line numbers.

    Args:
        failure: the traceback, or the reason.
    """
    plain = " ".join(_VARIES.sub("#", failure).split())
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()[:_FINGERPRINT_CHARS]


class Cut(NamedTuple):
    """What is missing of an original that was too large: the length of the whole value and key, its digest."""

    value_bytes: int | None = None
    value_sha256: str = ""
    key_bytes: int | None = None
    headers_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRecord:
    """A record of the dead letter topic at ``partition`` and ``offset``, dead since ``at_ms``.

    ``topic``, ``source_partition``, ``source_offset``: where the original was; empty and -1: not known, or it was never
    written. ``group``: whose message it was; empty: no group's. ``code``: the reason for machines, or empty.
    ``detail``: a traceback, or empty. ``cut``: what is missing of the original; None: nothing.
    """

    partition: int
    offset: int
    at_ms: int
    topic: str = ""
    source_partition: int = -1
    source_offset: int = -1
    key: str | None = None
    value: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    code: str = ""
    group: str = ""
    detail: str = ""
    cut: Cut | None = None

    @property
    def name(self) -> str:
        """Its name for people: ``{partition}-{offset}``."""
        return f"{self.partition}-{self.offset}"

    @property
    def id(self) -> str:
        """The id of its entity."""
        return dead_id(self.partition, self.offset)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.detail or self.reason)


class DeadAct(StrEnum):
    """What people ask about a dead letter."""

    REDRIVE = "redrive"
    EDIT = "edit"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRequest:
    """To the entity of a dead letter. The requester has read the letter; the engine never reads that topic.

    ``letter``: the original, as it is redriven; None: a discard. ``group``, ``redeliver_to``: whose message it was, and
    the topic of that group's redeliveries. ``dead_ms``: the time of the letter in the dead letter topic. ``value``,
    ``headers``: of an edit; None: unchanged.
    """

    id: str
    instance: str
    act: DeadAct
    dead_ms: Millis
    letter: Letter | None = None
    group: str = ""
    redeliver_to: TopicName | Literal[""] = ""
    value: Base64 | None = None
    headers: tuple[tuple[str, Base64], ...] | None = None
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["dead"] = "dead"
