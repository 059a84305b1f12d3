"""Checks of what an author's function returned.

Each function takes a returned value and converts it for the kernel, or raises ``WrongResult`` with what to return
instead. They are called inside ``ask``, which adds the node's name to the message and blocks only that instance.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from ..messages.keys import KEY_CHARS_MAX, character_wrong, key_wrong
from ..messages.values import JsonObject

__all__ = [
    "WrongResult",
    "a_cost",
    "a_key",
    "a_list",
    "a_model",
    "a_span",
    "a_text",
    "a_truth",
    "facts",
    "names",
    "parts",
    "what",
]

M = TypeVar("M", bound=BaseModel)

_SHOWN_CHARS: Final = 80


class WrongResult(Exception):
    """An author's function returned an unusable value; the message says which, and what to return instead."""


def what(found: object) -> str:
    """A wrong result as messages show it. A coroutine is closed, so that it does not warn that it was never awaited."""
    if isinstance(found, Coroutine):
        found.close()
        return "a coroutine (its function is async; declare it with def)"
    if isinstance(found, Generator | AsyncGenerator):
        return "a generator (return a list; do not use yield)"
    if found is None or isinstance(found, bool | int | float | str | timedelta):
        text = repr(found)
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return f"a {type(found).__name__}"


def a_model(found: object, model: type[M], wanted: str) -> M:
    """An instance of a model. ``wanted`` says who needs it, such as ``contract 'x' sends``."""
    if not isinstance(found, model):
        raise WrongResult(f"{what(found)}; {wanted} a {model.__name__}")
    return found


def a_key(found: object) -> str:
    """A key that follows the rules for clients' keys."""
    if not isinstance(found, str):
        raise WrongResult(f"{what(found)}; a key is a string of 1 to {KEY_CHARS_MAX} characters")
    if (wrong := key_wrong(found)) is not None:
        raise WrongResult(f"a key that {wrong}")
    return found


def a_truth(found: object) -> bool:
    """The truth of a value. Values that are always true, such as functions and coroutines, are mistakes."""
    if isinstance(found, Coroutine | Generator | AsyncGenerator):
        raise WrongResult(f"{what(found)}; give True or False")
    if callable(found) and not isinstance(found, BaseModel):
        raise WrongResult(f"{what(found)}, which is always true; call it, and give True or False")
    return bool(found)


def a_span(found: object) -> timedelta:
    """A span of time of zero or more."""
    if not isinstance(found, timedelta) or found < timedelta(0):
        shown = str(found) if isinstance(found, timedelta) else what(found)
        raise WrongResult(f"{shown}; give a timedelta of zero or more")
    return found


def a_text(found: object) -> str:
    """A non-empty text for people."""
    if not isinstance(found, str) or not found.strip():
        raise WrongResult(f"{what(found)}; give a text that people can read")
    return found


def a_list(found: object, of: str) -> Sequence[Any]:
    """A sequence that is not a string. ``of`` names its items."""
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise WrongResult(f"{what(found)}; give a list of {of}")
    return found


def names(found: object) -> list[str]:
    """One or more valid names of people or roles, without duplicates."""
    people = a_list(found, "names of people or roles")
    if not people:
        raise WrongResult("an empty list; give at least one person or role that may answer")
    for name in people:
        if not isinstance(name, str) or not name.strip():
            raise WrongResult(f"a list with {what(name)} in it; give names of people or roles")
        if len(name) > KEY_CHARS_MAX:
            raise WrongResult(f"a name with {len(name)} characters; give at most {KEY_CHARS_MAX}")
        if (wrong := character_wrong(name)) is not None:
            raise WrongResult(f"a name that {wrong}")
    return list(dict.fromkeys(map(str, people)))


def facts(found: object) -> JsonObject:
    """Facts for the rules of a table."""
    if not isinstance(found, Mapping):
        raise WrongResult(f"{what(found)}; give a dict of facts")
    taken: JsonObject = {}
    for name, value in found.items():
        finite = not isinstance(value, float) or math.isfinite(value)
        if not isinstance(name, str) or not isinstance(value, str | int | float | None) or not finite:
            raise WrongResult(
                f"a dict with {what(name)}: {what(value)}; give strings, finite numbers, True, False or None"
            )
        taken[name] = str(value) if isinstance(value, str) else value
    return taken


def parts(found: object) -> Sequence[Any]:
    """The parts of a collection: it has a length and its items are found by index."""
    countable = hasattr(found, "__len__") and hasattr(found, "__getitem__")
    if not countable or isinstance(found, str | bytes | Mapping):
        raise WrongResult(f"{what(found)}; give a list of parts")
    return found  # type: ignore[return-value]  # only len() and [] are used


def a_cost(found: object) -> float | Decimal:
    """A number that can be compared with others."""
    if not isinstance(found, int | float | Decimal) or math.isnan(found):
        raise WrongResult(f"{what(found)}; give a number, the lowest is the best")
    return found
