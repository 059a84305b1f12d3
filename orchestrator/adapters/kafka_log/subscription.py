"""One consumer of a group of workers; see ``ports.log.Subscription``.

Records fetched before a rebalance are dropped: the next owner of the partition, or this one, gets them again from the
committed position. A fetch is marked with the generation in which it was drained, not requested.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiokafka.errors as errors
import structlog

from ...errors import LogUnavailable, TopicGone
from ...ports.log import Record, TopicPartition
from .careful import of_the_records, read_carefully
from .driver import Consumer, Partition, RebalanceListener, start_subscribed
from .ending import abandon, stop_consumer, translated, within
from .reader import as_record
from .settings import Connection
from .silence import Silence
from .wire import Wire

__all__ = ["KafkaSubscription"]

_CHUNK_S = 0.5
_log = structlog.get_logger(__name__)
_FIRST_ASSIGNMENT_S = 2.0


class KafkaSubscription:
    def __init__(
        self,
        connection: Connection,
        wire: Wire,
        topics: Sequence[str],
        group: str,
        on_close: Callable[[KafkaSubscription], None],
    ) -> None:
        self._connection = connection
        self._wire = wire
        self._topics = list(topics)
        self._group = group
        self._on_close = on_close
        self._closed = False
        self._consumer: Any = None
        self._buffer: deque[Record] = deque()
        self._fetching: asyncio.Task[tuple[int, list[Record]]] | None = None
        self._generation = 0
        self._assigned = asyncio.Event()
        self._silence = Silence(connection.limits.silence_s)
        self._before: dict[TopicPartition, int] = {}
        self._standing: set[TopicPartition] = set()
        self._told: set[str] = set()

    async def start(self) -> None:
        """Joins the group. Raises LogUnavailable."""
        limits = self._connection.limits
        consumer = Consumer(
            **self._connection.options(limits.rebalance_s + 10),
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=2**31 - 1,
            session_timeout_ms=int(limits.session_s * 1000),
            heartbeat_interval_ms=min(1000, int(limits.session_s * 1000) // 4),
            rebalance_timeout_ms=int(limits.rebalance_s * 1000),
            fetch_max_bytes=8 << 20,
        )
        try:
            with translated(self._connection.gone(f"joining the group {self._group}", limits.answer_s)):
                await within(start_subscribed(consumer, self._topics, _listener(self)), limits.answer_s)
        except BaseException:
            await stop_consumer(consumer)
            raise
        self._consumer = consumer
        self._silence.heard()
        try:
            await asyncio.wait_for(self._assigned.wait(), _FIRST_ASSIGNMENT_S)
        except TimeoutError:
            return  # other members have to rejoin first; polls wait for it

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        if self._closed:
            raise LogUnavailable("this subscription has been closed: subscribe again")
        try:
            if not self._buffer:
                if self._consumer is None:
                    await self.start()
                await self._fill(timeout)
        except LogUnavailable as error:
            raise await self._wire.explained(error, self._topics) from error
        return [self._buffer.popleft() for _ in range(min(max_records, len(self._buffer)))]

    def assigned(self) -> frozenset[TopicPartition]:
        if self._consumer is None:
            return frozenset()
        return frozenset(TopicPartition(where.topic, where.partition) for where in self._consumer.assignment())

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        held = self.assigned()
        mine = {Partition(*where): offset for where, offset in positions.items() if where in held}
        if not mine:
            return
        limit = self._connection.limits.answer_s
        with translated(self._connection.gone(f"recording positions of the group {self._group}", limit)):
            try:
                await within(self._consumer.commit(mine), limit)
            except (errors.CommitFailedError, errors.IllegalStateError):
                return  # no longer assigned, or a rebalance: the records are redelivered

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        await self._drop(2.0)

    async def _fill(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._silence.resume()
        while True:
            if self._fetching is None:
                self._fetching = asyncio.create_task(self._fetch())
            fetching = self._fetching
            await asyncio.wait({fetching}, timeout=max(0.0, min(_CHUNK_S, deadline - loop.time())))
            if fetching.done():
                self._fetching = None
                await self._keep(fetching)
            await self._listen()
            if self._buffer or loop.time() >= deadline:
                return

    async def _fetch(self) -> tuple[int, list[Record]]:
        with contextlib.suppress(errors.IllegalStateError):  # a rebalance came in between
            for where in self._consumer.assignment():
                await self._consumer.position(where)  # fetches the committed position if it is not known
        self._before = self._positions()
        fetched = await self._consumer.getmany(timeout_ms=int(_CHUNK_S * 1000))
        return self._generation, [as_record(message) for messages in fetched.values() for message in messages]

    async def _keep(self, fetching: asyncio.Task[tuple[int, list[Record]]]) -> None:
        try:
            generation, records = fetching.result()
        except Exception as error:  # a codec may raise anything
            if of_the_records(error) and await self._stands_still(self._generation):
                return
            await self._drop(1.0)
            raise LogUnavailable(self._connection.gone(f"reading ({error})")) from error
        if generation == self._generation:
            self._buffer.extend(records)

    async def _stands_still(self, generation: int) -> bool:
        """Reads carefully, and pauses partitions whose next batch can never be read. False: it found nothing."""
        before, found = self._before, False
        for place, offset in before.items():
            try:
                records, unreadable = await read_carefully(self._connection, place, offset, "read_committed")
            except errors.OffsetOutOfRangeError:
                records, unreadable = [], None  # deleted by retention: the consumer moves to the earliest itself
            if generation != self._generation:
                return True  # a rebalance came in between: the next owner finds the batch again
            where = Partition(*place)
            if not self._consumer._subscription.is_assigned(where):
                continue
            self._buffer.extend(map(as_record, records))
            found = found or bool(records)
            if unreadable is None:
                self._consumer.seek(where, records[-1].offset + 1 if records else offset)
                continue
            self._consumer.seek(where, unreadable.offset)
            self._consumer.pause(where)
            self._standing.add(place)
            found = True
            if unreadable.where not in self._told:
                self._told.add(unreadable.where)
                _log.critical("partition stopped, an operator must act", group=self._group, reason=str(unreadable))
        return found

    def _positions(self) -> dict[TopicPartition, int]:
        """The next offset to fetch of each partition that is not stopped."""
        assignment = self._consumer._subscription.subscription.assignment
        found: dict[TopicPartition, int] = {}
        if assignment is None:
            return found
        for where in assignment.tps:
            state, place = assignment.state_value(where), TopicPartition(where.topic, where.partition)
            if place not in self._standing and state is not None and state.has_valid_position:
                found[place] = state.position
        return found

    async def _listen(self) -> None:
        consumer = self._consumer
        cluster = consumer._client.cluster
        if any(not cluster.partitions_for_topic(topic) for topic in self._topics):
            # A group silently continues without a topic that is gone from its metadata.
            known = await self._wire.topics()
            if missing := [topic for topic in self._topics if topic not in known]:
                await self._drop(1.0)
                raise TopicGone(missing)
        held = {where for where in consumer.assignment() if TopicPartition(*where) not in self._standing}
        stamps = [consumer.last_poll_timestamp(where) or 0 for where in held]
        ended = consumer._coordinator._coordination_task.done()
        if not ended and not self._silence.too_long(stamps):
            return
        if not ended and (not held or consumer._subscription.reassignment_in_progress):
            # More members than partitions, or a rebalance: nothing to read is no failure, if the broker answers.
            await self._wire.topics()
            self._silence.heard()
            return
        await self._drop(1.0)
        raise LogUnavailable(self._connection.gone("reading", self._connection.limits.silence_s))

    async def _drop(self, seconds: float) -> None:
        """Drops the consumer; the next poll joins again, from the committed positions."""
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            await abandon(fetching)
        consumer, self._consumer = self._consumer, None
        self._forget()
        if consumer is not None:
            await stop_consumer(consumer, seconds)

    def _forget(self) -> None:
        self._generation += 1
        self._buffer.clear()
        self._standing.clear()
        self._assigned.clear()


def _listener(subscription: KafkaSubscription) -> Any:
    class Listener(RebalanceListener):  # type: ignore[misc]  # aiokafka's base class carries no types
        def on_partitions_revoked(self, revoked: Any) -> None:
            subscription._forget()

        def on_partitions_assigned(self, assigned: Any) -> None:
            subscription._assigned.set()

    return Listener()
