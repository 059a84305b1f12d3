"""``Personal``: a field with data of a person, which only workers and clients with the keys can read.

    class Customer(BaseModel):
        id: Annotated[str, Subject()]
        email: Personal[str]

- The value is sealed where it enters (a start, an event, a reply) by a key of its subject, and stays sealed in topics,
  documents, histories and databases. When the subject is erased, it can never be opened again.
- A saga passes a sealed value on and cannot read it; a handler in a worker reads it by ``reveal()``.
- A value is named by no text: ``repr``, logs and errors show whose it is at most.

Pure: what is sealed and opened here is decided elsewhere; nothing here knows a key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from copy import copy
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo, TypeAdapter
from pydantic_core import PydanticSerializationError, core_schema, from_json

from .errors import Erased, Sealed
from .finite import NOT_FINITE, is_finite

__all__ = [
    "MARK",
    "OPENLY",
    "SEALED_FIELDS",
    "UNSEALED",
    "Personal",
    "Placed",
    "Subject",
    "has_unsealed",
    "holds_personal",
    "personal_in",
    "pretend_sealed",
    "sealed_for_tests",
    "revealed_in",
    "subject_wrong",
    "without_subject",
]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

MARK: Final = "sagaline_personal"
"""In the metadata of the schema of a personal field."""
_SAYS_SOMETHING_CHARS: Final = 3
SEALED_FIELDS: Final = frozenset({"sealed", "subject"})
_SUBJECT_BYTES_MAX: Final = 256
OPENLY: Final = object()
"""The context in which a value that is not sealed is written as it is: for the API, which seals it."""
UNSEALED: Final = (
    "its personal value is not sealed: values are sealed where they enter, by a start, an event or a worker's reply; "
    "elsewhere pass on a value that you got, or call `await client.personal.seal(model)` first"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Marks the field that says whose the personal values of its model are, and of models inside it.

    Give an id that says nothing by itself, such as a customer number: it is not sealed.
    """


class Personal(Generic[T]):
    """A value of a person. Sealed or not, it never shows in ``repr``, ``str`` or JSON.

    Attributes:
        subject: whose it is; None: it is not sealed yet.
        sealed: as it is written; None: it is not sealed yet.
    """

    __slots__ = ("_is_erased", "_kind", "_value", "sealed", "subject")

    def __init__(self, value: T) -> None:
        self._value: tuple[T] | None = (value,)
        self._is_erased = False
        self._kind: Any = type(value)
        self.sealed: str | None = None
        self.subject: str | None = None

    def reveal(self) -> T:
        """The value.

        Raises:
            Erased: the data of its subject were erased.
            Sealed: it cannot be read here; only a handler in a worker, and who has opened it, can.
        """
        if self._value is not None:
            return self._value[0]
        raise Erased(self.subject or "") if self._is_erased else Sealed(self.subject or "")

    @property
    def is_erased(self) -> bool:
        """True: it was opened, and the data of its subject were erased."""
        return self._is_erased

    @property
    def is_open(self) -> bool:
        """True: ``reveal`` gives the value."""
        return self._value is not None

    def written(self) -> bytes:
        """The open value as JSON, to be sealed.

        Raises:
            PydanticSerializationError: it cannot be written, NaN and infinity included.
        """
        kind, value = TypeAdapter(self._kind), self.reveal()
        written = kind.dump_json(value, by_alias=False, round_trip=True)
        if b"null" in written and not is_finite(kind.dump_python(value, by_alias=False, round_trip=True)):
            raise PydanticSerializationError(NOT_FINITE)
        return written

    def read(self, written: bytes) -> T:
        """What ``open`` would give.

        Raises:
            ValidationError: it does not fit the type of the field.
            Exception: what the validators of that type raise.
        """
        found: T = TypeAdapter(self._kind).validate_json(written, by_alias=False, by_name=True)
        return found

    def seal(self, sealed: str, subject: str) -> None:
        """From now on it is written so; it stays open here."""
        self.sealed, self.subject = sealed, subject

    def open(self, written: bytes | None) -> None:
        """From now on ``reveal`` gives this value; None: it is erased.

        Raises: as ``read``.
        """
        self._value = (self.read(written),) if written is not None else None
        self._is_erased = written is None

    def __repr__(self) -> str:
        return f"Personal(of {self.subject!r})" if self.subject is not None else "Personal(not sealed)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Personal):
            return NotImplemented
        if self.sealed is not None or other.sealed is not None:
            return (self.sealed, self.subject) == (other.sealed, other.subject)
        return bool(self._value == other._value)

    def __hash__(self) -> int:
        """Only of a sealed value: others change when they are sealed, so each model gets its own copy of a default."""
        if self.sealed is None:
            raise TypeError("a personal value that is not sealed has no hash; put it into a list, not into a set")
        return hash((self.sealed, self.subject))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        kind = get_args(source)[0] if get_args(source) else Any

        def read(value: object, inner: core_schema.ValidatorFunctionWrapHandler) -> Personal[Any]:
            if isinstance(value, Personal):
                own = copy(value)  # each model has its own: sealing one seals no other's
                own._kind = kind
                return own
            found: Personal[Any] = cls(cast("Any", None))
            found._kind = kind
            if isinstance(value, Mapping) and value.keys() == SEALED_FIELDS:
                found._value = None
                found.seal(str(value["sealed"]), str(value["subject"]))
            else:
                found._value = (inner(value),)
            return found

        return core_schema.no_info_wrap_validator_function(
            read,
            handler.generate_schema(kind),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _as_written, info_arg=True, when_used="always"
            ),
            metadata={MARK: True},
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        if handler.mode == "serialization":
            texts = {name: {"type": "string"} for name in ("sealed", "subject")}
            return {"type": "object", "properties": texts, "required": [*texts], "x-personal": True}
        inner = dict(handler(cast("Any", schema)["schema"]))
        return {**inner, "x-personal": True} if "$ref" not in inner else {"allOf": [inner], "x-personal": True}


