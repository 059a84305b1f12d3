"""``Rates``: how many instances have started, hour by hour, and what has become of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import InvalidRequest
from ..messages.document import Status
from ..ports.read_model import SPANS_MAX, Span
from .asking import Asking
from .parts import ClientParts

__all__ = ["HOURS_MAX", "Rates", "StartedInHour"]

HOURS_MAX = SPANS_MAX
_HOUR_MS = 3_600_000


class StartedInHour(NamedTuple):
    """How many instances started from ``since_ms`` on and before ``until_ms``, milliseconds since epoch, by the status
    that they have now; every status is there.
    """

    since_ms: int
    until_ms: int
    statuses: Mapping[Status, int]


class Rates:
    """Numbers of starts over time; ``Client.rates``."""

    def __init__(self, parts: ClientParts, asking: Asking) -> None:
        self._parts, self._asking = parts, asking

    async def hours(self, hours: int = 24, definition: str | None = None) -> Sequence[StartedInHour]:
        """The last whole hours of UTC, the earliest first; the last one is the hour that it is now.

        An instance counts in the hour of its start, whenever its status has changed; one whose retention is over
        counts no more.

        Args:
            hours: how many, 1 to 48.
            definition: only instances of this definition; of one that is not known there are none.

        Raises:
            InvalidRequest: there are too few hours, or too many.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        if not 1 <= hours <= HOURS_MAX:
            raise InvalidRequest(f"hours is {hours}; give 1 to {HOURS_MAX}", field="hours")
        await self._asking.all_followed()
        end = (self._parts.clock.now_ms() // _HOUR_MS + 1) * _HOUR_MS
        spans = [(since, since + _HOUR_MS) for since in range(end - hours * _HOUR_MS, end, _HOUR_MS)]
        found = await self._parts.read_model.started([Span(*span) for span in spans], definition)
        return [StartedInHour(*span, statuses) for span, statuses in zip(spans, found, strict=True)]
