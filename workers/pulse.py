"""The heartbeats of one command: the first leaves at once, the next ones no more often than the engine needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, from_json, to_json

from ..orchestrator.codec.inputs import progress_wrong
from ..orchestrator.messages.inputs import JsonObject

__all__ = ["Pulse", "as_progress"]

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
        self._next: asyncio.TimerHandle | None = None

    def beat(self, progress: JsonObject | None) -> None:
        if progress is not None:
            self._progress = progress
        self._unsent = True
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


def as_progress(progress: Mapping[str, JsonValue] | None) -> JsonObject | None:
    """A copy of it as JSON.

    Raises:
        ValueError: it is no JSON object, or too large.
    """
    if progress is None:
        return None
    if not isinstance(progress, Mapping):
        raise ValueError(f"the progress is {type(progress).__name__}; give a dict that JSON can hold")
    try:
        found: JsonObject = from_json(to_json(progress))
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise ValueError(f"the progress cannot be written as JSON: {error}") from error
    if (wrong := progress_wrong(found)) is not None:
        raise ValueError(f"the progress {wrong}")
    return found
