"""Filters on headers: the dialects of the CloudEvents Subscriptions API 1.0, without CESQL. No body is read for them.

An expression has one dialect: ``exact``, ``prefix`` and ``suffix`` compare attributes with texts, case-sensitively, and
hold if all their comparisons do; ``all``, ``any`` and ``not`` combine expressions. An attribute that a record lacks
equals nothing. Attributes are headers as in the Kafka binding: ``ce_<name>``, and ``content-type``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypedDict

from ..sagas import DefinitionError

__all__ = ["Filter", "Takes", "takes_of"]

Filter = TypedDict(
    "Filter",
    {
        "exact": Mapping[str, str],
        "prefix": Mapping[str, str],
        "suffix": Mapping[str, str],
        "all": Sequence["Filter"],
        "any": Sequence["Filter"],
        "not": "Filter",
    },
    total=False,
)
"""One expression, as its JSON."""
Takes: TypeAlias = Callable[[Mapping[str, bytes]], bool]
"""Whether a record with these headers is taken."""

_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_COMPARES: Final[Mapping[str, Callable[[bytes, bytes], bool]]] = {
    "exact": bytes.__eq__,
    "prefix": bytes.startswith,
    "suffix": bytes.endswith,
}
_DIALECTS: Final = (*_COMPARES, "all", "any", "not")


def takes_of(at: str, expression: object) -> Takes:
    """What an expression says of headers.

    Args:
        at: its place, for messages.

    Raises:
        DefinitionError: it is no expression of these dialects.
    """
    if not isinstance(expression, Mapping) or len(expression) != 1:
        raise DefinitionError(
            f"{at} is {expression!r:.100}; give a function, or a dict with one of the keys {', '.join(_DIALECTS)}, "
            'as in {"prefix": {"subject": "order-"}}'
        )
    ((dialect, value),) = expression.items()
    at = f"{at}.{dialect}"
    if dialect in _COMPARES:
        return _compares(at, _COMPARES[dialect], value)
    if dialect == "not":
        takes = takes_of(at, value)
        return lambda headers: not takes(headers)
    if dialect not in _DIALECTS:
        raise DefinitionError(f"{at}: there is no such dialect; use one of {', '.join(_DIALECTS)}")
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise DefinitionError(f"{at} is {value!r:.100}; give a list of one or more expressions")
    inner = [takes_of(f"{at}[{number}]", each) for number, each in enumerate(value)]
    if dialect == "all":
        return lambda headers: all(takes(headers) for takes in inner)
    return lambda headers: any(takes(headers) for takes in inner)


def _compares(at: str, compare: Callable[[bytes, bytes], bool], value: Any) -> Takes:
    if not isinstance(value, Mapping) or not value:
        raise DefinitionError(f"{at} is {value!r:.100}; give a dict of attributes and texts")
    for name, text in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DefinitionError(
                f"{at}: {name!r} is no attribute's name: they have lower-case letters and digits, such as type, "
                "source, subject; leave out ce_"
            )
        if not isinstance(text, str) or not text:
            raise DefinitionError(f"{at}.{name} is {text!r:.100}; give a text")
    wanted = [("content-type" if n == "datacontenttype" else f"ce_{n}", text.encode()) for n, text in value.items()]

    def takes(headers: Mapping[str, bytes]) -> bool:
        return all((found := headers.get(name)) is not None and compare(found, text) for name, text in wanted)

    return takes
