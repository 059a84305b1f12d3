"""One transactional producer: the epoch of its id is the only fence.

- It is *spent* after any error, deadline or cancellation inside a transaction, and after a request that aiokafka has
  sent again by itself: the first copy could end the next transaction (a late EndTxn, KIP-890). Never reuse it.
- All batches of a transaction are sent without an await in between, so that they share one AddPartitionsToTxn and one
  Produce per broker. Every send is awaited before the commit, because aiokafka commits despite a failed batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import LogUnavailable
from ...ports.log import TopicPartition
from .batches import BATCH_BYTES_MAX
from .driver import Partition, Producer
from .ending import abandon, stop_producer, translated, within
from .settings import Connection

__all__ = ["Transactor"]

_RETRY_BACKOFF_MS = 10


class Transactor:
    """Not safe for concurrent use: one owner each."""

    def __init__(self, connection: Connection, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self._connection = connection
        self._known_topics: set[str] = set()
        self._resent = False
        self._spent = False
        self._running: asyncio.Task[None] | None = None
        self._producer: Any = Producer(
            **connection.options(connection.limits.request_s),
            client_id=transactional_id,
            transactional_id=transactional_id,
            transaction_timeout_ms=int(connection.limits.transaction_s * 1000),
            acks="all",
            linger_ms=0,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            max_batch_size=BATCH_BYTES_MAX,
        )

    @property
    def spent(self) -> bool:
        """True: stop this producer and start a successor."""
        return self._spent or self._resent

    def create_batch(self) -> Any:
        return self._producer.create_batch()

    async def start(self) -> None:
        """Fences the previous producer of the id; on return its open transaction, if any, has ended."""
        doing = f"taking the transactional id {self.transactional_id}"
        limit = self._connection.limits.take_s
        with translated(self._connection.gone(doing, limit)):
            await within(self._producer.start(), limit)
        self._watch_requests()

    async def commit(self, batches: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Sends ``batches`` in one transaction. Returns when it is committed; raises what aiokafka raises.

        A cancelled caller leaves the transaction to its own task, which ``stop`` joins.

        Raises:
            TimeoutError: no answer within the commit deadline; the outcome is unknown.
        """
        for topic in {where.topic for where in batches} - self._known_topics:
            # Outside the transaction: the first send to a topic waits for its metadata.
            await within(self._producer.partitions_for(topic), self._connection.limits.answer_s)
            self._known_topics.add(topic)
        await self._bounded(self._transaction(batches))

    async def settle(self, places: Iterable[TopicPartition], *, commit: bool) -> None:
        """Runs one transaction without records on exactly these partitions: its markers decide the open one there."""
        await self._bounded(self._markers(list(places), commit))

    async def stop(self) -> None:
        """Ends within two seconds, also during a commit. Idempotent."""
        self._spent = True
        await stop_producer(self._producer)
        if self._running is not None and not self._running.done():
            await abandon(self._running, 0.3)

    async def _bounded(self, work: Any) -> None:
        if self.spent:
            work.close()
            raise LogUnavailable(f"the producer {self.transactional_id} is spent: release the owner and take it again")
        self._spent = True
        self._running = asyncio.create_task(work)
        await asyncio.wait({self._running}, timeout=self._connection.limits.commit_s)
        if not self._running.done():
            raise TimeoutError
        self._running.result()
        self._spent = False

    async def _transaction(self, batches: Mapping[TopicPartition, Sequence[Any]]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        sent = []
        for turn in range(max(map(len, batches.values()), default=0)):
            for (topic, partition), several in batches.items():
                if turn < len(several):
                    sent.append(await producer.send_batch(several[turn], topic, partition=partition))
        for outcome in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        await producer.commit_transaction()

    async def _markers(self, places: Sequence[TopicPartition], commit: bool) -> None:
        producer = self._producer
        manager = producer._txn_manager
        await producer.begin_transaction()
        for topic, partition in places:
            manager.maybe_add_partition_to_txn(Partition(topic, partition))
        while manager.partitions_to_add() and not manager.is_fatal_error():  # noqa: ASYNC110  # aiokafka has no event
            await asyncio.sleep(0.002)
        await (producer.commit_transaction() if commit else producer.abort_transaction())

    def _watch_requests(self) -> None:
        """Marks this producer as spent when a request raises inside aiokafka, which then sends it again."""
        send = self._producer.client.send

        async def watched(node_id: Any, request: Any, **options: Any) -> Any:
            try:
                return await send(node_id, request, **options)
            except Exception:
                self._resent = True
                raise

        self._producer.client.send = watched
