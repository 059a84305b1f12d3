"""What an author's function gave, checked where it was asked for.

Each function takes what came and gives it as the kernel uses it, or raises ``WrongResult``, which says what to give
instead. They are called inside ``ask``, so that a wrong result is told with the node's name, and harms nothing else.
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
    """A function gave what cannot be used; the message says what, and what to give instead."""


def what(found: object) -> str:
    """How messages call a wrong result; a coroutine is closed, since nobody will ever wait for it."""
    if isinstance(found, Coroutine):
        found.close()
        return "a coroutine (its function is async; declare it with def)"
    if isinstance(found, Generator | AsyncGenerator):
        return "a generator (return a list; yield has no place in it)"
    if found is None or isinstance(found, bool | int | float | str | timedelta):
        text = repr(found)
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return f"a {type(found).__name__}"


def a_model(found: object, model: type[M], wanted: str) -> M:
    """An instance of a model. ``wanted`` says who wants it, such as ``contract 'x' sends``."""
    if not isinstance(found, model):
        raise WrongResult(f"{what(found)}; {wanted} a {model.__name__}")
    return found


def a_key(found: object) -> str:
    """A key by the rule of clients' keys."""
    if not isinstance(found, str):
        raise WrongResult(f"{what(found)}; a key is a text of 1 to {KEY_CHARS_MAX} characters")
    if (wrong := key_wrong(found)) is not None:
        raise WrongResult(f"a key that {wrong}")
    return found


def a_truth(found: object) -> bool:
    """Whether it is true; what is always true, whatever the state, is no answer."""
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
    """A text for people, not empty."""
    if not isinstance(found, str) or not found.strip():
        raise WrongResult(f"{what(found)}; give a text that people can read")
    return found


def a_list(found: object, of: str) -> Sequence[Any]:
    """A sequence that is no text. ``of`` says of what."""
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise WrongResult(f"{what(found)}; give a list of {of}")
    return found


def names(found: object) -> list[str]:
    """Names of people or roles: one or more, each once, and such as somebody can act by."""
    people = a_list(found, "names of people or roles")
    if not people:
        raise WrongResult("an empty list; name somebody who may answer")
    for name in people:
        if not isinstance(name, str) or not name.strip():
            raise WrongResult(f"a list with {what(name)} in it; give names of people or roles")
        if len(name) > KEY_CHARS_MAX:
            raise WrongResult(f"a name with {len(name)} characters; give at most {KEY_CHARS_MAX}")
        if (wrong := character_wrong(name)) is not None:
            raise WrongResult(f"a name that {wrong}")
    return list(dict.fromkeys(map(str, people)))


def facts(found: object) -> JsonObject:
    """What the rules of a table are matched against."""
    if not isinstance(found, Mapping):
        raise WrongResult(f"{what(found)}; give a dict of facts")
    taken: JsonObject = {}
    for name, value in found.items():
        finite = not isinstance(value, float) or math.isfinite(value)
        if not isinstance(name, str) or not isinstance(value, str | int | float | None) or not finite:
            raise WrongResult(
                f"a dict with {what(name)}: {what(value)}; give texts, finite numbers, True, False or None"
            )
        taken[name] = str(value) if isinstance(value, str) else value
    return taken


def parts(found: object) -> Sequence[Any]:
    """The parts of a collection: something with a length whose items are found by number."""
    countable = hasattr(found, "__len__") and hasattr(found, "__getitem__")
    if not countable or isinstance(found, str | bytes | Mapping):
        raise WrongResult(f"{what(found)}; give a list of parts")
    return found  # type: ignore[return-value]  # as far as it is used


def a_cost(found: object) -> float | Decimal:
    """A number that can be compared with others."""
    if not isinstance(found, int | float | Decimal) or math.isnan(found):
        raise WrongResult(f"{what(found)}; give a number, the best has the lowest")
    return found
