"""Where in the state each field of a stop's command comes from, and whether the types fit."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import BaseModel

from .contract import Contract
from .errors import DefinitionError

__all__ = ["Taking", "arguments", "check_revises", "resolve_takes"]

_MISSING = object()


def arguments(takes: Mapping[str, str], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The command for a stop, as JSON: its fields taken from the variables; missing values are left out."""
    found: dict[str, Any] = {}
    for field, path in takes.items():
        value: Any = variables
        for part in path.split("."):
            value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING:
            found[field] = value
    return found


class Taking(Protocol):
    """The parts of a stop from which its command is built."""

    contract: Contract[Any, Any]
    takes: Mapping[str, str]


def resolve_takes(where: str, name: str, stop: Taking, state: type[BaseModel]) -> dict[str, str]:
    """Field of the command -> path in the state, for every field that is filled.

    Raises:
        DefinitionError: a field or path that does not exist or does not fit, or a required field that nothing fills.
    """
    command = stop.contract.command
    at = f"{where}, stop {name!r}"
    for field in stop.takes:
        if field not in command.model_fields:
            raise DefinitionError(
                f"{at}: takes names {field!r}, which is not a field of {command.__name__}; correct it"
            )
    found: dict[str, str] = {}
    for field, info in command.model_fields.items():
        path = stop.takes.get(field, field if field in state.model_fields else None)
        if path is not None:
            _check_path(f"{at}: {field!r} takes {path!r}", path, state, info.annotation)
            found[field] = path
        elif info.is_required():
            raise DefinitionError(
                f"{at}: nothing fills {field!r} of {command.__name__}; say where it comes from: "
                f'takes={{"{field}": "field.of.{state.__name__}"}}'
            )
    return found


def check_revises(where: str, reply: type[BaseModel], field: str) -> None:
    """Raises DefinitionError unless a reply has this field and it holds a list of strings or None."""
    info = reply.model_fields.get(field)
    if info is None or not any(_is_names(one) for one in _alternatives(info.annotation)):
        raise DefinitionError(
            f"{where}: revises={field!r}, but {reply.__name__} has no such list of names; "
            f"add `{field}: list[str] | None = None` to it"
        )


def _check_path(at: str, path: str, state: type[BaseModel], wanted: Any) -> None:
    model: Any = state
    for part in path.split("."):
        models = [one for one in _alternatives(model) if isinstance(one, type) and issubclass(one, BaseModel)]
        known = [one for one in models if part in one.model_fields]
        if not known:
            names = " or ".join(one.__name__ for one in models) or "that value"
            raise DefinitionError(f"{at}, but {names} has no field {part!r}; name one of its fields")
        model = known[0].model_fields[part].annotation
    have, want = _plain(model), _plain(wanted)
    if have and want and not any(issubclass(one, other) for one in have for other in want):
        raise DefinitionError(
            f"{at}, which is {' or '.join(one.__name__ for one in have)} and must be "
            f"{' or '.join(one.__name__ for one in want)}; take another field, or change its type"
        )


def _alternatives(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [one for part in typing.get_args(annotation) for one in _alternatives(part)]
    if typing.get_origin(annotation) is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    return [annotation]


def _plain(annotation: Any) -> list[type]:
    """The classes that the value may have, without None; empty when one of them is not a plain class."""
    found = [one for one in _alternatives(annotation) if one is not type(None)]
    return found if all(isinstance(one, type) and one is not Any for one in found) else []


def _is_names(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (list, tuple) and typing.get_args(annotation)[:1] == (str,)
