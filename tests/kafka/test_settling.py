"""A transaction that the coordinator calls complete while its markers are missing: the next owner settles it.

A single broker that is killed at the wrong moment leaves this behind; test_broker_faults.py meets it by chance. Here it
is made on purpose: with the broker's verification switched off, a producer writes to partitions that it never added to
its transaction, so the coordinator ends the transaction without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from sagaline.orchestrator.adapters.kafka_log.position import write_mark
from sagaline.orchestrator.ports.log import Outgoing, Owner, Position
from sagaline.orchestrator.ports.log import TopicPartition as Place
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics

from .support import QUEUE, batch, fresh, member, opened, out, read_committed, retaken

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

_SETTING = "transaction.partition.verification.enable"


def _alter(address: str, operation: AlterConfigOpType) -> None:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    entry = ConfigEntry(_SETTING, "false", incremental_operation=operation)
    resource = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(10)


@pytest.fixture
def unverifying(breakable_broker: Any) -> Iterator[str]:
    """The address of a broker that believes what a producer says it added to its transaction."""
    _alter(breakable_broker.address, AlterConfigOpType.SET)
    yield breakable_broker.address
    _alter(breakable_broker.address, AlterConfigOpType.DELETE)


def _forget_to_add(owner: Owner, *topics: str) -> Any:
    """The owner's producer, which from now on takes these partitions for added to its next transaction."""
    producer = cast(Any, owner)._transactor._producer
    producer._txn_manager._txn_partitions.update(TopicPartition(topic, 0) for topic in topics)
    return producer


@pytest.mark.parametrize("stuck", [("state", "history"), ("history",), ("state",)])
async def test_what_the_coordinator_committed_becomes_visible(unverifying: str, stuck: tuple[str, ...]) -> None:
    async with opened(unverifying) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(9)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1"}, [out(topics.history, b"a", b"1")], 1))
        await log.end_offsets([topics.state, topics.history])  # its markers are there: they end nothing written later
        _forget_to_add(owner, *(f"{topics.namespace}.{name}" for name in stuck))
        appends = [out(topics.history, b"a", b"2"), out(topics.commands(QUEUE), b"a", b"2")]
        await owner.commit(batch({b"a": b"2"}, appends, 2))
        for name in stuck:
            seen = await asyncio.to_thread(read_committed, unverifying, f"{topics.namespace}.{name}")
            assert b"2" not in {record.value for record in seen}, "the planted fault did not take"
        await owner.release()

        again = await retaken(membership, 0)
        assert (again.position, again.get(b"a")) == (Position(2, 2), b"2")
        await again.commit(batch({b"a": b"3"}, [out(topics.history, b"a", b"3")], 3))
        await _history_is(unverifying, topics, [b"1", b"2", b"3"])


async def test_what_the_coordinator_aborted_stays_invisible_and_holds_nobody_back(unverifying: str) -> None:
    async with opened(unverifying) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(9)])
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1"}, [out(topics.history, b"a", b"1")], 1))
        await log.end_offsets([topics.state, topics.history])  # its markers are there: they end nothing written later
        producer = _forget_to_add(owner, topics.state, topics.history)
        touched = {Place(topics.state, 0), Place(topics.history, 0), Place(topics.commands(QUEUE), 0)}
        sent: list[Outgoing] = [
            out(topics.history, b"a", b"2"),
            out(topics.commands(QUEUE), b"a", b"2"),
            out(topics.state, b"a", b"2"),
            out(topics.state, POSITION_KEY, write_mark(Position(2, 2), touched)),
        ]
        await producer.begin_transaction()
        for record in sent:
            await (await producer.send(record.topic, key=record.key, value=record.value, partition=0))
        await producer.abort_transaction()
        await owner.release()

        again = await retaken(membership, 0)
        assert (again.position, again.get(b"a")) == (Position(1, 1), b"1")
        await again.commit(batch({b"a": b"3"}, [out(topics.history, b"a", b"3")], 3))
        await _history_is(unverifying, topics, [b"1", b"3"])


async def _history_is(address: str, topics: Topics, values: list[bytes]) -> None:
    seen = await asyncio.to_thread(read_committed, address, topics.history)
    assert [record.value for record in seen] == values
