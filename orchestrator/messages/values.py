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
    """Whose child an instance is: the parent's ``place`` that runs it, and for a part of an ``each`` its number.

    ``root`` is the outermost instance above it, ``root_incarnation`` which life of its key that is.
    """

    instance: str
    place: str
    root: str
    root_incarnation: str
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a forked instance comes from: the other instance, its revision after the fork, and the step it began at."""

    instance: str
    revision: int
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A place that a fork counts as done: the kind of its node, and what the flow behind it needs of its memory."""

    kind: str
    memo: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A start in the middle. ``taken``: places that count as done, in their order."""

    origin: Origin
    taken: dict[str, Taken]
