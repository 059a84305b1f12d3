"""Conditions on searchable fields, as people write them: ``customer=ann``, ``total_cents>=1000``, ``customer^=an``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...sagas.searchable import AttributeKind, read_value
from ..errors import InvalidRequest
from ..ports.read_model import ORDERED_CHARS_MAX, Comparison, Condition

__all__ = ["condition_of"]

_PARTS: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<sign>\^=|>=|<=|=|>|<)(?P<value>.*)", re.DOTALL)
_EXAMPLES: Final = {
    AttributeKind.TEXT: "text",
    AttributeKind.NUMBER: "a number such as 12.5",
    AttributeKind.FLAG: "true or false",
    AttributeKind.TIME: "a time such as 2026-05-01T12:00:00Z",
}


def condition_of(text: str, searchable: Mapping[str, AttributeKind]) -> Condition:
    """The condition that a text means.

    Args:
        text: name, comparison, value: ``total_cents>=1000``.
        searchable: the names that can be used, and what they are compared as.

    Raises:
        InvalidRequest: it is no condition, there is no such field, or the value is not of its kind (field ``where``).
    """
    parts = _PARTS.fullmatch(text)
    if parts is None:
        signs = " ".join(Comparison)
        raise _wrong(f"{text[:100]!r} is not a condition; write a name, one of {signs} and a value: total_cents>=1000")
    name, comparison = parts["name"], Comparison(parts["sign"])
    kind = searchable.get(name)
    if kind is None:
        known = f"there are: {', '.join(searchable)}" if searchable else "mark one with Searchable() in its definition"
        raise _wrong(f"there is no searchable field {name[:64]!r}; {known}")
    value = read_value(kind, parts["value"])
    if value is None:
        raise _wrong(f"{name} is compared with {_EXAMPLES[kind]}, not with {parts['value'][:100]!r}; give such a value")
    if comparison is Comparison.PREFIX and kind is not AttributeKind.TEXT:
        raise _wrong(f"{name} is a {kind}, which has no beginning; use another comparison than ^=")
    if comparison is not Comparison.EQUAL and isinstance(value, str) and len(value) > ORDERED_CHARS_MAX:
        raise _wrong(
            f"the text after {name}{comparison} has {len(value):,} characters, of which the first "
            f"{ORDERED_CHARS_MAX} are in order; give at most so many, or use ="
        )
    return Condition(name, comparison, value)


def _wrong(text: str) -> InvalidRequest:
    return InvalidRequest(text, field="where")
