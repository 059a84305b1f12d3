"""Quotas of the API: what the rules of the table ``api.quotas`` mean, one quota for each rule.

``when`` says ``of`` what, and may say ``by`` whom: the name of a credential, or ``*`` for each by itself; without it
all of the namespace have it together. ``to`` is ``100/s``, ``100/m`` or ``100/h``, also with a burst as
``100/s burst 200``, or ``8 at once``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .amounts import Amount, check_amounts, each_once
from .entity_messages import Rule

__all__ = ["EACH", "QUOTAS_TABLE", "Counted", "Quota", "check_quotas", "quotas_for", "quotas_of"]

QUOTAS_TABLE: Final = "api.quotas"
"""No router has a table of this name: its names have no dots."""
EACH: Final = "*"
_NAME_CHARS_MAX: Final = 256


class Counted(StrEnum):
    """What a quota is of."""

    REQUESTS = "requests"
    STARTS = "starts"
    BYTES = "bytes"
    STREAMS = "streams"
    UNFINISHED = "unfinished"

    @property
    def noun(self) -> str:
        """For people."""
        return {"bytes": "bytes of bodies", "unfinished": "unfinished instances"}.get(self.value, self.value)

    @property
    def is_rate(self) -> bool:
        """True: so many in a time; False: so many at once."""
        return self in (Counted.REQUESTS, Counted.STARTS, Counted.BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """One quota. ``by`` None: of the namespace together. ``seconds`` and ``burst`` are those of a rate, else 0."""

    of: Counted
    by: str | None
    count: int
    seconds: int
    burst: int

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def check_quotas(rules: Sequence[Rule]) -> str | None:
    """What is wrong with them, and how to fix it; None: they are valid."""
    return check_amounts(rules, _read, ("quota", "quotas"))


def quotas_of(rules: Sequence[Rule]) -> tuple[Quota, ...]:
    """The quotas of a table, each once, without rules that a newer release has written and this one cannot read."""
    return each_once(rules, _read)


def quotas_for(quotas: Sequence[Quota], of: Counted, name: str) -> tuple[Quota, ...]:
    """Those that hold for a credential: its own, or else those of each one; and those of the namespace."""
    mine = [each for each in quotas if each.of is of and each.by == name]
    each_one = [each for each in quotas if each.of is of and each.by == EACH]
    return (*(mine or each_one), *(each for each in quotas if each.of is of and each.by is None))


def _read(rule: Rule) -> Quota | str:
    if unknown := sorted(rule.when.keys() - {"of", "by"}):
        return f"{', '.join(unknown)} is unknown; give of, and if wanted by"
    of, by, amount = rule.when.get("of"), rule.when.get("by"), Amount.of(rule.to)
    if not isinstance(of, str) or of not in list(Counted):
        return f"there is nothing {of!r} to count; give of as one of {', '.join(Counted)}"
    counted = Counted(of)
    if by is not None and (not isinstance(by, str) or not 0 < len(by) <= _NAME_CHARS_MAX):
        return f"by is {by!r}; give the name of a key, or '{EACH}' for each by itself"
    if by is not None and counted is Counted.UNFINISHED:
        return "unfinished instances are counted for the namespace only; omit by"
    if amount is None or (amount.seconds is None) is counted.is_rate:
        such = "'100/s', '100/s burst 200', '100/m' or '100/h'" if counted.is_rate else "'8 at once'"
        return f"{rule.to!r} is no quota of {counted}; give such as {such}"
    burst = amount.burst if amount.burst is not None else amount.count
    if amount.seconds is None:
        return Quota(of=counted, by=by, count=amount.count, seconds=0, burst=0)
    return Quota(of=counted, by=by, count=amount.count, seconds=amount.seconds, burst=burst)
