"""Which fields a function relies on, found in its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sagaline.sagas.reads import relied_on


def deep(s: Any) -> Any:
    return s.stock.id


def item(s: Any) -> Any:
    return s.stock["id"]


def passed_on(s: Any) -> Any:
    return str(s.stock)


def only_a_method_of_another(s: Any) -> Any:
    return len(str(s)) + s.n


def guarded_by_if(s: Any) -> Any:
    if s.stock is not None:
        return s.stock.id
    return s.n


def guarded_by_and(s: Any) -> Any:
    return s.stock and s.stock.id


def guarded_by_or(s: Any) -> Any:
    return (s.stock or s.other).id


def guarded_by_assert(s: Any) -> Any:
    assert s.stock
    return s.stock.id


def guarded_by_choice(s: Any) -> Any:
    return s.stock.id if s.stock else None


def guarded_by_match(s: Any) -> Any:
    match s.stock:
        case None:
            return None
        case _:
            return s.stock.id


def guarded_in_a_comprehension(s: Any) -> Any:
    return [s.stock.id for _ in range(3) if s.stock]


def another_is_tested(s: Any) -> Any:
    if s.payment:
        return s.stock.id
    return None


def positional_only(s: Any, /) -> Any:
    return s.stock.id


def no_argument() -> Any:
    return None


def two_fields(state: Any) -> Any:
    return state.stock.id + state.payment.id


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        (deep, {"stock"}),
        (item, {"stock"}),
        (passed_on, set()),
        (only_a_method_of_another, set()),
        (guarded_by_if, set()),
        (guarded_by_and, set()),
        (guarded_by_or, set()),
        (guarded_by_assert, set()),
        (guarded_by_choice, set()),
        (guarded_by_match, set()),
        (guarded_in_a_comprehension, set()),
        (another_is_tested, {"stock"}),
        (positional_only, {"stock"}),
        (no_argument, set()),
        (two_fields, {"stock", "payment"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_function_relies_on(function: Callable[..., Any], fields: set[str]) -> None:
    """A plain ``s.field.more`` relies on the field; one that is tested anywhere does not."""
    assert relied_on(function) == fields


def test_a_lambda_is_read_when_it_stands_alone() -> None:
    alone = lambda s: s.stock.id  # noqa: E731  # a lambda is what is tested
    assert relied_on(alone) == {"stock"}


def test_of_two_lambdas_on_a_line_nothing_is_claimed() -> None:
    first, second = (lambda s: s.stock.id), (lambda s: s.payment.id)
    assert relied_on(first) == relied_on(second) == frozenset()


def test_without_a_source_nothing_is_claimed() -> None:
    scope: dict[str, Any] = {}
    exec("def made(s): return s.stock.id", scope)
    assert relied_on(scope["made"]) == frozenset()
    assert relied_on(len) == frozenset()
