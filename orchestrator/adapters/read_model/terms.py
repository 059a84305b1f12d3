"""Terms: what an instance can be found by, as texts whose byte order is the order of the values.

    customer:sann        total:n2100004...        @overdue:b1        @code:scard-declined

A name, the kind of the value in one letter, the value. So equality, a range and a prefix are each one range of one
index, for values of any size. Names that begin with ``@`` are ours: no searchable field has one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from ....sagas.searchable import AttributeValue
from ...kernel.waits import overdue_steps
from ...messages.document import Document
from ...ports.read_model import ORDERED_CHARS_MAX, Comparison, Condition, InstanceFilter

__all__ = ["LAST_CHARACTER", "Range", "is_never", "ranges", "terms_of"]

LAST_CHARACTER: Final = "\U0010ffff"
"""No text has a greater one."""

_TERMS_MAX: Final = 200
"""Of one field of one instance: a longer list is searchable by its first values."""
_EXPONENT_MAX: Final = 99_999
_DIGITS_MAX: Final = 60
_COMPLEMENT: Final = str.maketrans("0123456789", "9876543210")
_MICROSECOND: Final = 1_000_000


class Range(NamedTuple):
    """Terms from ``first`` on, before ``end``; None: ``first`` alone."""

    first: str
    end: str | None = None


_OVERDUE, _PAUSED = "@overdue:b1", "@paused:b1"


def terms_of(document: Document, attributes: Iterable[tuple[str, AttributeValue]]) -> list[str]:
    """The terms of an instance, each once; ours first."""
    found = dict.fromkeys(_own(document))
    counts = Counter[str]()
    for name, value in attributes:
        if counts[name] < _TERMS_MAX:
            found[_term(name, value)] = None
            counts[name] += 1
    return list(found)


def ranges(where: InstanceFilter) -> list[Range]:
    """The ranges in each of which an instance must have a term; a single term first."""
    found = [_range(each) for each in where.attributes]
    if where.code is not None:
        found.append(Range(_term("@code", where.code)))
    if where.is_overdue:
        found.append(Range(_OVERDUE))
    if where.is_paused:
        found.append(Range(_PAUSED))
    return sorted(found, key=lambda each: each.end is not None)


def is_never(where: InstanceFilter) -> list[str]:
    """The terms that an instance must not have."""
    return [term for term, wanted in ((_OVERDUE, where.is_overdue), (_PAUSED, where.is_paused)) if wanted is False]


def _own(document: Document) -> Iterator[str]:
    if document.paused:
        yield _PAUSED
    if overdue_steps(document):
        yield _OVERDUE
    for cause in (document.attention, document.cause):
        if cause is not None:
            yield from (_term("@code", code) for code in (cause.code, cause.kind.value) if code)


def _range(condition: Condition) -> Range:
    name, comparison, value = condition
    at = _term(name, value)
    kind = at[: len(name) + 2]
    match comparison:
        case Comparison.EQUAL:
            return Range(at)
        case Comparison.PREFIX:
            return Range(at, at + LAST_CHARACTER)
        case Comparison.AT_LEAST:
            return Range(at, kind + LAST_CHARACTER)
        case Comparison.MORE:
            return Range(_after(at), kind + LAST_CHARACTER)
        case Comparison.LESS:
            return Range(kind, at)
        case Comparison.AT_MOST:
            return Range(kind, _after(at))


def _after(term: str) -> str:
    """The first text behind this one."""
    return term + "\x01"


def _term(name: str, value: AttributeValue) -> str:
    match value:
        case bool():
            return f"{name}:b{int(value)}"
        case str():
            return f"{name}:s{_text(value)}"
        case Decimal():
            return f"{name}:n{_number(value)}"
        case datetime():
            return f"{name}:t{_number(_microseconds(value))}"


def _text(value: str) -> str:
    """Of a long text the rest is a digest: equality is exact."""
    if len(value) <= ORDERED_CHARS_MAX:
        return value
    return value[:ORDERED_CHARS_MAX] + hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()


def _microseconds(value: datetime) -> Decimal:
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    return Decimal((since.days * 86_400 + since.seconds) * _MICROSECOND + since.microseconds)


def _number(value: Decimal) -> str:
    """Sign, exponent, digits; of a negative number both as complements, so that they count backwards."""
    sign, digits, _ = value.as_tuple()
    text = "".join(map(str, digits)).strip("0")
    if not text:
        return "1"
    exponent = max(-_EXPONENT_MAX, min(_EXPONENT_MAX, value.adjusted())) + _EXPONENT_MAX
    whole = f"{exponent:06}{text[:_DIGITS_MAX]}"
    return f"0{whole.translate(_COMPLEMENT)}~" if sign else f"2{whole}"
