"""``Searchable``: marks a field of the state by whose value instances can be found.

    customer: Annotated[str, Searchable()]
    total: Annotated[Decimal, Searchable("total_amount")]

A marked field may stand in models inside the state, also in lists of them: then an instance has each of the values.
The name is how a search calls it; all fields of a deployment with one name have values of one kind.
"""

from __future__ import annotations

import re
import types
import typing
from collections import deque
from collections.abc import Iterator, Mapping, MutableSequence, MutableSet, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, RootModel

from .errors import DefinitionError

__all__ = ["Attribute", "AttributeKind", "AttributeValue", "Searchable", "attributes_of", "read_value", "values_of"]

AttributeValue: TypeAlias = str | Decimal | bool | datetime
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LISTS: Final = (list, tuple, set, frozenset, deque, Sequence, MutableSequence, Set, MutableSet)


class AttributeKind(StrEnum):
    """What the values of an attribute are compared as. A time without a zone is in UTC."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    TIME = "time"


_KINDS: Final[tuple[tuple[tuple[type, ...], AttributeKind], ...]] = (
    ((bool,), AttributeKind.FLAG),
    ((str,), AttributeKind.TEXT),
    ((int, float, Decimal), AttributeKind.NUMBER),
    ((datetime,), AttributeKind.TIME),
)


@dataclass(frozen=True, slots=True)
class Searchable:
    """Marks a field of the state, or of a model in it: instances can be found by its value.

    Attributes:
        name: how a search calls it: letters, digits and ``_``; None: as the field.
    """

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A searchable field: its path in the state, and the kind of its values."""

    name: str
    path: tuple[str, ...]
    kind: AttributeKind


def attributes_of(where: str, state: type[BaseModel]) -> dict[str, Attribute]:
    """The searchable fields of a state, by name.

    Raises:
        DefinitionError: a field whose values cannot be compared, that is inside a type which is neither a model nor a
            list, or two with one name. Several models at one place may each have it, with values of one kind.
    """
    found: dict[str, Attribute] = {}
    for path, mark, annotation in _marked(where, state, ()):
        at = f"{where}: its searchable field {'.'.join(path)!r}"
        name = mark.name if mark.name is not None else (path or ("root",))[-1]
        if not _NAME.fullmatch(name):
            raise DefinitionError(f"{at} has the name {name!r}; give up to 64 letters, digits and _")
        made = Attribute(name=name, path=path, kind=_kind(at, annotation))
        if found.setdefault(name, made) != made:
            raise DefinitionError(
                f"{at} has the name {name!r}, as {'.'.join(found[name].path)!r} has; "
                "give one of them another: Searchable('another_name')"
            )
    return found


def values_of(attributes: Mapping[str, Attribute], state: Mapping[str, Any]) -> Iterator[tuple[str, AttributeValue]]:
    """Name and value of each searchable field that a stored state fills."""
    for attribute in attributes.values():
        for found in _at(state, attribute.path):
            value = read_value(attribute.kind, found)
            if value is not None:
                yield attribute.name, value


def read_value(kind: AttributeKind, found: object) -> AttributeValue | None:
    """A value of this kind, from JSON or from the text of a search; None: it is none."""
    match kind:
        case AttributeKind.TEXT:
            return found if isinstance(found, str) else None
        case AttributeKind.FLAG:
            return found if isinstance(found, bool) else {"true": True, "false": False}.get(str(found))
        case AttributeKind.NUMBER:
            return _number(found)
        case AttributeKind.TIME:
            return _time(found)
        case _:
            typing.assert_never(kind)


def _number(found: object) -> Decimal | None:
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    try:
        number = Decimal(str(found))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _time(found: object) -> datetime | None:
    if not isinstance(found, str):
        return None
    try:
        time = datetime.fromisoformat(found)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _at(value: object, path: tuple[str, ...]) -> Iterator[object]:
    if isinstance(value, list):
        for each in value:
            yield from _at(each, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


Marked: TypeAlias = tuple[tuple[str, ...], Searchable, Any]


def _marked(
    where: str, model: type[BaseModel], path: tuple[str, ...], above: tuple[type, ...] = ()
) -> Iterator[Marked]:
    """Path, mark and type of every marked field; a model inside itself is entered once."""
    for field, info in model.model_fields.items():
        here = path if issubclass(model, RootModel) else (*path, field)
        marks = [*info.metadata, *_inner_marks(info.annotation)]
        mark = next((each for each in marks if isinstance(each, Searchable)), None)
        if any(each is Searchable for each in marks):
            raise DefinitionError(f"{where}: {'.'.join(here)!r} is marked with the class; write Searchable()")
        if mark is not None:
            yield here, mark, info.annotation
            continue
        for inner in _alternatives(info.annotation):
            if _is_model(inner) and inner not in (*above, model):
                yield from _marked(where, inner, here, (*above, model))
            elif (lost := _first_inside(where, inner, here, (*above, model))) is not None:
                outer = getattr(typing.get_origin(inner), "__name__", str(inner))
                raise DefinitionError(
                    f"{where}: its searchable field {'.'.join(lost)!r} is inside {outer}, "
                    "where it is not found; declare a list of models"
                )


def _first_inside(where: str, kind: Any, here: tuple[str, ...], above: tuple[type, ...]) -> tuple[str, ...] | None:
    """The path of a marked field inside a generic type that is no list."""
    for part in typing.get_args(kind):
        if any(isinstance(mark, Searchable) for mark in _inner_marks(part)):
            return here
        for each in _alternatives(part):
            if not _is_model(each):
                found = _first_inside(where, each, here, above)
            else:
                marked = _marked(where, each, here, above) if each not in above else iter(())
                found = next((path for path, _, _ in marked), None)
            if found is not None:
                return found
    return None


def _inner_marks(annotation: Any) -> list[Any]:
    """The marks of ``Annotated`` types inside an annotation, such as ``Annotated[str, …] | None`` or a list."""
    if not _is_transparent(annotation):
        return []
    inner = [mark for part in typing.get_args(annotation) for mark in _inner_marks(part)]
    return [*getattr(annotation, "__metadata__", ()), *inner]


def _is_transparent(annotation: Any) -> bool:
    """An alternative, a list or a marked type: what it holds stands at its place."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated, *_LISTS)


def _alternatives(annotation: Any) -> list[Any]:
    """The types that a value, or an element of its list, may have."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is not typing.Annotated and _is_transparent(annotation):
        return [one for part in args for one in _alternatives(part)]
    if origin is typing.Annotated:
        return _alternatives(args[0])
    if origin is typing.Literal:
        return [type(one) for one in args]
    return [annotation]


def _is_model(kind: Any) -> typing.TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _kind(at: str, annotation: Any) -> AttributeKind:
    kinds = [one for one in _alternatives(annotation) if one not in (type(None), ...)]
    found = {next((kind for classes, kind in _KINDS if _is_one(one, classes)), None) for one in kinds}
    if len(found) == 1 and (kind := found.pop()) is not None:
        return kind
    named = " or ".join(getattr(one, "__name__", str(one)) for one in kinds)
    raise DefinitionError(f"{at} is {named}; mark a str, int, float, Decimal, bool or datetime, or a list of one kind")


def _is_one(kind: Any, classes: tuple[type, ...]) -> bool:
    return isinstance(kind, type) and issubclass(kind, classes)
