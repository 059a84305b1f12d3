"""Terms of the read model: the order of their texts is the order of the values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaline.orchestrator.adapters.read_model.terms import terms_of
from sagaline.sagas.searchable import AttributeValue
from tests.contract.read_model_contract import document


def term(value: AttributeValue) -> str:
    (found,) = terms_of(document(), [("a", value)])
    return found


def test_numbers_are_in_order_across_signs_and_sizes() -> None:
    texts = ["-1e99", "-1000", "-12.5", "-12.45", "-12.4", "-0.001", "0", "1e-40", "0.5", "0.51", "9", "10", "1e30"]
    found = [term(Decimal(text)) for text in texts]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_any_two_numbers_are_in_order(one: Decimal, other: Decimal) -> None:
    assert (term(one) < term(other), term(one) == term(other)) == (one < other, one == other)


def test_times_are_in_order_whatever_their_zone_and_before_1970() -> None:
    first = datetime(1969, 1, 1, tzinfo=UTC)
    times = [first + timedelta(days=200 * n, microseconds=n) for n in range(9)]
    assert all(term(one) < term(other) for one, other in pairwise(times))
    assert term(times[3]) == term(times[3].astimezone(timezone(timedelta(hours=5))))


def test_a_number_is_no_text_and_a_flag_no_number() -> None:
    assert len({term(value) for value in ("1", Decimal(1), True)}) == 3


@pytest.mark.parametrize("many", [200, 5_000])
def test_the_terms_of_one_field_have_a_limit_that_leaves_the_others_theirs(many: int) -> None:
    found = terms_of(document(paused=True), [*(("a", Decimal(n)) for n in range(many)), ("customer", "ann")])
    assert (len(found), found[-1]) == (202, "customer:sann")
