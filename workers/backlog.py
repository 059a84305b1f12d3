"""The backlog: commands that wait for a handler, and which of them is next.

- Between the lanes of a queue: in each round high commands get 8 turns, normal ones 3, low ones 1; what a lane does not
  use goes to the others. None starves, and an urgent command waits for no more than one round.
- Within a lane: one after the other, in order of arrival.

Its size is bounded by what the worker has admitted. Source of the rule: Shreedhar and Varghese, "Efficient Fair Queuing
Using Deficit Round Robin"; every command costs one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from ..sagas.contract import PRIORITIES, Priority

__all__ = ["WEIGHTS", "Backlog"]

WEIGHTS: Final[Mapping[Priority, int]] = {"high": 8, "normal": 3, "low": 1}
"""The turns of each lane in a round."""

T = TypeVar("T")


class _Lane(Generic[T]):
    def __init__(self, weight: int) -> None:
        self.weight = self.turns = weight
        self.items: deque[T] = deque()


class Backlog(Generic[T]):
    """Gives the next item to be handled.

    Args:
        priority: of an item.
    """

    def __init__(self, priority: Callable[[T], Priority]) -> None:
        self._priority = priority
        self._lanes = {each: _Lane[T](WEIGHTS[each]) for each in PRIORITIES}

    def put(self, item: T) -> None:
        self._lanes[self._priority(item)].items.append(item)

    def take(self) -> T | None:
        """The next item; None: there is none."""
        waiting = [lane for lane in self._lanes.values() if lane.items]
        if not waiting:
            return None
        if not any(lane.turns for lane in waiting):
            for lane in self._lanes.values():
                lane.turns = lane.weight
        lane = next(lane for lane in waiting if lane.turns)
        lane.turns -= 1
        return lane.items.popleft()

    def __len__(self) -> int:
        return sum(len(lane.items) for lane in self._lanes.values())
