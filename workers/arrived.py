"""One record of a subscription on its way, what it has caused, and how the partitions of a group are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..orchestrator.messages.texts import NOTHING_HIDDEN
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Log, Outgoing, Record
from .dedup import Identity
from .letters import Redelivered
from .message import Place
from .offsets import Mark
from .subscription import Guarantee, Subscription

if TYPE_CHECKING:
    from .source import SourcePartition

__all__ = ["Arrived", "Effect", "Reading"]

_KILLS_MAX: Final = 3


class Arrived:
    """One record on its way: read from the source, or given back by its parcel."""

    __slots__ = (
        "ended",
        "hidden",
        "identity",
        "key",
        "mark",
        "record",
        "redelivered",
        "seen",
        "source",
        "subscription",
    )

    def __init__(
        self, record: Record, mark: Mark, source: SourcePartition, redelivered: Redelivered | None = None
    ) -> None:
        self.record, self.mark, self.source, self.redelivered = record, mark, source, redelivered
        self.subscription: Subscription | None = None
        """Whose handler gets it."""
        self.seen = 0
        """How many processes had it at work before, and were not seen since."""
        self.identity: Identity | None = None
        """Under which it is remembered when it is handled; set while it is at work."""
        self.hidden = NOTHING_HIDDEN
        """Personal texts that its handler can read, and no error of it may say."""
        self.ended: asyncio.Event | None = None
        """Set when it has left the handler, for who waits to deliver the next one alone."""
        self.key: object = record.key if record.key is not None else self.place
        """Records of one key are handled one after the other; without a key, in any order."""

    @property
    def place(self) -> Place:
        """Where it was read first."""
        if self.redelivered is not None:
            return self.redelivered.place
        return Place(self.record.topic, self.record.partition, self.record.offset)

    @property
    def is_poison(self) -> bool:
        """Its consumer was killed too often while it was at work."""
        return self.seen >= _KILLS_MAX

    @property
    def attempt(self) -> int:
        return self.redelivered.attempt if self.redelivered is not None else 1


@dataclass(slots=True, eq=False)
class Effect:
    """What a message has caused, for one commit. ``durable``: True when that has succeeded, False: it never will."""

    mark: Mark | None = None
    state: Mapping[bytes, bytes | None] = field(default_factory=dict)
    patient: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """As ``state``, and in the same commit, but it waits to be collected with others."""
    appends: Sequence[Outgoing] = ()
    durable: asyncio.Future[bool] | None = None

    @property
    def is_urgent(self) -> bool:
        """It does not wait to be collected with others."""
        return bool(self.state or self.appends or self.durable is not None)

    @property
    def size(self) -> int:
        return sum(len(each.value or b"") for each in self.appends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the partitions of a group are read.

    Args:
        log: for the topic of redeliveries.
        clock: for the time of a commit.
        redeliveries: that topic.
        group: whose parcels release its keys.
        process: a unique id of this process.
        alone: held while one message is suspected, by all partitions of the process: else it would also be another.
        grace_seconds: how long ``stop`` waits for handlers.
        delivery: whether a position is committed first, and whether what is finished ahead of it is remembered.
        room: how many more messages of the source the process can accept now; True: how many more redeliveries.
        remembers: the names of subscriptions that drop duplicates.
        arrived: called with each record; must not raise. It ends in ``done``, in ``post`` or in ``give_up``.
    """

    log: Log
    clock: Clock
    redeliveries: str
    group: str
    process: str
    alone: asyncio.Lock
    grace_seconds: float
    delivery: Guarantee
    room: Callable[[bool], int]
    remembers: frozenset[str]
    arrived: Callable[[Arrived], None]
