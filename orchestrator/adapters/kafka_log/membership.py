"""One engine's membership: the group's assignment, the owners of taken partitions, and group offsets for lag tools."""

from __future__ import annotations

import asyncio
import contextlib

from ...errors import LogUnavailable, OwnershipLost
from ...ports.clock import Clock
from ...ports.log import Owner
from .ending import abandon
from .group import Group
from .owner import Circumstances, KafkaOwner
from .settings import Connection
from .taking import Topics, take
from .topics import Catalog
from .wire import Wire

__all__ = ["KafkaMembership"]

_RECORD_EVERY_S = 5.0


class KafkaMembership:
    """See ``ports.log.Membership``."""

    def __init__(self, connection: Connection, wire: Wire, catalog: Catalog, clock: Clock, topics: Topics) -> None:
        self._connection = connection
        self._wire = wire
        self._catalog = catalog
        self._clock = clock
        self._topics = topics
        self._group: Group | None = None
        self._owners: dict[int, KafkaOwner] = {}
        self._returned: frozenset[int] = frozenset()
        self._recorder: asyncio.Task[None] | None = None

    @property
    def left(self) -> bool:
        return self._group is None

    async def join(self, group: str) -> None:
        self._group = Group(self._connection, self._topics.inputs, group)
        await self._group.start()
        self._recorder = asyncio.create_task(self._record_positions(self._group))

    async def changed(self) -> frozenset[int]:
        self._returned = await self._member().differs(self._returned)
        return self._returned

    async def take(self, partition: int) -> Owner:
        group = self._member()
        if not await group.ours(partition):
            raise OwnershipLost(f"partition {partition} of {self._topics.inputs} is not assigned to this member")
        if (before := self._owners.get(partition)) is not None:
            await before.release()
        taken = await take(self._connection, self._wire, self._topics, partition)
        shared = Circumstances(self._connection, self._catalog, self._clock, group.ours, self._topics)
        owner = self._owners[partition] = KafkaOwner(shared, partition, taken, self._released)
        return owner

    async def leave(self) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        if self._recorder is not None:
            await abandon(self._recorder)
        # Owners end first, so that the next owners of their partitions find no open transaction.
        await asyncio.gather(*(owner.release() for owner in list(self._owners.values())))
        await group.stop()

    def _member(self) -> Group:
        if self._group is None:
            raise LogUnavailable("this membership has been left: join again")
        return self._group

    def _released(self, owner: KafkaOwner) -> None:
        if self._owners.get(owner.partition) is owner:
            del self._owners[owner.partition]

    async def _record_positions(self, group: Group) -> None:
        recorded: dict[int, int] = {}
        while True:
            await asyncio.sleep(_RECORD_EVERY_S)
            found = {partition: owner.position.offset for partition, owner in self._owners.items()}
            if found != recorded:
                with contextlib.suppress(LogUnavailable):
                    recorded = found if await group.record(found) else {}
