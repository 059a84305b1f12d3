"""A member of the group of engines: its assignment, and the check whether a partition is still its own.

Its consumer is subscribed to ``inputs`` but reads nothing: all its partitions stay paused. The group only assigns
partitions and knows its members. Owners stay warm across a rebalance.

- In ``on_partitions_assigned`` heartbeats stop and exceptions are lost: store the assignment, wake waiters, return.
- ProducerFenced does not tell whether we were replaced or only late. If a group commit succeeds, the partition is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiokafka.errors as errors

from ...errors import LogUnavailable
from .driver import BROKEN, Consumer, Partition, RebalanceListener, start_subscribed
from .ending import stop_consumer, translated, within
from .settings import Connection

__all__ = ["Group", "Judge"]

Judge = Callable[[int], Awaitable[bool]]
_NOT_OURS = (errors.CommitFailedError, errors.IllegalStateError)
_JUDGE_S = 3.0


class Group:
    """The consumer and its last assignment."""

    def __init__(self, connection: Connection, topic: str, group: str) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._consumer: Any = None
        self._wake = asyncio.Event()
        self._lost: set[int] = set()
        self._again = False
        self.assigned: frozenset[int] = frozenset()

    async def start(self) -> None:
        """Connects and begins to join; the assignment comes later. Raises LogUnavailable."""
        limits = self._connection.limits
        consumer = Consumer(
            # Joining waits for the slowest member, so a request may take as long as a rebalance.
            **self._connection.options(limits.rebalance_s + 10),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            max_poll_interval_ms=2**31 - 1,
            session_timeout_ms=int(limits.session_s * 1000),
            heartbeat_interval_ms=min(1000, int(limits.session_s * 1000) // 4),
            rebalance_timeout_ms=int(limits.rebalance_s * 1000),
            max_partition_fetch_bytes=1024,
        )
        try:
            with translated(self._connection.gone(f"joining the group {self._group}", limits.answer_s)):
                await within(start_subscribed(consumer, [self._topic], _listener(self)), limits.answer_s)
                self._consumer = consumer
        except BaseException:
            await stop_consumer(consumer)
            raise

    async def stop(self) -> None:
        """Leaves the group; ends within four seconds."""
        consumer, self._consumer = self._consumer, None
        self._wake.set()
        if consumer is not None:
            await stop_consumer(consumer, 1.5)

    @property
    def running(self) -> bool:
        """False once aiokafka's coordination has ended with an error; it does not restart by itself."""
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        return coordinator is not None and not coordinator._coordination_task.done()

    async def differs(self, from_this: frozenset[int]) -> frozenset[int]:
        """Waits until the assignment differs from the given one, or contains again a partition that was lost."""
        while self.running and self.assigned == from_this and not self._again:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), 1.0)
            except TimeoutError:
                continue
        if not self.running:
            raise LogUnavailable(f"membership in the group {self._group} broke: leave and join again")
        self._again = False
        return self.assigned

    async def ours(self, partition: int, offset: int | None = None) -> bool:
        """True when the group assigns the partition to this member now.

        Raises:
            LogUnavailable: the group did not answer.
        """
        where = Partition(self._topic, partition)
        consumer = self._consumer
        if consumer is None or partition not in self.assigned:
            return False
        try:
            with translated(self._connection.gone(f"asking the group {self._group}", _JUDGE_S)):
                try:
                    if offset is None:
                        offset = await within(consumer.committed(where), _JUDGE_S)
                    await within(consumer.commit({where: offset or 0}), _JUDGE_S)
                except _NOT_OURS:
                    self._lost.add(partition)
                    return False
        except LogUnavailable:
            if partition not in self.assigned:
                return False
            raise
        return True

    async def record(self, positions: Mapping[int, int]) -> bool:
        """Best effort: records group offsets for lag tools and ``Log.standing``. False: they were not recorded."""
        mine = {Partition(self._topic, p): offset for p, offset in positions.items() if p in self.assigned}
        if self._consumer is None or not mine:
            return False
        try:
            await within(self._consumer.commit(mine), _JUDGE_S)
        except BROKEN:
            return False
        return True

    def _on_assigned(self, partitions: Any) -> None:
        if self._consumer is not None:
            self._consumer.pause(*partitions)
        self.assigned = frozenset(where.partition for where in partitions)
        self._again = self._again or bool(self._lost & self.assigned)
        self._lost.clear()
        self._wake.set()


def _listener(group: Group) -> Any:
    class Listener(RebalanceListener):  # type: ignore[misc]  # aiokafka's base class carries no types
        def on_partitions_revoked(self, revoked: Any) -> None:
            """Owners stay warm: another member that takes a partition fences them by its producer."""

        def on_partitions_assigned(self, assigned: Any) -> None:
            group._on_assigned(assigned)

    return Listener()
