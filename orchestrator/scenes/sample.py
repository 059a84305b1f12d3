"""Generates values of pydantic models: the smallest valid ones, and variants of fields that the author's code reads.

Generated from the model's JSON schema. A string is the name of its field, so that fields of the same name agree across
models. Where no valid value can be generated, or a better one is needed, the author gives examples:
``json_schema_extra={"examples": […]}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel, JsonValue, ValidationError

from ...sagas import SagalineError
from ...sagas.models import first_mistake, read_foreign
from ...sagas.personal import sealed_for_tests
from ..messages.values import JsonObject

__all__ = ["Mentions", "NoSampleError", "samples"]

_FORMATS = {
    "date-time": "2030-01-01T00:00:00Z",
    "date": "2030-01-01",
    "time": "00:00:00Z",
    "duration": "PT1H",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "email": "somebody@example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "binary": "a",
}
_TEXTS = ("a", "A", "0", "aa", "AA", "00", "AAA", "000", "A0", "AAA-000", "+10000000000", "0000-0000", "0.00")
_VARIANTS_MAX = 8


class NoSampleError(SagalineError):
    """No valid value of a model could be generated; give some in its ``json_schema_extra={"examples": […]}``."""


@dataclass(frozen=True, kw_only=True)
class Mentions:
    """What the author's functions use: fields and constants that decide something, and fields that are only read.

    Fields in ``names`` always get variants; fields in ``read`` only if they have few values: a bool, an enum, None.
    """

    names: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    constants: frozenset[str | int | float] = frozenset()


def samples(model: type[BaseModel], looks: Mentions = Mentions()) -> tuple[JsonObject, ...]:
    """Valid values as JSON, one or more: the author's examples, or the smallest value first, then its variants.

    Raises:
        NoSampleError: no valid value could be generated.
    """
    hashable: Any = model
    return _samples(hashable, looks)


@lru_cache(maxsize=1024)
def _samples(model: type[BaseModel], looks: Mentions) -> tuple[JsonObject, ...]:
    schema = model.model_json_schema(by_alias=True)
    given = schema.get("examples")
    maker = _Maker(cast("dict[str, Any]", schema.get("$defs", {})), looks)
    found: list[JsonObject] = []
    first: ValidationError | None = None
    for value in given or maker.variants(schema, "value"):
        try:
            read_foreign(model, value)
        except ValidationError as error:
            first = first or error
            continue
        if isinstance(value, dict) and value not in found:
            found.append(value)
        if len(found) >= _VARIANTS_MAX:
            break
    if not found:
        where, wrong = first_mistake(first) if first else ("", "it is not an object")
        raise NoSampleError(
            f"no valid {model.__name__} could be made ({where or model.__name__}: {wrong}); give one: "
            f'model_config = ConfigDict(json_schema_extra={{"examples": [{{…}}]}})'
        )
    return tuple(found)


class _Maker:
    """Generates values of a schema. ``variants`` yields the smallest first; each other differs from it in one field."""

    def __init__(self, definitions: dict[str, Any], looks: Mentions) -> None:
        self._definitions, self._looks, self._open = definitions, looks, cast("list[str]", [])

    def variants(self, schema: dict[str, Any], name: str, seen: int = 2) -> Iterator[JsonValue]:
        """Values of a schema; ``seen``: 0 the field is not used, 1 it is read, 2 a decision depends on it."""
        if schema.get("x-personal"):
            yield {"sealed": sealed_for_tests(f'"{name}"'), "subject": name}
        elif "examples" in schema:
            yield from schema["examples"]
        elif "$ref" in schema:
            yield from self._referred(schema["$ref"], name, seen)
        elif "const" in schema:
            yield schema["const"]
        elif "enum" in schema:
            yield from schema["enum"] if seen else schema["enum"][:1]
        elif parts := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
            for part in parts if seen else parts[:1]:
                yield from self.variants(part, name, seen)
        else:
            yield from self._typed(schema, name, seen)

    def _referred(self, reference: str, name: str, seen: int) -> Iterator[JsonValue]:
        target = reference.rpartition("/")[2]
        if target in self._open:  # a recursive model: its optional fields end the recursion
            return
        self._open.append(target)
        yield from list(self.variants(self._definitions[target], name, seen))
        self._open.pop()

    def _typed(self, schema: dict[str, Any], name: str, seen: int) -> Iterator[JsonValue]:
        match schema.get("type"):
            case "object" if "properties" in schema:
                yield from self._object(schema)
            case "object":
                yield {}
            case "array":
                yield from self._array(schema, name, seen)
            case "string":
                yield from self._texts(schema, name, seen)
            case "integer" | "number" as kind:
                yield from self._numbers(schema, kind == "integer", seen)
            case "boolean":
                yield False
                if seen:
                    yield True
            case "null":
                yield None
            case _:
                yield name

    def _object(self, schema: dict[str, Any]) -> Iterator[JsonValue]:
        base: JsonObject = {}
        others: list[tuple[str, JsonValue]] = []
        for field, part in schema["properties"].items():
            looked_at = 2 if field in self._looks.names else 1 if field in self._looks.read else 0
            required = field in schema.get("required", ())
            if not required and not looked_at:
                continue
            values = list(self.variants(part, field, looked_at))
            if required and not values:
                return
            if required:
                base[field], values = values[0], values[1:]
            others += [(field, value) for value in values if required or value != part.get("default")]
        yield base
        yield from ({**base, field: value} for field, value in others)

    def _array(self, schema: dict[str, Any], name: str, seen: int) -> Iterator[JsonValue]:
        fewest = int(schema.get("minItems", 0))
        items = schema.get("prefixItems")
        if items:
            yield [next(self.variants(part, name, 0), None) for part in items]
            return
        one = next(self.variants(schema.get("items", {}), name, 0), None)
        yield [one] * fewest
        if seen > 1 and fewest < int(schema.get("maxItems", fewest + 1)):
            yield [one] * (fewest + 1)

    def _texts(self, schema: dict[str, Any], name: str, seen: int) -> Iterator[JsonValue]:
        if "format" in schema:
            yield _FORMATS.get(schema["format"], name)
            return
        fewest, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 1_000_000))
        if "pattern" in schema:
            import re

            fitting = [t for t in _TEXTS if re.search(schema["pattern"], t) and fewest <= len(t) <= most]
            yield from fitting[:1]
            return
        yield (name * -(-fewest // max(1, len(name))) if len(name) < fewest else name)[:most]
        if seen > 1:
            yield from sorted(c for c in self._looks.constants if isinstance(c, str) and fewest <= len(c) <= most)

    def _numbers(self, schema: dict[str, Any], whole: bool, seen: int) -> Iterator[JsonValue]:
        step = schema.get("multipleOf", 1)
        low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
        high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
        first = low if low is not None else min(0, high) if high is not None else 0
        yield first
        if seen < 2:
            return
        numbers = [c for c in self._looks.constants if not isinstance(c, str)]
        near = {value for c in numbers for value in (c - step, c, c + step)} | {first + step, first + 2 * step}
        for value in sorted(near - {first}):
            if (low is None or value >= low) and (high is None or value <= high):
                yield int(value) if whole else value
