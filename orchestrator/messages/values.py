"""Small values that several messages carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, JsonValue
from pydantic_core import from_json

__all__ = ["Fork", "JsonObject", "Origin", "Parent", "as_json", "instance_id"]

if TYPE_CHECKING:
    JsonObject = dict[str, JsonValue]
else:
    # At run time only the codec makes these, from JSON; pydantic would call Python for every value in them.
    JsonObject = dict[str, Any]


def as_json(value: BaseModel) -> JsonObject:
    """A model as exactly what its JSON reads as, by field names, so that a stored document equals the one in memory."""
    body: JsonObject = from_json(value.model_dump_json(by_alias=False, round_trip=True))
    return body


def instance_id(definition: str, key: str) -> str:
    """The entity id of a definition's instance: correlation needs no index."""
    return f"{definition}/{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Whose child an instance is: the parent's ``place`` that runs it, and for a part of an ``each`` its number.

    ``root`` is the outermost instance above it.
    """

    instance: str
    place: str
    root: str
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a forked instance comes from: the other instance, its revision after the fork, and the step it began at."""

    instance: str
    revision: int
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A start in the middle. ``taken``: places that count as done, in their order, with what each must remember."""

    origin: Origin
    taken: dict[str, JsonObject]
