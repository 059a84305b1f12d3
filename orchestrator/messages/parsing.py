"""Parses JSON from outside without losing digits.

JSON numbers have no limits, but a float has 17 digits and an exponent up to 308. A number that a float cannot hold is
returned as a string, which a ``Decimal`` field accepts exactly, as it does for numbers that we write ourselves.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Final

from pydantic_core import from_json

__all__ = ["parse_json"]

_MAY_LOSE: Final = re.compile(rb"[0-9.]{17}|[eE][+-]?[0-9]{3}")
"""Finds numbers that a float may not hold. It also finds strings, which only costs time."""


def parse_json(raw: bytes) -> object:
    """The value of a JSON text by RFC 8259.

    Raises:
        ValueError: it is not JSON, holds NaN, half a surrogate pair or an exponent that no decimal holds, or is nested
            too deep.
    """
    value: object = from_json(raw, allow_inf_nan=False)
    return json.loads(raw, parse_float=_exact) if _MAY_LOSE.search(raw) else value


def _exact(text: str) -> float | str:
    number = float(text)
    try:
        return number if Decimal(text) == Decimal(repr(number)) else text
    except InvalidOperation as error:
        raise ValueError(f"the number {text[:40]} has an exponent that no decimal holds") from error
