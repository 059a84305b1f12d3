"""Tables whose rules each say an amount, such as limits of queues and quotas: ``100/s`` or ``8 at once``."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from .entity_messages import Rule

__all__ = ["Amount", "check_amounts", "each_once"]

_RULES_MAX: Final = 200
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600}
_AMOUNT = re.compile(r"([1-9]\d{0,8})(?:/([smh])(?: burst ([1-9]\d{0,8}))?| at once)")

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Amount:
    """``count`` in so many ``seconds``, of which ``burst`` at the same moment (None: not said); or at once."""

    count: int
    seconds: int | None
    burst: int | None

    @classmethod
    def of(cls, text: str) -> Amount | None:
        """What such as ``100/s``, ``100/s burst 200`` or ``8 at once`` means; None: nothing."""
        match = _AMOUNT.fullmatch(text)
        if match is None:
            return None
        return cls(int(match[1]), _SECONDS[match[2]] if match[2] else None, int(match[3]) if match[3] else None)


def check_amounts(rules: Sequence[Rule], read: Callable[[Rule], object], nouns: tuple[str, str]) -> str | None:
    """What is wrong with the rules of a table, and how to fix it; None: they are valid.

    Args:
        rules: all of them.
        read: what one means; a text: what is wrong with it.
        nouns: one of them, and several, for people.
    """
    if len(rules) > _RULES_MAX:
        return f"there are {len(rules):,} {nouns[1]}; give at most {_RULES_MAX:,}"
    seen: dict[object, int] = {}
    for number, rule in enumerate(rules, start=1):
        if isinstance(found := read(rule), str):
            return f"{nouns[0]} {number}: {found}"
        if (first := seen.setdefault(found, number)) != number:
            return f"{nouns[0]} {number} is the same as {nouns[0]} {first}; remove one of them"
    return None


def each_once(rules: Sequence[Rule], read: Callable[[Rule], T | str]) -> tuple[T, ...]:
    """What the rules mean, each once, without those that a newer release has written and this one cannot read."""
    return tuple(dict.fromkeys(found for found in map(read, rules) if not isinstance(found, str)))
