"""What an author gives to a declaration, checked where he gives it: one function for each kind of mistake.

Each takes what messages call it (``step 'pay': timeout``) and raises ``DefinitionError``, which says what to give.
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


def check_span(what: str, span: object, *, zero: bool = False) -> None:
    """A span of time: positive, or with ``zero`` not negative."""
    if not isinstance(span, timedelta) or span < timedelta(0) or (span == timedelta(0) and not zero):
        wanted = "a timedelta of zero or more" if zero else "a positive timedelta"
        raise DefinitionError(f"{what} is {_shown(span)}; give {wanted}")


def check_count(what: str, count: object, least: int, most: int | None = None) -> None:
    """A whole number; a bool is none."""
    if not isinstance(count, int) or isinstance(count, bool) or count < least or (most is not None and count > most):
        wanted = f"{least} or more" if most is None else f"{least} to {most:,}"
        raise DefinitionError(f"{what} is {_shown(count)}; give a whole number, {wanted}")


def check_is(what: str, value: object, kind: type[Any], remedy: str) -> None:
    """An instance of a class. ``remedy`` says how one is made."""
    if not isinstance(value, kind):
        raise DefinitionError(f"{what} is {_shown(value)}; {remedy}")


def check_text(what: str, value: object) -> None:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise DefinitionError(f"{what} is {_shown(value)}; give a text")


def check_choice(what: str, value: object, choices: Collection[str]) -> None:
    """One of some texts."""
    if not isinstance(value, str) or value not in choices:
        raise DefinitionError(f"{what} is {_shown(value)}; give {' or '.join(map(repr, choices))}")


def check_list(what: str, values: object, of: str) -> None:
    """Several of something: no text, no mapping, and not one alone. ``of`` says of what."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence | Collection):
        raise DefinitionError(f"{what} is {_shown(values)}; give a list of {of}")


def check_call(what: str, function: object) -> None:
    """Something that can be called."""
    if not callable(function):
        raise DefinitionError(f"{what} is {_shown(function)}; give a function")


def _shown(value: object) -> str:
    return str(value) if isinstance(value, timedelta) else repr(value)[:100]
