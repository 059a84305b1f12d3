"""Checks of a request before it enters the log: its key, its texts, and its input by the saga's state model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from ...sagas.definition import AnyDefinition
from ...sagas.models import Unwritable, read_foreign, write
from ..codec.wire import BODY_DEPTH_MAX, too_deep
from ..errors import InvalidRequest
from ..messages.inputs import Act, ActName
from ..messages.keys import KEY_BYTES_MAX, KEY_CHARS_MAX, character_wrong, instance_wrong, key_wrong
from ..messages.parcels import DUE_MS_MAX
from ..messages.values import JsonObject, first_mistake, unknown_fields
from .results import Caller, OnStep

__all__ = [
    "BY_CHARS_MAX",
    "DEPTH_MAX",
    "ID_CHARS_MAX",
    "REASON_CHARS_MAX",
    "KEY_BYTES_MAX",
    "KEY_CHARS_MAX",
    "check_act",
    "check_body",
    "check_edit",
    "check_id",
    "check_input",
    "check_json",
    "check_key",
    "check_text",
    "check_time",
    "split_instance",
]

BY_CHARS_MAX = 256
REASON_CHARS_MAX = 2_000
ID_CHARS_MAX = 256
DEPTH_MAX = BODY_DEPTH_MAX - 1
"""The deepest nesting of objects and lists in an input, a body or a value; its request nests it further."""


def check_key(key: str) -> str:
    """Returns the key if it is a valid business key of an instance.

    Raises:
        InvalidRequest: it is empty, longer than 256 characters or 512 bytes, contains control characters or lone
            surrogates, or is ``.`` or ``..`` (not possible in a URL). Field ``key``.
    """
    if (wrong := key_wrong(key)) is not None:
        raise InvalidRequest(f"the key {wrong}", field="key")
    return key


def check_text(value: str, field: str, chars_max: int) -> str:
    """Returns a text for people (a name, a reason) if it is short enough and can be encoded.

    Raises:
        InvalidRequest: it is too long or cannot be encoded.
    """
    if len(value) > chars_max:
        raise InvalidRequest(f"{field} has {len(value)} characters; give at most {chars_max}", field=field)
    if (wrong := character_wrong(value, allowed="\n\t")) is not None:
        raise InvalidRequest(f"{field} {wrong}", field=field)
    return value


def check_time(at: datetime, field: str) -> int:
    """Returns a time as milliseconds since epoch, within 1970 to 9999.

    Raises:
        InvalidRequest: it has no time zone.
    """
    if at.tzinfo is None:
        raise InvalidRequest(f"the time {at.isoformat()} has no time zone; add one, such as Z", field=field)
    return min(DUE_MS_MAX, max(0, round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)))


def check_edit(value: object, headers: object) -> None:
    """Raises InvalidRequest: the edit of a message gives neither of them. Field ``value``."""
    if value is None and headers is None:
        raise InvalidRequest("this edit changes nothing; give a value, headers or both", field="value")


def check_id(value: str) -> str:
    """Returns an id that a caller has given.

    Raises:
        InvalidRequest: it is empty, too long or cannot be encoded. Field ``id``.
    """
    if not value:
        raise InvalidRequest("the id is empty; omit it, or give one", field="id")
    return check_text(value, "id", ID_CHARS_MAX)


def split_instance(instance: str) -> tuple[str, str]:
    """Splits an instance id into definition and key.

    Raises:
        InvalidRequest: it is not ``definition/key`` with a valid name and key. Field ``instance``.
    """
    if (wrong := instance_wrong(instance)) is not None:
        raise InvalidRequest(f"{instance[:300]!r} is not an instance's id: it {wrong}", field="instance")
    definition, _, key = instance.partition("/")
    return definition, key


def check_act(instance: str, act: ActName, *, id: str, by: str | Caller, reason: str, on: OnStep | None) -> Act:
    """The act as a message for the log; whether it is allowed is decided by the engine.

    Raises:
        InvalidRequest: an id, a text or the key of a fork is invalid; ``field`` says which.
    """
    split_instance(instance)
    caller = by if isinstance(by, Caller) else Caller(by)
    value = check_json(on.value, "value") if on is not None and on.value is not None else None
    if act is ActName.FORK and value is not None and isinstance(key := value.get("key"), str):
        check_key(key)
    return Act(
        id=id,
        instance=instance,
        act=act,
        by=check_text(caller.name, "by", BY_CHARS_MAX),
        groups=caller.groups,
        reason=check_text(reason, "reason", REASON_CHARS_MAX),
        step=check_text(on.step, "step", ID_CHARS_MAX) if on is not None else "",
        expected=check_text(on.expected, "expected", ID_CHARS_MAX) if on is not None else "",
        value=value,
    )


def check_input(saga: AnyDefinition, value: BaseModel | Mapping[str, JsonValue]) -> JsonObject:
    """The input as plain JSON, validated by the saga's state model; see ``check_body``. Field ``input``."""
    return check_body(saga.state, value, "input")


def check_body(model: type[BaseModel], value: BaseModel | Mapping[str, JsonValue], what: str = "body") -> JsonObject:
    """A value as plain JSON, validated by its model. ``what`` is the request's field that holds it.

    Unknown fields are rejected, unless the model itself says how to treat them (``extra`` in its configuration):
    otherwise a mistyped optional field would be lost silently.

    Raises:
        InvalidRequest: it is not JSON, or the model rejects it; ``field`` is the path, such as ``input.order.lines.0``.
    """
    parsed = check_json(value, what, f" with the fields of {model.__name__}")
    try:
        write(read_foreign(model, parsed, extra=unknown_fields(model)), model)
    except ValidationError as error:
        where, wrong = first_mistake(error)
        path = f"{what}.{where}" if where else what
        raise InvalidRequest(f"{path}: {wrong}", field=path) from error
    except Unwritable as error:
        raise InvalidRequest(f"{what}: {error}", field=what) from error
    except Exception as error:
        raise InvalidRequest(
            f"the check of {model.__name__} itself raised {type(error).__name__} for this {what}; "
            "send another value, and tell the author of the model",
            field=what,
        ) from error
    return parsed


def check_json(value: BaseModel | Mapping[str, JsonValue], what: str, fields: str = "") -> JsonObject:
    """A value as plain JSON.

    Raises:
        InvalidRequest: it is not a JSON object; ``what`` is the field.
    """
    try:
        encoded = write(value) if isinstance(value, BaseModel) else to_json(value)
        parsed = from_json(encoded, allow_inf_nan=False)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the {what} cannot be written as JSON: {error}", field=what) from error
    if not isinstance(parsed, dict):
        raise InvalidRequest(f"the {what} is not a JSON object; give one object{fields}", field=what)
    if too_deep(encoded, DEPTH_MAX):
        raise InvalidRequest(
            f"the {what} has more than {DEPTH_MAX} levels of objects and lists; send a flatter value", field=what
        )
    return parsed
