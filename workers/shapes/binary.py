"""Avro by fastavro and Protobuf by its own library: their bytes do not say what they are, so the declaration does."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

from ...sagas import DefinitionError
from .formats import Parsed, Unfit, needs

__all__ = ["Avro", "Protobuf"]

_NAMED: Final = ("record", "error", "enum", "fixed")


class Avro:
    """One datum in Avro's binary encoding, written with the given schema; nothing may follow it.

    Raises:
        DefinitionError: not a schema, or one with which a short message could exhaust the process: a type that holds
            itself, or an array of items that take no bytes.
    """

    explicit = True

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            import fastavro
        except ImportError as error:
            raise needs("Avro", "fastavro", error) from error
        try:
            self._schema = fastavro.parse_schema(dict(schema))
        except Exception as error:
            raise DefinitionError(f"this is no Avro schema: {type(error).__name__}: {error}; correct it") from error
        _check_bounded(self._schema, frozenset(), {})
        self._read = fastavro.schemaless_reader

    def parse(self, value: bytes, charset: str | None) -> Parsed:
        source = io.BytesIO(value)
        try:
            body = self._read(source, self._schema, None)
        except Exception as error:  # the library raises whatever the bytes lead to: EOFError, IndexError, MemoryError …
            why = str(error) or "it ends too early"
            raise Unfit(f"it is not of this Avro schema: {type(error).__name__}: {why}") from error
        if left := len(value) - source.tell():
            raise Unfit(f"it is not of this Avro schema: {left:,} bytes follow what it describes")
        return Parsed(body, frozenset(body) if isinstance(body, dict) else frozenset())


class Protobuf:
    """One message of the given class; fields that it does not know are ignored. The body is the message."""

    explicit = True

    def __init__(self, message: type[Any]) -> None:
        try:
            from google.protobuf.message import DecodeError, Message
        except ImportError as error:
            raise needs("Protobuf", "protobuf", error) from error
        if not (isinstance(message, type) and issubclass(message, Message)):
            raise DefinitionError(f"message is {message!r}; give a class that protoc generated")
        self._message, self._error = message, DecodeError

    def parse(self, value: bytes, charset: str | None) -> Parsed:
        try:
            body = self._message.FromString(value)
        except self._error as error:
            raise Unfit(f"it is no {self._message.DESCRIPTOR.full_name}: {error}") from error
        return Parsed(body, frozenset(field.name for field, _ in body.ListFields()))


def _check_bounded(schema: Any, inside: frozenset[str], named: dict[str, Any]) -> None:
    """Raises DefinitionError for a type that holds itself: the library reads it in C, without a limit of depth."""
    if isinstance(schema, str):
        if schema in inside:
            raise DefinitionError(
                f"the Avro type {schema!r} holds itself: a short message could be as deep as it is long and end the "
                "process; flatten it, or read such messages outside"
            )
        if schema in named:
            _check_bounded(named[schema], inside, named)
    elif isinstance(schema, list):
        for each in schema:
            _check_bounded(each, inside, named)
    elif isinstance(schema, dict):
        if schema["type"] in _NAMED:
            named[schema["name"]] = schema
            inside |= {schema["name"]}
        if schema["type"] == "array" and _least_bytes(schema["items"], named) == 0:
            raise DefinitionError(
                "an Avro array of items that take no bytes: a message of ten bytes could ask for any number of them; "
                "give the items a value"
            )
        for part in ("items", "values"):
            _check_bounded(schema.get(part), inside, named)
        for field in schema.get("fields", ()):
            _check_bounded(field["type"], inside, named)
        if isinstance(schema["type"], dict | list):
            _check_bounded(schema["type"], inside, named)


def _least_bytes(schema: Any, named: Mapping[str, Any]) -> int:
    """How many bytes a value takes at least; more than one counts as one."""
    if isinstance(schema, str):
        return _least_bytes(named[schema], named) if schema in named else int(schema != "null")
    if isinstance(schema, list):
        return 1
    if schema["type"] in ("record", "error"):
        return max((_least_bytes(field["type"], named) for field in schema["fields"]), default=0)
    if schema["type"] == "fixed":
        return min(int(schema["size"]), 1)
    return _least_bytes(schema["type"], named) if schema["type"] not in ("array", "map", "enum") else 1
