"""The backlog: commands that wait for a handler, and which of them is next.

- Between the lanes of a queue: in each round high commands get 8 turns, normal ones 3, low ones 1; what a lane does not
  use goes to the others. None starves, and an urgent command waits for no more than one round.
- Within a lane: its flows take turns. A flow has the commands of one contract, and of one value that the handler is
  fair by, in order of arrival.
- A flow whose next command meets a closed gate waits beside that gate, and the others go on. The gate gives back as
  many flows as it lets in, those first that have waited longest.

Its size is bounded by what the worker has admitted. Source of the rule: Shreedhar and Varghese, "Efficient Fair Queuing
Using Deficit Round Robin"; every command costs one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
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
_LOOK_AGAIN_SECONDS: Final = 10.0
"""A gate that opens later is asked again after this time: its share may have grown."""


class _Flow(Generic[W]):
    """Items that begin in order, with their numbers. ``returned``: from where, until it is tried again."""

    def __init__(self) -> None:
        self.items: deque[tuple[int, W]] = deque()
        self.returned: _Held[W] | None = None


class _Held(Generic[W]):
    """The flows that wait beside a gate. ``returned``: how many it gave back that are not tried again yet."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.returned, self.is_timed = gate, 0, False
        self.flows: deque[_Flow[W]] = deque()


class _Lane(Generic[W]):
    """The flows of a lane that may begin, in turn."""

    def __init__(self, weight: int) -> None:
        self.weight = self.turns = weight
        self.flows: deque[_Flow[W]] = deque()


class Backlog(Generic[W]):
    """Gives the next item to be handled.

    Args:
        gates: of an item, which it must pass all.
        now: the monotonic time, in seconds.
    """

    def __init__(self, gates: Callable[[W], Sequence[Gate]], now: Callable[[], float]) -> None:
        self._gates, self._now = gates, now
        self._lanes = {each: _Lane[W](WEIGHTS[each]) for each in PRIORITIES}
        self._flows: dict[Hashable, _Flow[W]] = {}
        self._held: dict[int, _Held[W]] = {}
        self._timed: list[tuple[float, int, _Held[W]]] = []
        """A heap: when gates may open by themselves."""
        self._inside: dict[int, Sequence[Gate]] = {}
        self._count, self._numbers = 0, count()
        self._is_open = False

    def __len__(self) -> int:
        return self._count

    def put(self, item: W) -> None:
        key, self._count = (item.priority, item.flow), self._count + 1
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow()
            self._lanes[item.priority].flows.append(flow)
        flow.items.append((next(self._numbers), item))

    def take(self) -> W | None:
        """The next item; None: none may begin now. ``finished`` follows for each."""
        self._look()
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
        item = flow.items[0][1]
        gates = () if self._is_open else self._gates(item)
        closed = next((gate for gate in gates if gate.room(now) < 1), None)
        if closed is not None:
            self._hold(flow, closed)
        else:
            for gate in gates:
                gate.enter(now)
            flow.items.popleft()
            self._inside[id(item)] = gates
            self._count, lane.turns = self._count - 1, lane.turns - 1
            if flow.items:
                lane.flows.append(flow)
            else:
                del self._flows[item.priority, item.flow]
        held, flow.returned = flow.returned, None
        if held is not None:
            held.returned -= 1
            self._give_back(held)
        return item if closed is None else None

    def finished(self, item: W, failed: bool | None) -> None:
        """An item that was taken is done. ``failed`` None: it was not carried out."""
        for gate in self._inside.pop(id(item), ()):
            gate.leave(failed, self._now())
            if (held := self._held.get(id(gate))) is not None:
                self._give_back(held)

    def stop(self) -> None:
        """From now on no gate holds anything back, since everything is being dropped."""
        self._is_open = True
        for held in list(self._held.values()):
            self._give_back(held)

    def clear(self) -> list[W]:
        """Takes everything out that waits, in the order in which it came; what was taken before is not affected."""
        waiting = sorted((each for flow in self._flows.values() for each in flow.items), key=lambda each: each[0])
        for lane in self._lanes.values():
            lane.flows.clear()
        self._flows.clear()
        self._held.clear()
        self._timed.clear()
        self._count = 0
        return [item for _, item in waiting]

    def opens_at(self) -> float | None:
        """When to look again for a gate that opens by itself; None: there is none."""
        return self._timed[0][0] if self._timed else None

    def holds_at(self, gate: Gate) -> bool:
        """Whether something waits beside this gate."""
        return id(gate) in self._held

    def held(self) -> list[tuple[Gate, W, int]]:
        """What waits beside closed gates: for each flow its gate, its first item, and how many there are."""
        return [(held.gate, flow.items[0][1], len(flow.items)) for held in self._held.values() for flow in held.flows]

    def _hold(self, flow: _Flow[W], gate: Gate) -> None:
        held = self._held.get(id(gate))
        if held is None:
            held = self._held[id(gate)] = _Held(gate)
        if flow.returned is held:
            held.flows.appendleft(flow)  # another one was faster: it keeps its place
        else:
            held.flows.append(flow)
        self._set_time(held)

    def _give_back(self, held: _Held[W]) -> None:
        """As many flows as the gate lets in are tried again."""
        room = len(held.flows) if self._is_open else held.gate.room(self._now()) - held.returned
        for _ in range(min(room, len(held.flows))):
            flow = held.flows.popleft()
            flow.returned, held.returned = held, held.returned + 1
            self._lanes[flow.items[0][1].priority].flows.append(flow)
        if held.flows:
            self._set_time(held)
        elif not held.returned and self._held.get(id(held.gate)) is held:  # a gate may be held again meanwhile
            del self._held[id(held.gate)]

    def _set_time(self, held: _Held[W]) -> None:
        """Unless one that it gave back is tried soon, after which it is asked anyway."""
        now = self._now()
        if held.is_timed or held.returned or (at := held.gate.opens_at(now)) is None:
            return
        held.is_timed = True
        heappush(self._timed, (min(at, now + _LOOK_AGAIN_SECONDS), next(self._numbers), held))

    def _look(self) -> None:
        """Asks the gates whose time has come."""
        now, due = self._now(), list[_Held[W]]()
        while self._timed and self._timed[0][0] <= now:
            due.append(heappop(self._timed)[2])
        for held in due:
            held.is_timed = False
            self._give_back(held)
