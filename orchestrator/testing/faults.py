"""The fault plan: which calls fail and how, drawn from one seed; every injected fault is counted.

- Connections and inboxes ask at every port call; each call gets at most one fault of those possible for its operation.
- A fault does only what the port allows its adapters to do: an acknowledged write is done, and stays done.
- ``heal`` ends all faults: after that every call succeeds. Requests in flight still arrive.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FAULTS_OF", "Fault", "Faults", "Operation"]


class Fault(StrEnum):
    """What can go wrong with a call, or as its consequence."""

    DELAY = "delay"
    """The request, or a read's answer, is delayed. If its caller is cancelled meanwhile, it may still arrive."""
    LOSE = "lose"
    """It fails before anything was done."""
    UNANSWERED = "unanswered"
    """It is done, and reported as failed."""
    LATE = "late"
    """An append is reported as failed and arrives later; a commit is decided, and becomes visible or vanishes later."""
    DOUBLE = "double"
    """An append is written twice."""
    TORN = "torn"
    """An append is written up to some record, and reported as failed."""
    REORDER = "reorder"
    """An append is overtaken by the next one of any process."""
    REDELIVER = "redeliver"
    """A subscription loses its partitions and gets them again, from the committed positions."""
    MOVE = "move"
    """A group rebalances; some partitions are unassigned for a while."""
    CUT = "cut"
    """The connection is cut for a while."""
    PAUSE = "pause"
    """The connection is silent for a while: calls wait, up to their deadline."""
    FULL = "full"
    """The log rejects writes for a while."""
    POISON = "poison"
    """Garbage is appended to a topic that engines or workers read."""
    CRASH_BEFORE = "crash-before"
    """The process ends just before a write."""
    CRASH_AFTER = "crash-after"
    """The process ends just after a write."""


class Operation(StrEnum):
    """A kind of port call; it decides the possible faults."""

    APPEND = "append"
    COMMIT = "commit"
    TAKE = "take"
    JOIN = "join"
    POLL = "poll"
    RECEIVE = "receive"
    """A subscription's poll."""
    ADVANCE = "advance"
    """A subscription's commit."""
    READ = "read"
    FIND = "find"
    """An inbox's look-up."""
    APPLY = "apply"
    """An inbox's write."""


_EVERYWHERE = (Fault.DELAY, Fault.LOSE, Fault.CUT, Fault.PAUSE)
_CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
_AROUND = (Fault.MOVE, Fault.POISON)

FAULTS_OF: Mapping[Operation, tuple[Fault, ...]] = {
    Operation.APPEND: (
        *_EVERYWHERE,
        *(Fault.UNANSWERED, Fault.LATE, Fault.DOUBLE, Fault.TORN, Fault.REORDER, Fault.FULL),
        *_AROUND,
        *_CRASHES,
    ),
    Operation.COMMIT: (*_EVERYWHERE, Fault.UNANSWERED, Fault.LATE, Fault.FULL, *_AROUND, *_CRASHES),
    Operation.TAKE: (*_EVERYWHERE, Fault.UNANSWERED, Fault.MOVE),
    Operation.JOIN: (*_EVERYWHERE, Fault.MOVE),
    Operation.POLL: (*_EVERYWHERE, *_AROUND),
    Operation.RECEIVE: (*_EVERYWHERE, Fault.REDELIVER, *_AROUND),
    Operation.ADVANCE: (*_EVERYWHERE, Fault.UNANSWERED, Fault.MOVE, *_CRASHES),
    Operation.READ: _EVERYWHERE,
    Operation.FIND: (Fault.DELAY, Fault.LOSE),
    Operation.APPLY: (Fault.DELAY, Fault.LOSE, Fault.UNANSWERED, *_CRASHES),
}
"""The possible faults of each operation."""

LONGEST_SECONDS: Mapping[Fault, float] = {
    Fault.DELAY: 0.2,
    Fault.LATE: 5.0,
    Fault.REORDER: 0.5,
    Fault.MOVE: 3.0,
    Fault.CUT: 12.0,
    Fault.PAUSE: 12.0,
    Fault.FULL: 8.0,
}
"""The longest duration of faults that last; each duration is drawn between zero and this."""


