"""Checks that a model can be sent: every field can be written as JSON and reads back as the same value.

Each model is checked once, when it is declared, by pydantic's own schema of it. A field with a serializer by its author
is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from .errors import DefinitionError
from .personal import MARK, without_subject

__all__ = ["check_json_model", "holds_floats"]

Schema = Mapping[str, Any]

_SERIALIZERS: Final = frozenset({"function-plain", "to-string", "format"})
_BESIDE: Final = frozenset({"cls", "config", "default", "function", "metadata", "serialization"})
"""Parts of a schema that contain no further fields."""
_AS_TEXT: Final = frozenset({"bytes", "date", "datetime", "decimal", "time", "timedelta", "url", "uuid"})
_NO_KEYS: Final = frozenset({"dict", "frozenset", "list", "model", "none", "nullable", "set", "tuple"})


def check_json_model(what: str, model: type[BaseModel], *, enters: bool = False) -> None:
    """Raises DefinitionError unless ``model`` is a pydantic model that is written as a JSON object and reads back.

    ``enters``: values of it come from outside, so it must say whose its personal values are.
    """
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise DefinitionError(f"{what} is {model!r}, not a pydantic model; derive it from pydantic.BaseModel")
    try:
        flaw = _flaw(model)
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        reason = str(error).splitlines()[0]
        raise DefinitionError(
            f"{what} {model.__name__} cannot be written as JSON: {reason}; "
            "use JSON types or give the field a serializer"
        ) from error
    if flaw is not None:
        raise DefinitionError(f"{what} {model.__name__} cannot be written as JSON and read back: {flaw}")
    if enters and (owner := without_subject(model)) is not None:
        raise DefinitionError(
            f"{what} {model.__name__}: {owner} has a personal field and does not say whose it is: "
            "mark the field with the person's id, as Annotated[str, Subject()]"
        )


@lru_cache(maxsize=1024)
def holds_floats(model: type[BaseModel]) -> bool:
    """True when a value of the model may contain NaN or infinity."""
    return any(node.get("type") in ("any", "float") for node, _, _ in _walk(TypeAdapter(model).core_schema, "", {}))


@lru_cache(maxsize=1024)
def _flaw(model: type[BaseModel]) -> str | None:
    """What is wrong with a model and what to do; raises pydantic's error for a field that cannot be JSON."""
    adapter = TypeAdapter(model)
    schema = adapter.json_schema(mode="serialization")
    adapter.json_schema(mode="validation")
    if not _is_object(schema, schema.get("$defs", {})):
        return f"it is written as a JSON {schema.get('type', 'value')}, not an object; put it into a field of a model"
    for node, owner, config in _walk(adapter.core_schema, model.__name__, {}):
        for found in (_of_value(node, config), _of_fields(node)):
            if found is not None:
                return f"{owner}: {found}"
    return None


def _is_object(schema: Schema, definitions: Schema) -> bool:
    """False when it is certainly written as something other than an object."""
    if (ref := schema.get("$ref")) is not None:
        return _is_object(definitions.get(ref.rpartition("/")[2], {}), definitions)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return all(_is_object(each, definitions) for each in schema[choice])
    return schema.get("type", "object") == "object" and "enum" not in schema and "const" not in schema


def _walk(node: object, owner: str, config: Schema) -> Iterator[tuple[Schema, str, Schema]]:
    """Every part of a schema, with its field and the configuration that applies there."""
    if isinstance(node, list | tuple):
        for each in node:
            yield from _walk(each, owner, config)
        return
    if not isinstance(node, Mapping):
        return
    if node.get("type") in ("model", "dataclass", "typed-dict"):
        config = node.get("config", {})
        owner = getattr(node.get("cls"), "__name__", owner)
    if isinstance(node.get("type"), str):
        yield node, owner, config
        if _written_by_author(node):
            return
    for name, inner in node.items():
        if name in _BESIDE:
            continue
        if name == "fields":
            fields = inner.items() if isinstance(inner, Mapping) else ((each["name"], each) for each in inner)
            for field, each in fields if node["type"] != "dataclass" else ():
                yield from _walk(each, f"field {field!r} of {owner}", config)
        else:
            yield from _walk(inner, owner, config)


