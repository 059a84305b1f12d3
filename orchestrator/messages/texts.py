"""Makes texts from outside storable where they enter: exceptions, reasons, details, foreign names.

Every log, file, terminal and database accepts the result. Texts are for people; no code decides by them.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["HIDDEN", "NOTHING_HIDDEN", "Hidden", "end_of", "hiding", "said", "storable", "trace_of"]

HIDDEN = "**********"
"""In place of what a text must not say."""
_INPUT = re.compile(r", input_value=.*?, input_type=")
"""What pydantic's errors say of a value: it may be anybody's, and the rest says which field and why."""
_URL_SAFE = "!$&'()*+,;=:@/?"
"""What may stand in paths and queries of URLs as it is, by RFC 3986."""
_CUT = " … "
_SAID_CHARS = 4_000
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Hidden(frozenset[str]):
    """Texts that no other may say. How they may be written is worked out once, and only if something fails."""

    @cached_property
    def forms(self) -> Sequence[str]:
        """As ``repr``, JSON and URLs write them, the longest first."""
        return sorted({form for each in self for form in _forms(each)}, key=len, reverse=True)


NOTHING_HIDDEN: Final = Hidden()


def storable(text: str, chars_max: int | None = None) -> str:
    """The text without halves of surrogate pairs and control characters, cut in the middle to ``chars_max``.

    The beginning (the type and message of an exception) and the end (its place) remain.
    """
    if chars_max is not None and len(text) > chars_max:
        head = (chars_max - len(_CUT) + 1) // 2
        tail = chars_max - len(_CUT) - head
        text = f"{text[:head]}{_CUT}{text[len(text) - tail :]}" if tail > 0 else text[:chars_max]
    return _clean(text)


def end_of(text: str, chars_max: int) -> str:
    """The last ``chars_max`` characters, storable: the most useful part of a traceback."""
    return _clean(text[len(text) - chars_max :] if len(text) > chars_max else text)


def hiding(text: str, hidden: Hidden) -> str:
    """The text without these others, which it must not say, and without the values in errors of pydantic.

    Nor does it say them as ``repr``, JSON and URLs write them. It does say them changed: in capitals, in base64.
    """
    for each in hidden.forms:
        text = text.replace(each, HIDDEN)
    return _INPUT.sub(", input_type=", text)


def _forms(text: str) -> set[str]:
    """The text as it may stand in another one, escaped up to two times, as ``KeyError`` does; most have one form."""
    urls = (quote(text, safe=safe, errors="replace") for safe in ("", "/", _URL_SAFE))
    once = {text, *_escaped(text), *urls, quote_plus(text, errors="replace")}
    return once.union(*map(_escaped, once))


def _escaped(text: str) -> set[str]:
    """Where a text has both quotes, ``repr`` escapes the single one."""
    as_json = (json.dumps(text, ensure_ascii=plain)[1:-1] for plain in (True, False))
    return {repr(text)[1:-1], repr(text + '"')[1:-2], *as_json}


def said(error: BaseException, hidden: Hidden = NOTHING_HIDDEN) -> str:
    """An exception's type and message, storable, even if its ``__str__`` raises. ``hidden``: see ``hiding``."""
    try:
        text = "".join(traceback.format_exception_only(error)).strip()
    except Exception:
        text = f"{type(error).__name__} (its message cannot be read)"
    return storable(hiding(text, hidden), _SAID_CHARS)


def trace_of(
    error: BaseException, chars_max: int, *, frames: int | None = None, hidden: Hidden = NOTHING_HIDDEN
) -> str:
    """The end of an exception's traceback, storable; empty when it cannot be read. ``frames``: only the last ones.

    Files are named as imported, not by their absolute path. ``hidden``: see ``hiding``.
    """
    try:
        limit = None if frames is None else -frames
        found = traceback.TracebackException.from_exception(error, limit=limit)
        for each in _and_its_causes(found):
            for frame in each.stack:
                frame.filename = _imported_as(frame.filename)
                frame.colno = None  # marks under the line, for which each line is compiled, cost three times the rest
        return end_of(hiding("".join(found.format()), hidden), chars_max)
    except Exception:
        return ""


def _and_its_causes(found: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """The exception with all its causes and contexts."""
    left = [found]
    while left:
        each = left.pop()
        yield each
        left += [cause for cause in (each.__cause__, each.__context__, *(each.exceptions or ())) if cause is not None]


@lru_cache(maxsize=1_000)
def _imported_as(path: str) -> str:
    """``shop/orders.py`` for ``/srv/app/shop/orders.py``: without the folder of ``sys.path``, or the last two names."""
    for folder in sorted((each for each in sys.path if os.path.isabs(each)), key=len, reverse=True):
        if path.startswith(rest := os.path.join(folder, "")):
            return path[len(rest) :]
    return os.sep.join(path.split(os.sep)[-2:]) if os.path.isabs(path) else path


def _clean(text: str) -> str:
    return text if text.isascii() and text.isprintable() else _UNSTORABLE.sub(_REPLACEMENT, text)