def _as_written(value: Personal[Any], info: SerializationInfo) -> Any:
    if value.sealed is None or value.subject is None:
        if info.context is OPENLY:
            return from_json(value.written())
        raise PydanticSerializationError(UNSEALED)
    return {"sealed": value.sealed, "subject": value.subject}


class Placed(NamedTuple):
    """A personal value in a model; ``subject``: what the model around it says; None: it says nothing."""

    value: Personal[Any]
    subject: object


def personal_in(value: object, subject: object = None) -> Iterator[Placed]:
    """Every personal value in a model, with the subject that stands nearest to it."""
    if isinstance(value, Personal):
        yield Placed(value, subject)
    else:
        if isinstance(value, BaseModel) and (field := _subject_of(type(value))) is not None:
            subject = getattr(value, field)
        for each in _parts(value) or ():
            yield from personal_in(each, subject)


def _parts(value: object) -> Iterable[object] | None:
    """What stands in a value; None: it is a single one."""
    if isinstance(value, BaseModel):
        return (*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values())
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, Sequence | Set) and not isinstance(value, str | bytes | bytearray):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    return None


def holds_personal(model: type[BaseModel]) -> bool:
    """True when a value of the model may contain personal values."""
    return bool(_owners(cast("Hashable", model)))


def has_unsealed(value: BaseModel) -> bool:
    """True: it cannot be written as it is."""
    return holds_personal(type(value)) and any(each.value.sealed is None for each in personal_in(value))


def pretend_sealed(value: M) -> M:
    """Makes a model with new personal values writable without keys, for tests of definitions; returns the model."""
    for each, subject in personal_in(value):
        if each.sealed is None:
            each.seal(sealed_for_tests(each.written().decode()), str(subject or "somebody"))
    return value


def sealed_for_tests(written: str) -> str:
    """What stands for a sealed value in tests of definitions: it can be compared, and not opened."""
    return f"for tests: {written}"


def revealed_in(value: BaseModel) -> frozenset[str]:
    """The texts of the open personal values of a model, which nothing may say; very short ones say nothing."""
    if not holds_personal(type(value)):
        return frozenset()
    opened = [each.value for each in personal_in(value) if each.value.is_open]
    return frozenset(text for each in opened for text in (*_texts(from_json(each.written())), *_texts(each.reveal())))


def _texts(value: object) -> Iterator[str]:
    """Each single value in it as ``str``, and as ``repr`` if it is no text; names of fields and keys say nothing."""
    left: list[object] = [value]
    while left:
        each = left.pop()
        if each is None or isinstance(each, bool):
            continue
        if (parts := _parts(each)) is not None:
            left += parts
            continue
        if isinstance(each, Enum):
            left += (each.value, each.name)
        with suppress(Exception):  # it may be the author's
            if len(each if isinstance(each, bytes) else str(each)) >= _SAYS_SOMETHING_CHARS:
                yield str(each)
                if type(each) is not str:  # ``hiding`` knows how texts are written
                    yield repr(each)


def without_subject(model: type[BaseModel]) -> str | None:
    """The name of a model in it that has a personal field and no subject; None: each has one."""
    return next((owner for owner, has_subject in _owners(cast("Hashable", model)) if not has_subject), None)


@lru_cache(maxsize=1024)
def _owners(model: Hashable) -> tuple[tuple[str, bool], ...]:
    return tuple(_marked(TypeAdapter(cast("Any", model)).core_schema))


def subject_wrong(subject: object) -> str | None:
    """What is wrong with the id of a subject; None: it is valid."""
    if not isinstance(subject, str) or not subject:
        return f"is {'empty' if subject == '' else 'not a text'}; give the id of a person"
    if not subject.isprintable() or len(subject.encode(errors="replace")) > _SUBJECT_BYTES_MAX:
        return f"has invisible characters or more than {_SUBJECT_BYTES_MAX} bytes; give a short id"
    return None


@lru_cache(maxsize=1024)
def _subject_of(model: type[BaseModel]) -> str | None:
    for name, info in model.model_fields.items():
        if any(isinstance(mark, Subject) or mark is Subject for mark in info.metadata):
            return name
    return None


def _marked(schema: Any) -> Iterator[tuple[str, bool]]:
    """For each personal field the model that it stands in, and whether a model around it has a subject."""
    definitions: dict[str, Any] = {}
    entered: set[tuple[str, bool]] = set()

    def walk(node: object, owner: str, has_subject: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, list | tuple):
            for each in node:
                yield from walk(each, owner, has_subject)
        elif isinstance(node, Mapping):
            if node.get("type") == "definitions":
                definitions.update({each["ref"]: each for each in node["definitions"]})
                yield from walk(node["schema"], owner, has_subject)
                return
            if node.get("type") == "definition-ref":
                place = node["schema_ref"], has_subject
                if place not in entered and place[0] in definitions:
                    entered.add(place)
                    yield from walk(definitions[place[0]], owner, has_subject)
                return
            if (node.get("metadata") or {}).get(MARK):
                yield owner, has_subject
                return
            if node.get("type") == "model":
                model = node["cls"]
                owner, has_subject = model.__name__, has_subject or _subject_of(model) is not None
            for name, inner in node.items():
                if name not in ("metadata", "serialization", "cls", "config", "default"):
                    yield from walk(inner, owner, has_subject)

    yield from walk(schema, "", False)
