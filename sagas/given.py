"""Checks of the values in a declaration: one function for each kind of value.

Each takes the value's name for messages (``step 'pay': timeout``) and raises ``DefinitionError``, which says what to
give.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from .errors import DefinitionError

__all__ = [
    "check_call",
    "check_choice",
    "check_count",
    "check_is",
    "check_list",
    "check_span",
    "check_text",
]


def check_span(what: str, span: object, *, zero: bool = False, or_else: str = "") -> None:
    """Requires a positive span of time; with ``zero``, zero is allowed. ``or_else``: what else may be given."""
    if not isinstance(span, timedelta) or span < timedelta(0) or (span == timedelta(0) and not zero):
        wanted = "a timedelta of zero or more" if zero else "a positive timedelta"
        raise DefinitionError(f"{what} is {_shown(span)}; give {wanted}{f' or {or_else}' if or_else else ''}")


def check_count(what: str, count: object, least: int, most: int | None = None) -> None:
    """Requires a whole number in the range; a bool is not a number."""
    if not isinstance(count, int) or isinstance(count, bool) or count < least or (most is not None and count > most):
        wanted = f"{least} or more" if most is None else f"{least} to {most:,}"
        raise DefinitionError(f"{what} is {_shown(count)}; give a whole number, {wanted}")


def check_is(what: str, value: object, kind: type[Any], remedy: str) -> None:
    """Requires an instance of a class. ``remedy`` says how to make one."""
    if not isinstance(value, kind):
        raise DefinitionError(f"{what} is {_shown(value)}; {remedy}")


def check_text(what: str, value: object) -> None:
    """Requires a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise DefinitionError(f"{what} is {_shown(value)}; give a text")


def check_choice(what: str, value: object, choices: Collection[str]) -> None:
    """Requires one of the given strings."""
    if not isinstance(value, str) or value not in choices:
        raise DefinitionError(f"{what} is {_shown(value)}; give {' or '.join(map(repr, choices))}")


def check_list(what: str, values: object, of: str) -> None:
    """Requires a list: not a string, not a mapping, not a single value. ``of`` names its elements."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence | Collection):
        raise DefinitionError(f"{what} is {_shown(values)}; give a list of {of}")


def check_call(what: str, function: object) -> None:
    """Requires a callable."""
    if not callable(function):
        raise DefinitionError(f"{what} is {_shown(function)}; give a function")


def _shown(value: object) -> str:
    return str(value) if isinstance(value, timedelta) else repr(value)[:100]
