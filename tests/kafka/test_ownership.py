"""Fencing, judged by the group; what a spent producer may still do; how a new owner reads what is there."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.conn import CloseReason
from aiokafka.producer.transaction_manager import TransactionState
from aiokafka.protocol.group import LeaveGroupRequest

from sagaline.orchestrator.errors import LogUnavailable, OwnershipLost
from sagaline.orchestrator.ports.log import Position
from sagaline.orchestrator.ports.topics import POSITION_KEY

from .support import batch, fresh, member, opened, out, read_committed

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def _zombie(address: str, transactional_id: str) -> Any:
    return AIOKafkaProducer(bootstrap_servers=address, transactional_id=transactional_id, retry_backoff_ms=10)


async def test_a_fenced_owner_whose_group_still_counts_it_in_takes_again(kafka_bootstrap: str) -> None:
    """ProducerFenced alone does not say who owns the partition: here the group says it is ours."""
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(5)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1"}, [], 1))
        other = _zombie(kafka_bootstrap, f"{topics.state}-0")
        await other.start()
        with pytest.raises(LogUnavailable):
            await owner.commit(batch({b"a": b"2"}, [out(topics.history, b"a", b"fenced")], 2))
        await owner.release()
        again = await membership.take(0)
        assert (again.position, again.get(b"a")) == (Position(1, 1), b"1")
        await again.commit(batch({b"a": b"3"}, [out(topics.history, b"a", b"ours")], 3))
        await other.begin_transaction()
        late = await other.send(topics.history, key=b"a", value=b"zombie", partition=0)
        with pytest.raises(Exception, match=r"(?i)fenc|epoch|newer"):
            await late
        await other.stop()
        seen = await asyncio.to_thread(read_committed, kafka_bootstrap, topics.history)
        assert [record.value for record in seen] == [b"ours"]


async def test_an_owner_that_the_group_has_expelled_loses_its_partition_and_gets_it_again(kafka_bootstrap: str) -> None:
    """The judge says no; when the next assignment is the same set, it is reported all the same."""
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(5)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        other = _zombie(kafka_bootstrap, f"{topics.state}-0")
        await other.start()
        coordinator = cast(Any, membership)._group._consumer._coordinator
        await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))
        with pytest.raises(OwnershipLost):
            await owner.commit(batch({b"a": b"1"}, [], 1))
        await owner.release()
        await other.stop()
        async with asyncio.timeout(20):
            assert await membership.changed() == {0, 1}
        again = await membership.take(0)
        await again.commit(batch({b"a": b"1"}, [], 1))


async def test_a_commit_that_was_sent_twice_is_true_and_ends_its_producer(kafka_bootstrap: str) -> None:
    """KIP-890: the copy of EndTxn that is still under way could end the next transaction of the same producer."""
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(5)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"0"}, [], 1))
        producer = cast(Any, owner)._transactor._producer
        commit = asyncio.create_task(owner.commit(batch({b"a": b"1"}, [out(topics.history, b"a", b"once")], 2)))
        coordination = [conn for (_, group), conn in producer.client._conns.items() if group == 1]

        def ending() -> bool:
            committing = producer._txn_manager.state is TransactionState.COMMITTING_TRANSACTION
            return committing and any(conn._requests for conn in coordination)

        async with asyncio.timeout(10):
            while not ending():  # noqa: ASYNC110  # the moment in which EndTxn is under way has no event
                await asyncio.sleep(0)
        for conn in coordination:
            conn.close(reason=CloseReason.CONNECTION_BROKEN)
        await commit
        assert (owner.position, owner.get(b"a")) == (Position(2, 2), b"1")
        with pytest.raises(LogUnavailable):
            await owner.commit(batch({b"a": b"2"}, [out(topics.history, b"a", b"never")], 3))
        with pytest.raises(LogUnavailable):
            await owner.poll(max_records=1, timeout=0)
        await owner.release()
        again = await membership.take(0)
        assert (again.position, again.get(b"a")) == (Position(2, 2), b"1")
        seen = await asyncio.to_thread(read_committed, kafka_bootstrap, topics.history)
        assert [record.value for record in seen] == [b"once"]


async def test_a_cancelled_commit_spends_the_owner_and_the_next_one_knows(kafka_bootstrap: str) -> None:
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(5)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"0"}, [], 1))
        commit = asyncio.create_task(owner.commit(batch({b"a": b"1"}, [], 2)))
        for _ in range(5):
            await asyncio.sleep(0)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        with pytest.raises(LogUnavailable):
            await owner.commit(batch({b"a": b"2"}, [], 3))
        await owner.release()
        again = await membership.take(0)
        assert (again.position.offset, again.get(b"a")) in {(1, b"0"), (2, b"1")}


async def test_the_state_ends_in_aborted_records_and_is_restored_at_once(kafka_bootstrap: str) -> None:
    """Restore goes by position: markers and aborted records are no records, yet offsets."""
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(5)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1", b"b": b"2"}, [], 1))
        await owner.commit(batch({b"b": None}, [], 2))
        await owner.release()
        other = _zombie(kafka_bootstrap, f"{topics.namespace}.stranger")
        await other.start()
        for _ in range(3):
            await other.begin_transaction()
            await (await other.send(topics.state, key=b"a", value=b"aborted", partition=0))
            await other.abort_transaction()
        await other.stop()
        async with asyncio.timeout(5):
            again = await membership.take(0)
        assert {key: value async for key, value in again.documents()} == {b"a": b"1"}
        assert again.position == Position(2, 2)


async def test_another_client_library_finds_each_record_once_and_the_position(kafka_bootstrap: str) -> None:
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(5)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        for i in range(1, 4):
            await owner.commit(batch({b"a": b"%d" % i}, [out(topics.history, b"a", b"%d" % i)], i))
        history = await asyncio.to_thread(read_committed, kafka_bootstrap, topics.history)
        assert [record.value for record in history] == [b"1", b"2", b"3"]
        state = await asyncio.to_thread(read_committed, kafka_bootstrap, topics.state)
        assert [record.value for record in state if record.key == b"a"] == [b"1", b"2", b"3"]
        assert len([record for record in state if record.key == POSITION_KEY]) == 3
        assert state[-1].key == POSITION_KEY
