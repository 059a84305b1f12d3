"""Groups in memory: members, their partitions, and the committed positions of workers.

Partition p of a topic belongs to the member of rank ``(p + turn) % members``; a rebalance changes the turn and leaves
some partitions unassigned for a while.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..ports.log import TopicPartition

__all__ = ["Groups", "Member"]


@dataclass(eq=False, slots=True, kw_only=True)
class Member:
    """One member of a group. ``wake`` is called whenever its partitions may have changed."""

    group: str
    topics: tuple[str, ...]
    connection: object
    wake: Callable[[], None]


@dataclass(slots=True)
class _Group:
    members: list[Member] = field(default_factory=list)
    turn: int = 0
    away: frozenset[TopicPartition] = frozenset()


class Groups:
    """All groups of one broker.

    Args:
        partitions: returns the number of partitions of a topic.
    """

    def __init__(self, partitions: Callable[[str], int]) -> None:
        self._partitions = partitions
        self._groups: dict[str, _Group] = {}
        self._epochs: dict[tuple[str, TopicPartition], int] = {}
        self.positions: dict[tuple[str, TopicPartition], int] = {}
        self.on_advance: Callable[[TopicPartition, int], None] = _nobody
        """Called for each committed position."""
        self.generation = 0
        """Increases whenever an assignment may have changed."""

    def enter(self, member: Member) -> None:
        self._groups.setdefault(member.group, _Group()).members.append(member)
        self._regroup(member.group)

    def remove(self, member: Member) -> None:
        """Removes a member; its partitions go to others. Idempotent."""
        group = self._groups.get(member.group)
        if group is not None and member in group.members:
            group.members.remove(member)
            member.wake()
            self._regroup(member.group)

    def expire(self, connection: object) -> None:
        """Removes every member of a connection."""
        for group in list(self._groups.values()):
            for member in [one for one in group.members if one.connection is connection]:
                self.remove(member)

    def has(self, member: Member) -> bool:
        group = self._groups.get(member.group)
        return group is not None and member in group.members

    def assignment(self, member: Member) -> dict[TopicPartition, None]:
        """The partitions of a member, in order; none when it is no longer a member."""
        group = self._groups.get(member.group)
        if group is None or member not in group.members:
            return {}
        found: dict[TopicPartition, None] = {}
        for topic in member.topics:
            sharing = [one for one in group.members if topic in one.topics]
            for partition in range(self._partitions(topic)):
                place = TopicPartition(topic, partition)
                if sharing[(partition + group.turn) % len(sharing)] is member and place not in group.away:
                    found[place] = None
        return found

    def owned(self, name: str, place: TopicPartition) -> bool:
        """True when a member of the group has the partition now."""
        group = self._groups.get(name)
        return group is not None and any(place in self.assignment(member) for member in group.members)

    def move(self, drawn: random.Random, seconds: float) -> None:
        """Rebalances one group; about half of its partitions are unassigned for this long."""
        if not self._groups:
            return
        name = drawn.choice(list(self._groups))
        group = self._groups[name]
        topics = {topic: None for member in group.members for topic in member.topics}
        places = [TopicPartition(topic, p) for topic in topics for p in range(self._partitions(topic))]
        group.turn += drawn.randrange(1, 8)
        group.away = frozenset(place for place in places if drawn.random() < 0.5)
        self._regroup(name)
        asyncio.get_running_loop().call_later(seconds, self._return, name, group.away)

    def heal(self) -> None:
        for name, group in self._groups.items():
            self._return(name, group.away)

    def _return(self, name: str, away: frozenset[TopicPartition]) -> None:
        group = self._groups[name]
        if away and group.away is away:
            group.away = frozenset()
            self._regroup(name)

    def _regroup(self, name: str) -> None:
        self.generation += 1
        for member in list(self._groups[name].members):
            member.wake()

    # Positions of workers

    def claim(self, group: str, place: TopicPartition, held: int | None) -> tuple[int, int | None]:
        """Takes a partition for its member: returns its epoch, and the position to continue from (None: it was already
        held under that epoch).
        """
        epoch = self._epochs.get((group, place), 0)
        if held is not None and held == epoch:
            return epoch, None
        self._epochs[group, place] = epoch + 1
        return epoch + 1, self.positions.get((group, place), 0)

    def advance(self, group: str, positions: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Commits the next offset by partition, each with the epoch it was read under; old epochs are ignored."""
        for place, (epoch, offset) in positions.items():
            if self._epochs.get((group, place)) == epoch:
                self.positions[group, place] = offset
                self.on_advance(place, offset)


def _nobody(place: TopicPartition, offset: int) -> None:
    """Does nothing."""
