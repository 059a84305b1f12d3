"""What a handler has revealed shows in none of its errors, whatever the type of the field and however it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address, IPv6Network
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel

from sagaline.orchestrator.messages.texts import HIDDEN, Hidden, hiding, said, trace_of
from sagaline.sagas.personal import Personal, Subject, revealed_in


class Blood(Enum):
    A = "A positive"
    O = "0 negative"  # noqa: E741  # a blood group


class Faith(StrEnum):
    NONE = "none at all"
    SUN = "the sun"


class Salary(IntEnum):
    LOW = 12_345
    HIGH = 98_765


class Address(BaseModel):
    street: str
    since: date


@dataclasses.dataclass(frozen=True)
class Visit:
    day: date
    sum: Decimal


class Place(NamedTuple):
    north: float
    east: float


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=3).filter(lambda text: "*" not in text)
finite = st.floats(allow_nan=False, allow_infinity=False)
sums = st.decimals(allow_nan=False, allow_infinity=False)
days = st.dates(date(1000, 1, 1))
moments = st.datetimes(datetime(1000, 1, 1), timezones=st.sampled_from([None, UTC]))  # naive ones too

TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "str": (str, words),
    "int": (int, st.integers()),
    "float": (float, finite),
    "Decimal": (Decimal, sums),
    "bytes": (bytes, words.map(str.encode)),
    "date": (date, days),
    "datetime": (datetime, moments),
    "time": (time, st.times()),
    "timedelta": (timedelta, st.timedeltas(timedelta(days=-9_999), timedelta(days=9_999))),
    "UUID": (UUID, st.uuids()),
    "Enum": (Blood, st.sampled_from(Blood)),
    "StrEnum": (Faith, st.sampled_from(Faith)),
    "IntEnum": (Salary, st.sampled_from(Salary)),
    "IPv4Address": (IPv4Address, st.ip_addresses(v=4)),
    "IPv6Network": (IPv6Network, st.ip_addresses(v=6).map(lambda address: IPv6Network((address, 128)))),
    "PurePosixPath": (PurePosixPath, words.map(lambda text: PurePosixPath(f"/home/{text.replace('/', '-')}"))),
    "AnyUrl": (AnyUrl, st.uuids().map(lambda id: AnyUrl(f"https://example.org/{id}?of=ada"))),
    "model": (Address, st.builds(Address, street=words, since=days)),
    "dataclass": (Visit, st.builds(Visit, days, sums)),
    "NamedTuple": (Place, st.builds(Place, finite, finite)),
    "list": (list[date], st.lists(days, min_size=1, max_size=3)),
    "tuple": (tuple[date, str], st.tuples(days, words)),
    "set": (frozenset[UUID], st.frozensets(st.uuids(), min_size=1, max_size=3)),
    "dict": (dict[str, Decimal], st.dictionaries(words, sums, min_size=1, max_size=3)),
    "optional": (Address | None, st.builds(Address, street=words, since=days)),
}
FORMS: list[Callable[[object], str]] = [str, repr, lambda value: f"{value}", lambda value: str([value])]


@pytest.mark.parametrize("name", TYPES)
def test_no_error_says_what_was_revealed(name: str) -> None:
    kind, values = TYPES[name]

    class Label(BaseModel):
        id: Annotated[str, Subject()] = "C-7"
        value: Personal[kind]  # type: ignore[valid-type]  # one class for each type

    @settings(deadline=None, max_examples=30)
    @given(values)
    def holds(value: object) -> None:
        revealed = Label(value=Personal(value)).value.reveal()
        hidden = Hidden(revealed_in(Label(value=Personal(value))))
        for single in singles(revealed):
            for text in (str(single), repr(single)):
                if len(single if isinstance(single, bytes) else str(single)) < 3:
                    continue
                for form in FORMS:
                    for error in (ValueError(f"no {form(revealed)} here"), KeyError(revealed), KeyError(form(single))):
                        for shown in (said(error, hidden), trace_of(error, 8_000, hidden=hidden)):
                            assert HIDDEN in shown
                            assert text not in shown.replace(HIDDEN, "")

    holds()


def singles(value: object) -> list[object]:
    """The values that a test expects to find nowhere, found by rules of its own."""
    if isinstance(value, Address):
        return [value.street, value.since]
    if isinstance(value, Visit):
        return [value.day, value.sum]
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, tuple | list | frozenset) else [value]


class Sex(Enum):
    F = "female"
    M = "male"


def test_the_name_of_a_member_that_is_one_letter_is_not_hidden_in_every_text() -> None:
    class Patient(BaseModel):
        id: Annotated[str, Subject()] = "C-7"
        sex: Personal[Sex]

    hidden = Hidden(revealed_in(Patient(sex=Personal(Sex.M))))
    assert hiding("Money is Missing for the Sex.M, a male", hidden) == f"Money is Missing for the {HIDDEN}, a {HIDDEN}"


def test_a_text_is_one_of_the_hidden_ones_and_how_it_is_written_is_worked_out_once() -> None:
    class Person(BaseModel):
        id: Annotated[str, Subject()] = "C-7"
        names: Personal[list[str]]

    hidden = Hidden(revealed_in(Person(names=Personal(["Ada", "O'Neil"]))))
    assert hidden == {"Ada", "O'Neil"}
    assert hidden.forms is hidden.forms
