"""JSON from outside keeps its digits, from whatever side it comes."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sagaline.orchestrator.messages.parsing import parse_json
from sagaline.sagas.models import as_json, read_foreign

MANY = "12345678901234567890.12345678901234567890"


class Price(BaseModel):
    amount: Decimal
    real: float = 0.0


@pytest.mark.parametrize("text", [MANY, "-" + MANY, "1e400", "1E-400", "0.1000000000000000055511151231257827", "1.10"])
def test_a_number_that_no_float_holds_reaches_a_decimal_to_the_last_digit(text: str) -> None:
    price = read_foreign(Price, parse_json(f'{{"amount":{text}}}'.encode()))
    assert price.amount == Decimal(text)
    assert read_foreign(Price, as_json(price)) == price


@pytest.mark.parametrize("text", ["0.1", "1e308", "5e-324", "1.7976931348623157e308", "0.30000000000000004", "-0.0"])
def test_a_number_that_a_float_holds_is_one(text: str) -> None:
    found = parse_json(f"[{text}]".encode())
    assert found == [float(text)]
    assert isinstance(found, list)
    assert type(found[0]) is float


@pytest.mark.parametrize("text", ["1e9999999999999999999", "-0.5E-9999999999999999999", "0e99999999999999999999"])
def test_an_exponent_that_not_even_a_decimal_holds_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match="has an exponent that no decimal holds"):
        parse_json(f'{{"amount":{text}}}'.encode())


def test_a_float_field_takes_the_nearest() -> None:
    assert read_foreign(Price, parse_json(f'{{"amount":1,"real":{MANY}}}'.encode())).real == float(MANY)


@pytest.mark.parametrize("raw", [b"NaN", b"[Infinity]", b"-Infinity", b'"\\ud800"', b"{", b"", b"[" * 100_000, b"\xff"])
def test_what_is_not_json_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(raw)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_what_python_writes_is_read_as_it_was(value: object) -> None:
    raw = json.dumps(value).encode()
    assert parse_json(raw) == value


@settings(max_examples=100, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=30, min_value=-(10**20), max_value=10**20))
def test_every_decimal_survives(number: Decimal) -> None:
    found = parse_json(f'{{"amount":{number:f}}}'.encode())
    assert read_foreign(Price, found).amount == number
    assert not math.isnan(read_foreign(Price, found).real)
