"""The backlog: commands that wait for a handler, and which of them is next.

- Between the lanes of a queue: in each round high commands get 8 turns, normal ones 3, low ones 1; what a lane does not
  use goes to the others. None starves, and an urgent command waits for no more than one round.
- Within a lane: its flows take turns. A flow has the commands of one contract, and of one value that the handler is
  fair by, in order of arrival.
- A flow whose next command meets a closed gate waits beside that gate, and the others go on.

Its size is bounded by what the worker has admitted. Source of the rule: Shreedhar and Varghese, "Efficient Fair Queuing
Using Deficit Round Robin"; every command costs one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from ..sagas.contract import PRIORITIES, Priority
from .gates import Gate

__all__ = ["WEIGHTS", "Backlog", "Waiting"]

WEIGHTS: Final[Mapping[Priority, int]] = {"high": 8, "normal": 3, "low": 1}
"""The turns of each lane in a round."""


class Waiting(Protocol):
    """What a backlog holds. ``flow``: items of one flow begin in order."""

    @property
    def priority(self) -> Priority: ...

    @property
    def flow(self) -> Hashable: ...


W = TypeVar("W", bound=Waiting)


class _Lane(Generic[W]):
    """The flows of a lane that may begin, in turn."""

    def __init__(self, weight: int) -> None:
        self.weight = self.turns = weight
        self.flows: deque[deque[W]] = deque()


class Backlog(Generic[W]):
    """Gives the next item to be handled.

    Args:
        gates: of an item, which it must pass all.
        now: the monotonic time, in seconds.
    """

    def __init__(self, gates: Callable[[W], Sequence[Gate]], now: Callable[[], float]) -> None:
        self._gates, self._now = gates, now
        self._lanes = {each: _Lane[W](WEIGHTS[each]) for each in PRIORITIES}
        self._flows: dict[Hashable, deque[W]] = {}
        self._held: dict[int, tuple[Gate, list[deque[W]]]] = {}
        self._inside: dict[int, Sequence[Gate]] = {}
        self._count = 0
        self.open = False
        """True: no gate holds anything back, since everything is being dropped."""

    def __len__(self) -> int:
        return self._count

    def put(self, item: W) -> None:
        key, self._count = (item.priority, item.flow), self._count + 1
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = deque()
            self._lanes[item.priority].flows.append(flow)
        flow.append(item)

    def take(self) -> W | None:
        """The next item; None: none may begin now. ``finished`` follows for each."""
        while True:
            waiting = [lane for lane in self._lanes.values() if lane.flows]
            if not waiting:
                return None
            if not any(lane.turns for lane in waiting):
                for lane in self._lanes.values():
                    lane.turns = lane.weight
            lane = next(lane for lane in waiting if lane.turns)
            if (item := self._next(lane)) is not None:
                return item

    def _next(self, lane: _Lane[W]) -> W | None:
        """The next item of a flow whose turn it is; None: it meets a closed gate."""
        flow, now = lane.flows.popleft(), self._now()
        item = flow[0]
        gates = () if self.open else self._gates(item)
        closed = next((gate for gate in gates if not gate.may(now)), None)
        if closed is not None:
            self._held.setdefault(id(closed), (closed, []))[1].append(flow)
            return None
        for gate in gates:
            gate.enter(now)
        flow.popleft()
        self._inside[id(item)] = gates
        self._count, lane.turns = self._count - 1, lane.turns - 1
        if flow:
            lane.flows.append(flow)
        else:
            del self._flows[item.priority, item.flow]
        return item

    def finished(self, item: W, failed: bool | None) -> None:
        """An item that was taken is done. ``failed`` None: it was not carried out."""
        for gate in self._inside.pop(id(item), ()):
            gate.leave(failed, self._now())
            self.resume(gate)

    def resume(self, *gates: Gate) -> None:
        """What waits beside these gates is tried again; without one: beside all."""
        for each in [id(gate) for gate in gates] if gates else list(self._held):
            _, flows = self._held.pop(each, (None, ()))
            for flow in flows:
                self._lanes[flow[0].priority].flows.append(flow)

    def opens_at(self) -> float | None:
        """When the first of the closed gates may open by itself; None: none does."""
        now = self._now()
        times = [at for gate, _ in self._held.values() if (at := gate.opens_at(now)) is not None]
        return min(times, default=None)

    def held(self) -> list[tuple[Gate, W, int]]:
        """What waits beside closed gates: for each flow its gate, its first item, and how many there are."""
        return [(gate, flow[0], len(flow)) for gate, flows in self._held.values() for flow in flows]
