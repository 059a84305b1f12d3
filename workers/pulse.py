"""The heartbeats of one command: the first leaves at once, the next ones no more often than the engine needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..orchestrator.messages.inputs import JsonObject

__all__ = ["Pulse"]

_LONGEST_SECONDS = 10.0
_PER_SILENCE = 3
"""So many heartbeats in the time after which a silent attempt is given up."""


class Pulse:
    """Made and stopped in the event loop; ``beat`` may be called from any thread.

    Args:
        attempt_timeout_ms: an attempt that is silent for so long is given up; None: none is.
        send: takes a heartbeat that is due, with the last progress (None: none was given).
        prolong: called in the event loop for every beat.
    """

    def __init__(
        self,
        attempt_timeout_ms: int | None,
        send: Callable[[JsonObject | None], None],
        prolong: Callable[[], None],
    ) -> None:
        silence = _LONGEST_SECONDS * _PER_SILENCE if attempt_timeout_ms is None else attempt_timeout_ms / 1000
        self._interval = min(_LONGEST_SECONDS, silence / _PER_SILENCE)
        self._send, self._prolong = send, prolong
        self._loop = asyncio.get_running_loop()
        self._progress: JsonObject | None = None
        self._unsent = self._stopped = False
        self.has_beaten = False
        self._next: asyncio.TimerHandle | None = None

    def beat(self, progress: JsonObject | None) -> None:
        if progress is not None:
            self._progress = progress
        self._unsent = self.has_beaten = True
        self._loop.call_soon_threadsafe(self._heard)

    def stop(self) -> JsonObject | None:
        """Sends nothing more. Gives the progress that has not left yet."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
        return self._progress if self._unsent else None

    def _heard(self) -> None:
        if self._stopped:
            return
        self._prolong()
        if self._next is None:
            self._leave()

    def _leave(self) -> None:
        self._next = None
        if not self._unsent:
            return
        self._unsent = False
        self._next = self._loop.call_later(self._interval, self._leave)
        self._send(self._progress)