def _written_by_author(node: Schema) -> bool:
    """True for a part with a serializer by its author; such parts are not checked. What is personal is: its value is
    sealed as its own type is written.
    """
    serializer = node.get("serialization") or {}
    own = getattr(serializer.get("function"), "__module__", "").startswith("pydantic.")
    own = own or MARK in (node.get("metadata") or {})
    return bool(serializer.get("type") in _SERIALIZERS and not own and serializer.get("when_used") != "python")


def _of_fields(node: Schema) -> str | None:
    """What is wrong with the fields of a model, a dataclass or a typed dict."""
    match node["type"]:
        case "model-fields" | "typed-dict":
            fields = node["fields"]
        case "dataclass-args":
            fields = {each["name"]: each for each in node["fields"]}
        case _:
            return None
    for name, field in fields.items():
        if field.get("serialization_exclude") or field.get("serialization_exclude_if") is not None:
            return f"field {name!r} is excluded from the JSON (exclude); include it, or make it a private attribute"
        if field.get("init_only") or field.get("init") is False:
            return f"field {name!r} is not read back from the JSON; make it a plain field"
        for other in _aliases(field.get("validation_alias")):
            if other in fields and other != name:
                return f"field {name!r} is also read from {other!r}, which is a field as well; give it another alias"
    return None


def _aliases(alias: object) -> list[str]:
    """The names under which a field is read; of an alias path its first name."""
    if isinstance(alias, str):
        return [alias]
    if not isinstance(alias, list):
        return []
    first = [each[0] if isinstance(each, list) and each else each for each in alias]
    return [each for each in first if isinstance(each, str)]


def _of_value(node: Schema, config: Schema) -> str | None:
    """What is wrong with one type whose JSON does not read back as the same value."""
    match node["type"]:
        case _ if _is_secret(node):
            return (
                "a secret is masked in JSON; keep a reference to it, or give the field a serializer "
                "if topics and histories may contain it"
            )
        case "generator":
            return "an iterator can be read only once; declare a list"
        case "dict" if _base(node.get("keys_schema", {})) in _NO_KEYS:
            return f"the keys of a JSON object are strings, not a {_base(node['keys_schema'])}; use a list of pairs"
        case "union":
            kinds = [_base(each[0] if isinstance(each, tuple) else each) for each in node["choices"]]
            if "str" in kinds and (other := next((kind for kind in kinds if kind in _AS_TEXT), None)) is not None:
                return f"a {other} in a union with str reads back as a str; declare one of them, or add a discriminator"
        case "enum" if any(not isinstance(m.value, str | int | float | None) for m in node.get("members", ())):
            return f"{node['cls'].__name__} has members whose values are not JSON; give them strings or numbers"
        case "bytes" if config.get("ser_json_bytes", "utf8") != config.get("val_json_bytes", "utf8"):
            return "bytes are not written as they are read; set ser_json_bytes and val_json_bytes to the same value"
        case "date" | "datetime" if _unlike_units(config):
            return (
                "times are not written as they are read; set val_temporal_unit and ser_json_temporal to the same unit"
            )
        case _:
            pass
    return None


def _base(schema: Schema) -> str:
    """The kind of a type, without wrappers that only validate or convert."""
    while "schema" in schema and schema.get("type") not in ("model", "nullable"):
        schema = schema["schema"]
    return str(schema.get("type"))


def _unlike_units(config: Schema) -> bool:
    written = config.get("ser_json_temporal", "iso8601")
    return bool(written != "iso8601" and config.get("val_temporal_unit", "infer") != written)


def _is_secret(node: Schema) -> bool:
    """True for a type that pydantic masks in JSON."""
    function = (node.get("serialization") or {}).get("function")
    return not _written_by_author(node) and "secret" in str(getattr(function, "__name__", ""))
