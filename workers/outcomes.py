"""What the messages of one partition have caused, until the next commit: positions, documents, records to append."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..orchestrator.ports.log import Batch, Outgoing, Position, TopicPartition
from .ahead import Ahead
from .arrived import Effect
from .offsets import Mark, Offsets

__all__ = ["REDELIVERED", "Outcomes"]

REDELIVERED: Final = b"~redelivered"
"""The document with the position of the topic of redeliveries."""
_AHEAD: Final = b"~ahead/s"
_REDELIVERED_AHEAD: Final = b"~ahead/r"
_COMMIT_BYTES_MAX: Final = 8 << 20


class Outcomes:
    """Collects them; each ``batch`` takes out what one commit may contain.

    Args:
        redeliveries: the second topic that is read; its position is in a document.
        position: the committed one of the first topic.
        keeps_ahead: whether records that are finished ahead of an unfinished one are remembered.
    """

    def __init__(self, redeliveries: TopicPartition, position: int, *, keeps_ahead: bool) -> None:
        self._redeliveries, self._position, self._keeps_ahead = redeliveries, position, keeps_ahead
        self._ahead, self._redelivered_ahead = Ahead(_AHEAD), Ahead(_REDELIVERED_AHEAD)
        self._effects: deque[Effect] = deque()
        self.aheads = {each.name: each for each in (self._ahead, self._redelivered_ahead)}
        """What was finished ahead, by the name of its document."""
        self.offsets = Offsets()
        self.redelivered_offset = 0
        self.urgent = False
        """Something does not wait to be collected with others."""

    @property
    def waits(self) -> bool:
        """There is something to commit."""
        return self.offsets.moved or bool(self._effects) or self._grown

    def put(self, effect: Effect) -> None:
        self._effects.append(effect)
        self.urgent = self.urgent or effect.is_urgent

    def finish(self, mark: Mark) -> None:
        """The record has caused nothing but that it is finished."""
        if self._keeps_ahead:
            self._ahead_of(mark).finish(mark.offset)
        mark.finish()

    def is_finished(self, mark: Mark) -> bool:
        """It was finished ahead before this owner took the partition."""
        return mark.offset in self._ahead_of(mark)

    def batch(self, now_ms: int) -> tuple[Batch | None, list[Effect]]:
        """The contents of the next commit, and whose they are; None: there is nothing to commit."""
        effects: list[Effect] = []
        state: dict[bytes, bytes | None] = {}
        appends: list[Outgoing] = []
        size = 0
        while self._effects and size < _COMMIT_BYTES_MAX:
            effect = self._effects.popleft()
            effects.append(effect)
            size += effect.size
            state.update(effect.state)
            state.update(effect.patient)
            appends += effect.appends
            if effect.mark is not None:
                self.finish(effect.mark)
        self.urgent = any(effect.is_urgent for effect in self._effects)
        moved = self.offsets.take_positions()
        if not effects and not moved and not self._grown:
            return None, effects
        for place, offset in moved.items():
            if place == self._redeliveries:
                self.redelivered_offset = offset
                state[REDELIVERED] = str(offset).encode()
            else:
                self._position = max(self._position, offset)
        state.update(self._ahead.changes(self._position))
        state.update(self._redelivered_ahead.changes(self.redelivered_offset))
        return Batch(state, appends, Position(self._position, now_ms)), effects

    def closing(self, now_ms: int) -> Position:
        """The position of a last commit."""
        return Position(self._position, now_ms)

    @property
    def _grown(self) -> bool:
        return self._ahead.grown or self._redelivered_ahead.grown

    def _ahead_of(self, mark: Mark) -> Ahead:
        return self._redelivered_ahead if mark.place == self._redeliveries else self._ahead