@dataclass(slots=True, eq=False)
class _Wish:
    """A fault that is requested for one future call."""

    fault: Fault
    at: Operation | None
    skip: int


class Faults:
    """One plan for a whole simulated world.

    Args:
        seed: of all draws.
        rates: for each fault the share of calls that get it, 0 to 1; faults left out do not occur.
        longest_seconds: replaces entries of ``LONGEST_SECONDS``.
    """

    def __init__(
        self,
        seed: int | str = 0,
        rates: Mapping[Fault, float] | None = None,
        *,
        longest_seconds: Mapping[Fault, float] | None = None,
    ) -> None:
        self.random = random.Random(f"{seed}/faults")
        self.counts: Counter[Fault] = Counter()
        """How often each fault was injected."""
        self._rates = dict(rates or {})
        self._longest = {**LONGEST_SECONDS, **(longest_seconds or {})}
        self._next: list[_Wish] = []
        self._healers: dict[object, Callable[[], None]] = {}
        self._tables: dict[Operation, tuple[tuple[float, Fault], ...]] = {}
        self._tabulate()

    def set_rate(self, fault: Fault, rate: float) -> None:
        """Sets the share of calls that get the fault, 0 to 1."""
        self._rates[fault] = rate
        self._tabulate()

    def inject(self, fault: Fault, at: Operation | None = None, *, skip: int = 0) -> None:
        """Injects the fault into the next matching call, independent of the rates.

        Args:
            fault: the fault.
            at: only calls of this kind; None: any kind for which the fault is possible.
            skip: the number of matching calls to skip first. Runs with 0, 1, 2 … test each call in turn; in the last
                run ``counts`` shows that no call was left.

        Raises:
            ValueError: the fault is not possible for calls of that kind.
        """
        if at is not None and fault not in FAULTS_OF[at]:
            raise ValueError(f"{at} cannot have the fault {fault}; possible are {', '.join(FAULTS_OF[at])}")
        self._next.append(_Wish(fault, at, skip))

    def heal(self) -> None:
        """Switches all faults off and ends lasting ones: cuts, pauses, a full disk, moves, late commits."""
        self._rates.clear()
        self._next.clear()
        self._tabulate()
        for healer in list(self._healers.values()):
            healer()

    # For the callers

    def draw(self, operation: Operation) -> Fault | None:
        """The fault of this call, if any; it is counted, and the caller applies it."""
        for wish in self._next:
            if wish.at is operation or (wish.at is None and wish.fault in FAULTS_OF[operation]):
                if wish.skip:
                    wish.skip -= 1
                    continue
                self._next.remove(wish)
                return self._counted(wish.fault)
        table = self._tables[operation]
        if table:
            drawn = self.random.random()
            for bound, fault in table:
                if drawn < bound:
                    return self._counted(fault)
        return None

    def seconds(self, fault: Fault) -> float:
        """Draws how long the fault lasts."""
        return self.random.uniform(0.0, self._longest[fault])

    def coin(self) -> bool:
        """Draws one of two allowed outcomes."""
        return self.random.random() < 0.5

    def not_done(self, fault: Fault) -> None:
        """The drawn fault was not applied: it is not counted."""
        self.counts[fault] -= 1

    def at_heal(self, who: object, healer: Callable[[], None] | None) -> None:
        """Calls ``healer`` at each ``heal``; None: stops that."""
        if healer is None:
            self._healers.pop(who, None)
        else:
            self._healers[who] = healer

    def _counted(self, fault: Fault) -> Fault:
        self.counts[fault] += 1
        return fault

    def _tabulate(self) -> None:
        for operation, known in FAULTS_OF.items():
            bound, table = 0.0, []
            for fault in known:
                if self._rates.get(fault, 0.0) > 0.0:
                    bound += self._rates[fault]
                    table.append((bound, fault))
            self._tables[operation] = tuple(table)
