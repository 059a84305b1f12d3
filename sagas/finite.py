"""JSON has no NaN and no infinity: pydantic writes them as null, which an optional field would read as None."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["NOT_FINITE", "is_finite"]

NOT_FINITE: Final = (
    "JSON has no NaN and no infinity; give a finite number or None, or a model with ser_json_inf_nan='strings'"
)


def is_finite(value: object) -> bool:
    """False: NaN or infinity is somewhere in a value as pydantic dumps it to Python."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    return not isinstance(value, list | tuple | set | frozenset) or all(map(is_finite, value))
