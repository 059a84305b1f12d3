"""A broker that is killed in the middle of a commit, frozen, or taken away and brought back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

import pytest
from aiokafka.producer.transaction_manager import TransactionState

from sagaline.orchestrator.adapters.kafka_log import KafkaLog
from sagaline.orchestrator.errors import LogUnavailable
from sagaline.orchestrator.ports.log import Membership, Owner, Record, TopicPartition
from sagaline.orchestrator.ports.topics import Topics

from .support import QUEUE, SHORT, batch, fresh, member, opened, out, read_committed, retaken, until_it_works

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long]

_ROUNDS = 3


class Reader(Protocol):
    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]: ...


async def _until(reader: Reader, value: bytes) -> list[Record]:
    """Polls on, through every LogUnavailable, until that value has come."""
    records: list[Record] = []
    async with asyncio.timeout(40):
        while value not in {record.value for record in records}:
            records += await until_it_works(lambda: reader.poll(max_records=100, timeout=0.5))
    return records


async def _commit_and_kill(owner: Owner, number: int, topics: Topics, broker: Any, after_s: float) -> bool:
    """Kills the broker some time after EndTxn was asked for; whether the commit was acknowledged by then."""
    value = b"%d" % number
    appends = [out(topics.history, b"a", value), out(topics.commands(QUEUE), b"a", value)]
    commit = asyncio.create_task(owner.commit(batch({b"a": value}, appends, number)))
    manager = cast(Any, owner)._transactor._producer._txn_manager
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while manager.state is not TransactionState.COMMITTING_TRANSACTION and not commit.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        kill_at = loop.time() + after_s
        while loop.time() < kill_at and not commit.done():  # noqa: ASYNC110  # sleep() is too coarse
            await asyncio.sleep(0)
    acknowledged = commit.done() and commit.exception() is None
    broker.kill()
    if not commit.done():
        commit.cancel()
    await asyncio.wait([commit])
    return acknowledged


async def test_a_broker_killed_in_the_middle_of_commits_loses_and_doubles_nothing(breakable_broker: Any) -> None:
    """A single node that dies may call a transaction complete and drop its markers: taking again settles it.

    Whatever the outcome of each commit was, state, position, history and commands agree on it.
    """
    address = breakable_broker.address
    async with opened(address, SHORT) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k") for _ in range(100)])
        membership: Membership = await member(log, topics)
        owner = await membership.take(0)
        outcomes: list[bytes] = []
        for number in range(1, _ROUNDS + 1):
            before = owner.position.offset
            acknowledged = await _commit_and_kill(owner, number, topics, breakable_broker, after_s=0.0004 * number)
            await owner.release()
            await asyncio.to_thread(breakable_broker.start)
            owner = await retaken(membership, 0)
            assert owner.position.offset in {before, number}
            assert owner.position.offset == number or not acknowledged
            if owner.position.offset == number:
                outcomes.append(b"%d" % number)
            assert owner.get(b"a") == (outcomes[-1] if outcomes else None)
        await owner.commit(batch({b"a": b"end"}, [out(topics.history, b"a", b"end")], 99))
        history = await asyncio.to_thread(read_committed, address, topics.history)
        assert [record.value for record in history] == [*outcomes, b"end"]
        commands = await asyncio.to_thread(read_committed, address, topics.commands(QUEUE))
        assert [record.value for record in commands] == outcomes


async def _everything_open(log: KafkaLog, topics: Topics) -> tuple[Membership, Owner, Reader, Any]:
    await log.append([out(topics.inputs, b"k", b"before"), out(topics.commands(QUEUE), b"k", b"before")])
    membership = await member(log, topics)
    owner = await membership.take(0)
    tail = await log.tail([topics.inputs, topics.history], "earliest")
    subscription = await log.subscribe([topics.commands(QUEUE)], f"{topics.namespace}.workers")
    for reader in (owner, tail, subscription):
        await _until(reader, b"before")
    return membership, owner, tail, subscription


async def _is_noticed(reader: Reader) -> None:
    """Polls end in LogUnavailable within the silence that is allowed, and a little."""
    async with asyncio.timeout(8):
        try:
            while True:
                assert not await reader.poll(max_records=10, timeout=0.3)
        except LogUnavailable:
            return


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_everything_goes_on_after_the_broker_was_away(breakable_broker: Any, how: str) -> None:
    async with opened(breakable_broker.address, SHORT) as log:
        topics = await fresh(log)
        membership, owner, tail, subscription = await _everything_open(log, topics)
        if how == "frozen":
            breakable_broker.freeze()
        else:
            breakable_broker.kill()
        await asyncio.gather(*(_is_noticed(reader) for reader in (owner, tail, subscription)))
        async with asyncio.timeout(5):
            with pytest.raises(LogUnavailable):
                await log.append([out(topics.inputs, b"k", b"lost or not")])
        async with asyncio.timeout(2.5):
            await owner.release()
        breakable_broker.thaw()
        await asyncio.to_thread(breakable_broker.start)

        queue = topics.commands(QUEUE)
        await until_it_works(lambda: log.append([out(topics.inputs, b"k", b"after"), out(queue, b"k", b"after")]))
        again = await retaken(membership, 0)
        inputs = await _until(again, b"after")
        assert inputs[0].value == b"before"
        await again.commit(batch({b"a": b"1"}, [out(topics.history, b"a", b"decided")], inputs[-1].offset + 1))
        seen = [*await _until(tail, b"decided")]
        assert {record.value for record in seen} - {b"lost or not"} == {b"after", b"decided"}
        worked = await _until(subscription, b"after")
        await until_it_works(lambda: subscription.commit({TopicPartition(queue, 0): worked[-1].offset + 1}))


async def test_a_commit_while_the_broker_is_away_ends_in_its_deadline(breakable_broker: Any) -> None:
    async with opened(breakable_broker.address, SHORT) as log:
        topics = await fresh(log)
        membership, owner, _, _ = await _everything_open(log, topics)
        await owner.commit(batch({b"a": b"0"}, [], 1))
        breakable_broker.freeze()
        async with asyncio.timeout(6):
            with pytest.raises(LogUnavailable):
                await owner.commit(batch({b"a": b"1"}, [], 1))
        async with asyncio.timeout(2.5):
            await owner.release()
        breakable_broker.thaw()
        again = await retaken(membership, 0)
        assert again.get(b"a") in {b"0", b"1"}


async def test_leaving_and_closing_end_while_the_broker_is_away(breakable_broker: Any) -> None:
    async with opened(breakable_broker.address, SHORT) as log:
        topics = await fresh(log)
        membership, _owner, _tail, subscription = await _everything_open(log, topics)
        breakable_broker.freeze()
        async with asyncio.timeout(5):
            await membership.leave()
        async with asyncio.timeout(5):
            await subscription.close()
        async with asyncio.timeout(10):
            await log.close()
