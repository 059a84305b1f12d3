"""Fields by which instances are found: what may be marked, and the values that a stored state gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, RootModel

from sagaline.orchestrator.kernel import Registry
from sagaline.sagas import Contract, DefinitionError, Saga, step
from sagaline.sagas.searchable import AttributeKind, Searchable, attributes_of, values_of


class Did(BaseModel):
    ok: bool = True


class Colour(StrEnum):
    RED = "red"


class Line(BaseModel):
    sku: Annotated[str, Searchable()]
    inside: Optional[Line] = None  # noqa: UP045  # a forward reference


class Order(BaseModel):
    customer: Annotated[str, Searchable()] = "ann"
    total: Annotated[Decimal, Searchable("total_amount")] = Decimal(0)
    paid: Annotated[bool | None, Searchable()] = None
    at: Annotated[datetime, Searchable()] | None = None
    colour: Annotated[Colour, Searchable()] = Colour.RED
    ways: Annotated[list[Literal["air", "sea"]], Searchable("way")] = []
    lines: list[Line] = []
    note: str = ""


class Shop(BaseModel):
    order: Order | None = None
    count: Annotated[int, Searchable()] = 0


class Mapped(BaseModel):
    lines: dict[str, Line] = {}


class InMapping(BaseModel):
    lines: Mapping[str, Line] = {}


class Valued(BaseModel):
    skus: dict[str, Annotated[str, Searchable()]] = {}


class Deep(BaseModel):
    lines: list[dict[str, list[Line]]] = []


class Card(BaseModel):
    owner: Annotated[str, Searchable()] = ""


class Bank(BaseModel):
    owner: Annotated[str, Searchable()] = ""


class Counted(BaseModel):
    owner: Annotated[int, Searchable()] = 0


class Unlike(BaseModel):
    pay: Card | Counted | None = None


class Lines(RootModel[tuple[Line, ...]]):
    pass


class Other(BaseModel):
    pay: Card | Bank | None = None
    lines: Lines = Lines(())
    ways: Annotated[Sequence[str], Searchable("way")] = ()
    queue: deque[Annotated[str, Searchable()]] = deque()
    tags: AbstractSet[Annotated[str, Searchable("tag")]] = frozenset()


class Twice(BaseModel):
    sku: Annotated[str, Searchable()] = ""
    line: Line | None = None


class Either(BaseModel):
    either: Annotated[str | int, Searchable()] = ""


class Whole(BaseModel):
    line: Annotated[Did, Searchable()]


class Odd(BaseModel):
    sku: Annotated[str, Searchable("a.b")]


class Unmade(BaseModel):
    sku: Annotated[str, Searchable]


class CountedAsText(BaseModel):
    count: Annotated[str, Searchable()] = ""


def saga(state: type[BaseModel], name: str = "demo") -> Saga[Any]:
    @step(Contract("do", Did, Did, queue="q"))
    def do(s: Any) -> Did:
        return Did()

    return Saga(name, state, flow=[do])


SEARCHABLE_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "inside a dict": (
        lambda: saga(Mapped),
        "saga 'demo': its searchable field 'lines.sku' is inside dict, where it is not found; declare a list of models",
    ),
    "inside a mapping": (
        lambda: saga(InMapping),
        "saga 'demo': its searchable field 'lines.sku' is inside Mapping, where it is not found; "
        "declare a list of models",
    ),
    "a value of a dict": (
        lambda: saga(Valued),
        "saga 'demo': its searchable field 'skus' is inside dict, where it is not found; declare a list of models",
    ),
    "deep in a list of dicts": (
        lambda: saga(Deep),
        "saga 'demo': its searchable field 'lines.sku' is inside dict, where it is not found; declare a list of models",
    ),
    "two kinds at one place": (
        lambda: saga(Unlike),
        "saga 'demo': its searchable field 'pay.owner' has the name 'owner', as 'pay.owner' has; "
        "give one of them another: Searchable('another_name')",
    ),
    "two of one name": (
        lambda: saga(Twice),
        "saga 'demo': its searchable field 'line.sku' has the name 'sku', as 'sku' has; "
        "give one of them another: Searchable('another_name')",
    ),
    "values of two kinds": (
        lambda: saga(Either),
        "saga 'demo': its searchable field 'either' is str or int; "
        "mark a str, int, float, Decimal, bool or datetime, or a list of one kind",
    ),
    "a model": (
        lambda: saga(Whole),
        "saga 'demo': its searchable field 'line' is Did; "
        "mark a str, int, float, Decimal, bool or datetime, or a list of one kind",
    ),
    "a name that no search can write": (
        lambda: saga(Odd),
        "saga 'demo': its searchable field 'sku' has the name 'a.b'; give up to 64 letters, digits and _",
    ),
    "the class": (
        lambda: saga(Unmade),
        "saga 'demo': 'sku' is marked with the class; write Searchable()",
    ),
    "two kinds in a deployment": (
        lambda: Registry([saga(Shop), saga(CountedAsText, "other")]),
        "the searchable field 'count' is a number in Saga('demo', version=1) and a text in Saga('other', version=1); "
        "give one of them another name: Searchable('another_name')",
    ),
}


@pytest.mark.parametrize("mistake", SEARCHABLE_MISTAKES)
def test_a_field_that_cannot_be_searched_is_refused_at_declaration(mistake: str) -> None:
    provoke, message = SEARCHABLE_MISTAKES[mistake]
    with pytest.raises(DefinitionError) as caught:
        provoke()
    assert str(caught.value) == message


def test_marked_fields_are_found_in_models_and_in_lists() -> None:
    found = attributes_of("saga 'demo'", Shop)
    assert {name: (each.path, each.kind) for name, each in found.items()} == {
        "customer": (("order", "customer"), AttributeKind.TEXT),
        "total_amount": (("order", "total"), AttributeKind.NUMBER),
        "paid": (("order", "paid"), AttributeKind.FLAG),
        "at": (("order", "at"), AttributeKind.TIME),
        "colour": (("order", "colour"), AttributeKind.TEXT),
        "way": (("order", "ways"), AttributeKind.TEXT),
        "sku": (("order", "lines", "sku"), AttributeKind.TEXT),
        "count": (("count",), AttributeKind.NUMBER),
    }


def test_all_lists_of_json_are_lists_and_one_place_may_hold_several_models() -> None:
    """A root model is what it holds."""
    lines = Lines((Line(sku="tea"), Line(sku="pot")))
    state = Other(pay=Bank(owner="ann"), lines=lines, ways=["air"], queue=deque(["x"]), tags={"y"})
    assert list(values_of(saga(Other).searchable, state.model_dump(mode="json"))) == [
        ("owner", "ann"),
        ("sku", "tea"),
        ("sku", "pot"),
        ("way", "air"),
        ("queue", "x"),
        ("tag", "y"),
    ]


def test_values_come_from_the_stored_state_and_what_is_not_filled_has_none() -> None:
    order = Order(
        total=Decimal("12.50"),
        at=datetime(2026, 5, 1, tzinfo=UTC),
        ways=["air", "sea"],
        lines=[Line(sku="tea"), Line(sku="pot")],
    )
    state = Shop(order=order, count=3).model_dump(mode="json")
    assert list(values_of(saga(Shop).searchable, state)) == [
        ("customer", "ann"),
        ("total_amount", Decimal("12.50")),
        ("at", datetime(2026, 5, 1, tzinfo=UTC)),
        ("colour", "red"),
        ("way", "air"),
        ("way", "sea"),
        ("sku", "tea"),
        ("sku", "pot"),
        ("count", Decimal(3)),
    ]
    assert list(values_of(saga(Shop).searchable, {"order": None, "count": 1})) == [("count", Decimal(1))]


@pytest.mark.parametrize(
    "state",
    [{"count": "x"}, {"count": True}, {"count": float("nan")}, {"order": 3}, {"order": {"at": "soon", "paid": "?"}}],
)
def test_a_value_that_does_not_fit_is_not_searched_for(state: dict[str, Any]) -> None:
    """A state of an older version, or an input that waits for its code, may hold anything."""
    assert list(values_of(saga(Shop).searchable, state)) == []


def test_a_time_without_a_zone_is_in_utc() -> None:
    ((_, found),) = values_of(saga(Shop).searchable, {"order": {"at": "2026-05-01T00:00:00"}})
    assert found == datetime(2026, 5, 1, tzinfo=UTC)
