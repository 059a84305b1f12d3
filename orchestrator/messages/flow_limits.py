"""Limits of queues and contracts: what the rules of the table ``queue.limits`` mean, one limit for each rule.

``when`` names one queue or one contract, and may name a key: a value, or ``*`` for each key by itself. ``to`` is
``100/s``, ``100/m`` or ``100/h`` (so many begin in that time) or ``8 at once`` (so many run at the same time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...sagas.contract import is_name
from .amounts import Amount, check_amounts, each_once
from .entity_messages import Rule

__all__ = ["EACH_KEY", "LIMITS_TABLE", "FlowLimit", "check_limits", "limits_of"]

LIMITS_TABLE: Final = "queue.limits"
"""No router has a table of this name: its names have no dots."""
EACH_KEY: Final = "*"


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
    return check_amounts(rules, _read, ("limit", "limits"))


def limits_of(rules: Sequence[Rule]) -> tuple[FlowLimit, ...]:
    """The limits of a table, each once, without rules that a newer release has written and this one cannot read."""
    return each_once(rules, _read)


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
