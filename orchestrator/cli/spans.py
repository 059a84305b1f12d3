"""Spans of time on the command line: a number and a unit."""

from __future__ import annotations

import re
from typing import Final

from .errors import Mistake

__all__ = ["SPAN", "seconds"]

SPAN: Final = "90s|15m|2h|1d"
"""The form, for help texts."""
_SPAN: Final = re.compile(r"(\d{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(span: str, option: str) -> int:
    """The seconds of a span such as ``15m``.

    Raises:
        Mistake: it has another form.
    """
    found = _SPAN.fullmatch(span)
    if found is None:
        raise Mistake(f"{option} {span!r} is not a span; give a number and s, m, h or d, such as 15m")
    return int(found[1]) * _SECONDS[found[2]]
