"""The one way in which models are written as JSON and read again: states, commands, replies, events and forms.

- Models are written by field name, never by alias, and without computed fields; of a subclass only the fields of the
  declared model. So the engine, a worker and a client write the same bytes.
- Our own output is read by field name only. Input from outside is read by field name and by alias.
- A value that would not read back is not written: ``Unwritable`` says which field and what to do. Mistakes that are
  visible in the model alone are rejected at its declaration; see ``schemas.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from .finite import NOT_FINITE, is_finite
from .personal import OPENLY, UNSEALED, has_unsealed
from .schemas import holds_floats

__all__ = [
    "JsonObject",
    "Unwritable",
    "as_json",
    "first_mistake",
    "mistakes",
    "read",
    "read_foreign",
    "read_foreign_json",
    "unknown_fields",
    "write",
]

M = TypeVar("M", bound=BaseModel)
Extra: TypeAlias = Literal["allow", "ignore", "forbid"] | None

if TYPE_CHECKING:
    JsonObject = dict[str, JsonValue]
else:
    # At run time only the codec builds these, from JSON; otherwise pydantic would call Python for every value in them.
    JsonObject = dict[str, Any]

_NO_NUMBERS = (b"null", b"NaN", b"Infinity")
"""What NaN and infinity may be written as."""

_TO_DO = {
    "missing": "the field is missing, add it",
    "extra_forbidden": "there is no such field, remove it or correct its name",
}
"""Messages for pydantic's types of mistakes whose own message does not say what to do."""


class Unwritable(ValueError):
    """A value that its model cannot write as JSON, or that would not read back. The author must correct it."""

    def __init__(self, model: type[BaseModel], why: str) -> None:
        super().__init__(f"this {model.__name__} cannot be written as JSON: {why}")


def write(value: BaseModel, model: type[BaseModel] | None = None, *, openly: bool = False) -> bytes:
    """A value as JSON that reads back.

    Args:
        value: an instance of ``model``, or of a subclass.
        model: the declared model; None: the value's own class.
        openly: personal values that are not sealed are written as they are, for the API, which seals them.

    Raises:
        Unwritable: NaN, bytes that are not text, a field value that its model rejects, or not a JSON object.
        Exception: anything that the model's own serializers and validators raise.
    """
    model = model or type(value)
    if not openly and has_unsealed(value):
        raise Unwritable(model, UNSEALED)
    try:
        context: Any = OPENLY if openly else None
        found = _adapter(model).dump_json(value, by_alias=False, round_trip=True, warnings=False, context=context)
    except PydanticSerializationError as error:
        raise Unwritable(model, f"{error}; {_remedy(str(error))}") from error
    if not found.startswith(b"{"):
        raise Unwritable(model, "it is not a JSON object; put it into a field of a model")
    if any(sign in found for sign in _NO_NUMBERS) and holds_floats(model):
        _check_finite(value, model)
    try:
        read(model, found)
    except ValidationError as error:
        where, wrong = first_mistake(error)
        raise Unwritable(model, f"{where or 'it'} would not read back: {wrong}; give a valid value") from error
    return found


def as_json(value: BaseModel, model: type[BaseModel] | None = None, *, openly: bool = False) -> JsonObject:
    """A value exactly as its JSON reads, so that a stored document equals the one in memory; see ``write``."""
    body: JsonObject = from_json(write(value, model, openly=openly))
    return body


def read(model: type[M], body: object, *, extra: Extra = None) -> M:
    """Reads what ``write`` wrote: by field name only.

    Args:
        model: the model it was written with.
        body: bytes of JSON, or the parsed value.
        extra: how to treat fields that the model does not know; None: as the model says.

    Raises:
        ValidationError: the body does not fit the model.
    """
    return model.model_validate_json(_text(body), by_alias=False, by_name=True, extra=extra)


def read_foreign(model: type[M], body: object, *, extra: Extra = None) -> M:
    """Reads input from outside: by field name or by alias.

    Args:
        model: the expected model.
        body: bytes of JSON, or the parsed value.
        extra: how to treat fields that the model does not know; None: as the model says.

    Raises:
        ValidationError: the body does not fit the model.
    """
    return model.model_validate_json(_text(body), by_alias=True, by_name=True, extra=extra)


def read_foreign_json(model: type[M], body: bytes) -> M:
    """``read_foreign`` of bytes, where its cost counts.

    Raises:
        ValidationError: the body does not fit the model.
    """
    found: M = model.__pydantic_validator__.validate_json(body, by_alias=True, by_name=True)
    return found


def unknown_fields(model: type[BaseModel]) -> Literal["forbid"] | None:
    """``extra`` for ``read_foreign``: unknown fields are rejected, unless the model itself says how to treat them."""
    return "forbid" if model.model_config.get("extra") is None else None


def first_mistake(error: ValidationError) -> tuple[str, str]:
    """The path of the first mistake (empty: the whole value) and its message; further mistakes are only counted."""
    where, wrong = _worded(error)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return where, f"{wrong}{more}"


def mistakes(error: ValidationError, whole: str) -> str:
    """The first five mistakes with their paths; further ones are only counted. ``whole`` names the value itself."""
    found = _worded(error)
    more = [f"and {len(found) - 5} more"] if len(found) > 5 else []
    return "; ".join([f"{where or whole}: {wrong}" for where, wrong in found[:5]] + more)


def _worded(error: ValidationError) -> list[tuple[str, str]]:
    """Path and message of every mistake; where pydantic says only what is wrong, also what to do."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [(".".join(map(str, each["loc"])), _TO_DO.get(each["type"], each["msg"])) for each in found]


@lru_cache(maxsize=1024)
def _adapter(model: type[BaseModel]) -> TypeAdapter[BaseModel]:
    return TypeAdapter(model)


def _text(body: object) -> bytes:
    return body if isinstance(body, bytes) else to_json(body)


def _check_finite(value: BaseModel, model: type[BaseModel]) -> None:
    if model.model_config.get("ser_json_inf_nan") == "strings":
        return
    plain = _adapter(model).dump_python(value, by_alias=False, round_trip=True, warnings=False)
    if not is_finite(plain):
        raise Unwritable(model, NOT_FINITE)


def _remedy(error: str) -> str:
    if "utf-8" in error.lower() and "surrogate" not in error:
        return "give text, or set ser_json_bytes and val_json_bytes of the model to 'base64'"
    return "give what its fields are declared as"
