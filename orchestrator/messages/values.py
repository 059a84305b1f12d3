"""Small values that several messages carry."""

from __future__ import annotations

from dataclasses import dataclass

from ...sagas.models import JsonObject, as_json, first_mistake, unknown_fields

__all__ = [
    "Fork",
    "JsonObject",
    "Origin",
    "Parent",
    "Taken",
    "as_json",
    "first_mistake",
    "instance_id",
    "unknown_fields",
]


def instance_id(definition: str, key: str) -> str:
    """The entity id of a definition's instance: correlation needs no index."""
    return f"{definition}/{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The parent of an instance: the ``place`` that runs it, and for a part of an ``each`` its number (``index``).

    ``root``: the outermost instance above it; ``root_incarnation``: the life of that instance's key.
    """

    instance: str
    place: str
    root: str
    root_incarnation: str
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The origin of a fork: the other instance, its revision after the fork, and the first step of the fork."""

    instance: str
    revision: int
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A place that counts as done in a fork: the kind of its node, and the part of its memo that the flow needs."""

    kind: str
    memo: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A start at a later step. ``taken``: the places that count as done, in order of completion."""

    origin: Origin
    taken: dict[str, Taken]
