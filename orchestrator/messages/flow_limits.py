"""Limits of queues and contracts: what the rules of the table ``queue.limits`` mean, one limit for each rule.

``when`` names one queue or one contract, and may name a key: a value, or ``*`` for each key by itself. ``to`` is
``100/s``, ``100/m`` or ``100/h`` (so many begin in that time) or ``8 at once`` (so many run at the same time).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...sagas.contract import is_name
from .entity_messages import Rule

__all__ = ["EACH_KEY", "LIMITS_TABLE", "Amount", "FlowLimit", "check_limits", "limits_of"]

LIMITS_TABLE: Final = "queue.limits"
"""No router has a table of this name: its names have no dots."""
EACH_KEY: Final = "*"
_LIMITS_MAX: Final = 200
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600}
_AMOUNT = re.compile(r"([1-9]\d{0,8})(?:/([smh])(?: burst ([1-9]\d{0,8}))?| at once)")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLimit:
    """One limit. ``queue`` or ``contract`` is set. ``seconds``: ``count`` begin in that time; None: run at once.

    ``key``: only commands of that key; ``EACH_KEY``: each key has this limit; None: all together.
    """

    name: str
    queue: str | None
    contract: str | None
    key: str | None
    count: int
    seconds: int | None


def check_limits(rules: Sequence[Rule]) -> str | None:
    """What is wrong with them, and how to fix it; None: they are valid."""
    if len(rules) > _LIMITS_MAX:
        return f"there are {len(rules):,} limits; give at most {_LIMITS_MAX:,}"
    seen: dict[FlowLimit, int] = {}
    for number, rule in enumerate(rules, start=1):
        if isinstance(found := _read(rule), str):
            return f"limit {number}: {found}"
        if (first := seen.setdefault(found, number)) != number:
            return f"limit {number} is the same as limit {first}; remove one of them"
    return None


def limits_of(rules: Sequence[Rule]) -> tuple[FlowLimit, ...]:
    """The limits of a table, each once, without rules that a newer release has written and this one cannot read."""
    return tuple(dict.fromkeys(found for found in map(_read, rules) if isinstance(found, FlowLimit)))


def _read(rule: Rule) -> FlowLimit | str:
    amount = Amount.of(rule.to)
    if amount is None or amount.burst is not None:
        return f"{rule.to!r} is no limit; give such as '100/s', '100/m', '100/h' or '8 at once'"
    if unknown := sorted(rule.when.keys() - {"queue", "contract", "key"}):
        return f"{', '.join(unknown)} is unknown; give queue or contract, and if wanted key"
    if ("queue" in rule.when) is ("contract" in rule.when):
        return "give either a queue or a contract"
    target = "queue" if "queue" in rule.when else "contract"
    name, key = rule.when[target], rule.when.get("key")
    if not isinstance(name, str) or not is_name(name):
        return f"{target} {name!r} is no name of one; give it as declared, without a lane"
    if key is not None and (not isinstance(key, str) or not key):
        return f"key {key!r} is no text; give one key, or '{EACH_KEY}' for each by itself"
    return FlowLimit(
        name=f"{target} {name}{'' if key is None else f', key {key}'}: {rule.to}",
        queue=name if target == "queue" else None,
        contract=name if target == "contract" else None,
        key=key,
        count=amount.count,
        seconds=amount.seconds,
    )
