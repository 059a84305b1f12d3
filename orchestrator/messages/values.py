"""Small values that several messages carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import from_json

__all__ = ["Fork", "JsonObject", "Origin", "Parent", "as_json", "first_mistake", "instance_id", "unknown_fields"]

if TYPE_CHECKING:
    JsonObject = dict[str, JsonValue]
else:
    # At run time only the codec makes these, from JSON; pydantic would call Python for every value in them.
    JsonObject = dict[str, Any]


def as_json(value: BaseModel) -> JsonObject:
    """A model as exactly what its JSON reads as, by field names, so that a stored document equals the one in memory."""
    body: JsonObject = from_json(value.model_dump_json(by_alias=False, round_trip=True))
    return body


def unknown_fields(model: type[BaseModel]) -> Literal["forbid"] | None:
    """``extra`` for a validation: a field that the model does not know is refused, unless the model itself says what to
    do with such fields.
    """
    return "forbid" if model.model_config.get("extra") is None else None


def first_mistake(error: ValidationError) -> tuple[str, str]:
    """The path of the first mistake, empty for the whole, and what is wrong there; the others are counted."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ".".join(map(str, first["loc"])), f"{first['msg']}{more}"


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
