"""One way of writing a model and of reading it: what cannot round-trip is refused at declaration, what can, does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import InitVar, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from sagaline.sagas import Contract, DefinitionError, Event, Saga, step
from sagaline.sagas.models import Unwritable, as_json, read, read_foreign, write
from sagaline.sagas.personal import Personal, Subject
from sagaline.sagas.schemas import check_json_model


class Plain(BaseModel):
    a: int = 1


class Excluded(BaseModel):
    a: int = 1
    b: int = Field(default=2, exclude=True)


class ExcludedAtTimes(BaseModel):
    a: int = Field(default=1, exclude_if=lambda value: value == 1)


class Holds(BaseModel):
    inner: list[Excluded] = []


class Token(BaseModel):
    token: SecretStr


class PersonalToken(BaseModel):
    id: Annotated[str, Subject()]
    token: Personal[SecretStr]


class Tokens(BaseModel):
    tokens: dict[str, SecretBytes | None] = {}


class Sealed(BaseModel):
    number: Secret[int] | None = None


class Stream(BaseModel):
    rows: Iterable[int] = ()


class Paired(BaseModel):
    cells: dict[tuple[int, int], str] = {}


class Maybe(BaseModel):
    cells: dict[int | None, str] = {}


class Base64OneWay(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    raw: bytes = b""


class Seconds(BaseModel):
    model_config = ConfigDict(ser_json_temporal="seconds")
    at: datetime


class TextOrTime(BaseModel):
    at: datetime | str


class TextOrId(BaseModel):
    ids: list[str | UUID] = []


class Odd(Enum):
    ONE = (1, 2)


class HasOdd(BaseModel):
    odd: Odd = Odd.ONE


class Swapped(BaseModel):
    a: int = Field(default=1, alias="b")
    b: int = Field(default=2, alias="a")


class Choices(BaseModel):
    a: int = Field(default=1, validation_alias=AliasChoices("x", "b"))
    b: int = 2


class Path(BaseModel):
    first: str = Field(default="", validation_alias=AliasPath("names", 0))
    names: list[str] = []


@dataclass
class Once:
    a: int
    seed: InitVar[int] = 0


@dataclass
class Made:
    a: int
    b: int = field(default=3, init=False)


class HasOnce(BaseModel):
    once: Once | None = None


class HasMade(BaseModel):
    made: Made | None = None


class AsText(BaseModel):
    a: int = 1

    @model_serializer
    def _write(self) -> str:
        return str(self.a)


class Later(BaseModel):
    model_config = ConfigDict(defer_build=True)
    token: SecretStr | None = None


REFUSED: dict[str, tuple[type[BaseModel], str]] = {
    "exclude": (Excluded, "field 'b' is excluded from the JSON"),
    "exclude_if": (ExcludedAtTimes, "field 'a' is excluded from the JSON"),
    "exclude deep inside": (Holds, "field 'b' is excluded from the JSON"),
    "secret": (Token, "field 'token' of Token: a secret is masked in JSON; keep a reference"),
    "a personal secret": (PersonalToken, "field 'token' of PersonalToken: a secret is masked in JSON"),
    "secrets in a dict": (Tokens, "field 'tokens' of Tokens: a secret is masked in JSON"),
    "any secret": (Sealed, "a secret is masked in JSON"),
    "secret of a model that is built late": (Later, "a secret is masked in JSON"),
    "iterator": (Stream, "field 'rows' of Stream: an iterator can be read only once"),
    "keys that are tuples": (Paired, "the keys of a JSON object are strings, not a tuple"),
    "keys that may be None": (Maybe, "the keys of a JSON object are strings, not a nullable"),
    "bytes one way": (Base64OneWay, "set ser_json_bytes and val_json_bytes to the same value"),
    "times one way": (Seconds, "set val_temporal_unit and ser_json_temporal to the same unit"),
    "text or time": (TextOrTime, "a datetime in a union with str reads back as a str"),
    "text or id": (TextOrId, "a uuid in a union with str reads back as a str"),
    "an enum of tuples": (HasOdd, "Odd has members whose values are not JSON"),
    "aliases that swap": (Swapped, "field 'a' is also read from 'b', which is a field as well"),
    "an alias among others": (Choices, "field 'a' is also read from 'b'"),
    "an alias into a field": (Path, "field 'first' is also read from 'names'"),
    "a parameter of a dataclass": (HasOnce, "field 'seed' is not read back from the JSON"),
    "a field that init makes": (HasMade, "field 'b' is not read back from the JSON"),
    "a list": (RootModel[list[int]], "it is written as a JSON array, not an object"),
    "a text": (RootModel[str], "it is written as a JSON string, not an object"),
    "a choice of a list": (RootModel[Plain | list[int]], "not an object; put it into a field of a model"),
    "a model that writes text": (AsText, "it is written as a JSON string, not an object"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_round_trip_is_refused_at_declaration(what: str) -> None:
    model, message = REFUSED[what]
    with pytest.raises(DefinitionError) as caught:
        check_json_model("the state", model)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"the state {model.__name__} cannot be written as JSON")


def test_every_place_that_takes_a_model_looks_at_it() -> None:
    contract = Contract("take", Plain, Plain, queue="q")
    with pytest.raises(DefinitionError, match="command of contract 'take' Token"):
        Contract("take", Token, Plain, queue="q")
    with pytest.raises(DefinitionError, match="reply of contract 'take' RootModel"):
        Contract("take", Plain, RootModel[list[int]], queue="q")
    with pytest.raises(DefinitionError, match="event 'paid': its body Excluded"):
        Event("paid", Excluded)
    with pytest.raises(DefinitionError, match="saga 's': its state RootModel"):
        Saga("s", RootModel[list[int]], flow=[step(contract, name="a")(lambda s: Plain())])


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Line(TypedDict):
    sku: str


@dataclass
class Point:
    x: float
    y: float


class Node(BaseModel):
    value: Decimal
    below: list[Node] = []


class Everything(BaseModel):
    """One of each, by aliases, with what only pydantic writes."""

    model_config = ConfigDict(serialize_by_alias=True, extra="forbid")

    whole: int = Field(default=0, alias="wholeNumber")
    exact: Decimal = Decimal(0)
    real: float = 0.0
    maybe: float | None = None
    raw: bytes = b""
    at: datetime | None = None
    day: date | None = None
    hour: time | None = None
    span: timedelta = timedelta(0)
    id: UUID | None = None
    colour: Colour | None = None
    level: Level | None = None
    names: set[str] = set()
    few: frozenset[int] = frozenset()
    pair: tuple[int, str] = (0, "")
    by_number: dict[int, Decimal] = {}
    by_day: dict[date, bool] = {}
    by_level: dict[Level, int] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    lines: list[Line] = []
    point: Point | None = None
    node: Node | None = None
    parsed: Json[list[int]] | None = None
    anything: Any = None

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def double(self) -> int:
        return self.whole * 2


class Base64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    raw: bytes


class Shown(BaseModel):
    """A secret that its author lets out."""

    one: Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value())]
    two: SecretStr

    @field_serializer("two")
    def _show(self, secret: SecretStr) -> str:
        return secret.get_secret_value()


class Stamped(BaseModel):
    model_config = ConfigDict(ser_json_temporal="milliseconds", val_temporal_unit="milliseconds")
    at: datetime


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    exact: Decimal
    raw: bytes
    colour: Colour
    pair: tuple[int, ...]


BIG = 2**200 + 1
NOW = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
KEPT: dict[str, BaseModel] = {
    "big": Everything(wholeNumber=BIG),
    "exact": Everything(exact=Decimal("1234567890123456789012.000000000000000000000001")),
    "tiny": Everything(exact=Decimal("1E-400"), real=5e-324, maybe=-0.0),
    "text": Everything(raw="é\u2028".encode(), names={"a", "ß"}, few=frozenset({1}), pair=(1, "\x00")),
    "time": Everything(at=NOW, day=date(1, 1, 1), hour=time(23, 59, 59, 999_999), span=timedelta.max),
    "no zone": Everything(at=datetime(9999, 12, 31, 23, 59, 59, 999_999)),
    "kinds": Everything(id=UUID(int=1), colour=Colour.RED, level=Level.LOW, pet=Dog(), lines=[{"sku": "x"}]),
    "keys": Everything(by_number={BIG: Decimal("0.10")}, by_day={date(2026, 1, 1): True}, by_level={Level.LOW: 1}),
    "deep": Everything(point=Point(0.1, 1e300), node=Node(value=Decimal("0.1"), below=[Node(value=Decimal(2))])),
    "json": Everything(parsed="[1, 2]", anything={"a": [1, None, 0.5]}),
    "base64": Base64(raw=b"\xff\x00"),
    "let out": Shown(one=SecretStr("a"), two=SecretStr("b")),
    "milliseconds": Stamped(at=datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)),
    "strict": Strict(at=NOW, exact=Decimal("0.10"), raw=b"x", colour=Colour.RED, pair=(1, 2)),
    "an object at the root": RootModel[dict[str, Decimal]]({"a": Decimal("1.10")}),
    "a choice at the root": RootModel[Annotated[Cat | Dog, Field(discriminator="kind")]](Dog(lives=3)),
}


@pytest.mark.parametrize("what", KEPT)
def test_what_can_round_trip_does_to_the_last_digit(what: str) -> None:
    value = KEPT[what]
    check_json_model("it", type(value))
    body = as_json(value)
    assert read(type(value), body) == value
    assert read(type(value), write(value)) == value
    assert write(read(type(value), body)) == write(value) or "names" in body


def test_models_are_written_by_name_and_read_by_both() -> None:
    value = Everything(wholeNumber=7)
    assert as_json(value)["whole"] == 7
    assert "wholeNumber" not in as_json(value)
    assert "double" not in as_json(value)
    assert read_foreign(Everything, {"wholeNumber": 7}) == read_foreign(Everything, {"whole": 7}) == value


def test_of_a_subclass_only_what_the_declared_model_knows_is_written() -> None:
    class More(Plain):
        b: int = 2

    assert as_json(More(), Plain) == {"a": 1}
    assert as_json(More()) == {"a": 1, "b": 2}


class Reals(BaseModel):
    one: float = 0.0
    maybe: float | None = None
    many: dict[str, list[float | None]] = {}
    anything: Any = None


class AsTexts(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    one: float


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_nan_and_no_infinity_is_written_where_it_would_be_read_as_something_else(number: float) -> None:
    for value in (
        Reals(one=number),
        Reals(maybe=number),
        Reals(many={"a": [None, number]}),
        Reals(anything={"a": number}),
    ):
        with pytest.raises(Unwritable, match="JSON has no NaN and no infinity; give a finite number or None"):
            write(value)
    back = read(AsTexts, write(AsTexts(one=number)))
    assert str(back.one) == str(number)


class Doubles(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("it is odd")
        return n


class WritesAny(BaseModel):
    a: int = 1

    @model_serializer
    def _write(self):  # type: ignore[no-untyped-def]  # it does not say what it gives
        return [self.a]


class Raw(BaseModel):
    raw: bytes = b""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Plain.model_construct(a="x"), "a would not read back: Input should be a valid integer"),
        (Doubles.model_construct(n=3), "n would not read back: Value error, it is odd"),
        (Raw(raw=b"\xff"), "set ser_json_bytes and val_json_bytes of the model to 'base64'"),
        (WritesAny(), "it is not a JSON object"),
        (Everything(anything=object()), "give what its fields are declared as"),
        (Everything(anything="\udc80"), "give what its fields are declared as"),
    ],
)
def test_a_value_that_would_not_read_back_is_not_written(value: BaseModel, message: str) -> None:
    with pytest.raises(Unwritable) as caught:
        write(value)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"this {type(value).__name__} cannot be written as JSON")
