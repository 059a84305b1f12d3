"""How fast the receivers of one kind are sent to."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from ...orchestrator.errors import SagalineError
from ...orchestrator.ports.clock import Clock

__all__ = ["NotSent", "Pace"]

_WAIT_SECONDS_MAX: Final = 6 * 3600.0
_SLOW_SECONDS: Final = 1.0
_SLOW_AT_ONCE: Final = 8
"""Requests to a receiver whose last one took longer, or whose oldest one does; the slots are for all receivers."""


class NotSent(SagalineError):
    """Nothing was sent to the receiver now; it gets the event later."""


class Pace:
    """Receivers that hang may not take the slots of all others, and one that asked for it is left alone.

    Args:
        clock: for durations.
        slow_max: requests to all slow receivers of the kind at once.
    """

    def __init__(self, clock: Clock, slow_max: int) -> None:
        self._clock, self._slow_max = clock, slow_max
        self._slow = set[str]()
        self._at_work: dict[str, dict[object, float]] = {}
        """By receiver, the oldest first: when each request under way was begun."""
        self._asked_to_wait: dict[object, float] = {}
        """By receiver as it was registered: until when it takes nothing, as it said itself."""

    def keep(self, receivers: Collection[object], names: Collection[str]) -> None:
        """Forgets what is known of all others, also of one that was changed: its new address has asked for nothing."""
        self._asked_to_wait = {each: until for each, until in self._asked_to_wait.items() if each in receivers}
        self._slow.intersection_update(names)

    def wait(self, receiver: object, seconds: float) -> None:
        """The receiver wants to be left alone for so long; what it said before holds if that is longer."""
        until = self._clock.monotonic() + min(seconds, _WAIT_SECONDS_MAX)
        self._asked_to_wait[receiver] = max(until, self._asked_to_wait.get(receiver, 0.0))

    @contextmanager
    def slot(self, receiver: object, name: str) -> Iterator[None]:
        """Holds a slot for one request.

        Args:
            receiver: as it was registered.
            name: of what is slow with it.

        Raises:
            NotSent: it may not be sent now.
        """
        began, ticket = self._clock.monotonic(), object()
        if began < self._asked_to_wait.get(receiver, 0.0):
            raise NotSent(f"{name!r} has asked to be left alone for a while")
        slow = {each: len(held) for each, held in self._at_work.items() if self._is_slow(each, began)}
        own, total = slow.get(name, 0), sum(slow.values())
        if self._is_slow(name, began) and (own >= _SLOW_AT_ONCE or total >= self._slow_max):
            raise NotSent(f"{name!r} is slow: {own} requests wait for it, {total} for all receivers that are")
        self._at_work.setdefault(name, {})[ticket] = began
        try:
            yield
        finally:
            del self._at_work[name][ticket]
            if not self._at_work[name]:
                del self._at_work[name]
            is_slow = self._clock.monotonic() - began > _SLOW_SECONDS
            (self._slow.add if is_slow else self._slow.discard)(name)

    def _is_slow(self, name: str, now: float) -> bool:
        return name in self._slow or now - next(iter(self._at_work.get(name, {}).values()), now) > _SLOW_SECONDS
