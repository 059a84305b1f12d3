"""Topics that are refused, records that are too large, positions that retention deleted, a broker that is not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest
from confluent_kafka import TopicPartition as AdminPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import KafkaLog
from sagaline.orchestrator.errors import ConfigurationError, CorruptRecord, LogUnavailable, TopicMismatch, ValueTooLarge
from sagaline.orchestrator.ports.log import TopicPartition, TopicSpec

from .. import broker as brokers
from .support import batch, fresh, member, opened, out, read_committed

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def _create(address: str, name: str, config: Mapping[str, str]) -> None:
    """As an operator would, by another tool. A broker may answer before it shows what it has created."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for made in admin.create_topics([NewTopic(name, 2, 1, config=dict(config))]).values():
        made.result(10)
    until = time.monotonic() + 10
    while len(admin.list_topics(name, timeout=10).topics[name].partitions) < 2:
        assert time.monotonic() < until, f"the broker does not show {name}"
        time.sleep(0.05)


async def test_a_topic_that_deletes_by_size_is_refused_with_the_remedy(kafka_bootstrap: str) -> None:
    """It may delete what nobody has decided yet, whatever its retention in time says."""
    async with opened(kafka_bootstrap) as log:
        name = f"{(await fresh(log)).namespace}.bounded"
        config = {"retention.ms": "3600000", "retention.bytes": "1000000"}
        await asyncio.to_thread(_create, kafka_bootstrap, name, config)
        with pytest.raises(TopicMismatch, match=r"retention\.bytes=1000000 and must have retention\.bytes=-1"):
            await log.check_topics([TopicSpec(name, 2, "delete", 3_600_000)])


def _delete_before(address: str, place: TopicPartition, offset: int) -> None:
    """As retention would."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for deleted in admin.delete_records([AdminPartition(place.topic, place.partition, offset)]).values():
        deleted.result(10)


async def test_one_replica_is_refused_unless_development_is_declared(kafka_bootstrap: str) -> None:
    with pytest.raises(ConfigurationError, match="development"):
        KafkaLog(kafka_bootstrap, clock=SystemClock(), replication_factor=1)
    async with opened(kafka_bootstrap) as development:
        topics = await fresh(development)
    production = KafkaLog(kafka_bootstrap, clock=SystemClock())
    await production.open()
    try:
        with pytest.raises(TopicMismatch, match=r"replication factor 1.*development"):
            await production.check_topics(topics.specs(["stock"], 2))
        missing = TopicSpec(topics.commands("late"), 2, "delete")
        with pytest.raises(TopicMismatch, match=r"replication factor 3.*development"):
            await production.create_topics([missing])
        assert await production.partitions(missing.name) == 0
    finally:
        await production.close()


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"cleanup.policy": "delete"}, "cleanup.policy=compact"),
        ({"cleanup.policy": "compact,delete"}, "cleanup.policy=compact"),
        ({"cleanup.policy": "compact", "max.message.bytes": "1000"}, "max.message.bytes=1048588"),
        ({"cleanup.policy": "compact", "min.insync.replicas": "2"}, "min.insync.replicas=1"),
    ],
)
async def test_a_state_topic_that_would_lose_documents_is_refused_with_the_remedy(
    kafka_bootstrap: str, found: dict[str, str], wanted: str
) -> None:
    async with opened(kafka_bootstrap) as log:
        name = f"{(await fresh(log)).namespace}.other"
        await asyncio.to_thread(_create, kafka_bootstrap, name, found)
        with pytest.raises(TopicMismatch) as refused:
            await log.create_topics([TopicSpec(name, 2, "compact")])
        assert wanted in str(refused.value)
        assert "kafka-configs.sh" in str(refused.value)


async def test_a_shorter_retention_is_refused_and_a_longer_one_is_not(kafka_bootstrap: str) -> None:
    async with opened(kafka_bootstrap) as log:
        name = f"{(await fresh(log)).namespace}.other"
        await asyncio.to_thread(_create, kafka_bootstrap, name, {"retention.ms": "60000"})
        await log.check_topics([TopicSpec(name, 2, "delete", 60_000), TopicSpec(name, 2, "delete", 50_000)])
        with pytest.raises(TopicMismatch, match=r"retention\.ms=60001"):
            await log.check_topics([TopicSpec(name, 2, "delete", 60_001)])


async def test_a_record_too_large_by_its_headers_harms_its_own_call_only(kafka_bootstrap: str) -> None:
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        large = out(topics.history, b"a", b"x" * 900_000, headers=(("h", b"y" * 200_000),))
        calls = [log.append([out(topics.history, b"a", b"fine")]), log.append([large])]
        fine, refused = await asyncio.gather(*calls, return_exceptions=True)
        assert fine is None
        assert isinstance(refused, ValueTooLarge)
        seen = await asyncio.to_thread(read_committed, kafka_bootstrap, topics.history)
        assert [record.value for record in seen] == [b"fine"]


async def test_a_commit_larger_than_one_batch_is_whole(kafka_bootstrap: str) -> None:
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        await log.append([out(topics.inputs, b"k")])
        membership = await member(log, topics)
        owner = await membership.take(0)
        state: dict[bytes, bytes | None] = {b"%d" % i: b"%d" % i * 100_000 for i in range(5)}
        appends = [out(topics.history, key, value or b"") for key, value in state.items()]
        await owner.commit(batch(state, appends, 1))
        with pytest.raises(ValueTooLarge):
            await owner.commit(batch({b"a": b"x" * (log.max_value_bytes + 1)}, [], 1))
        await owner.release()
        again = await membership.take(0)
        assert {key: value async for key, value in again.documents()} == state
        assert len(await asyncio.to_thread(read_committed, kafka_bootstrap, topics.history)) == 5


async def test_a_tail_goes_on_at_the_earliest_record_that_retention_has_left(kafka_bootstrap: str) -> None:
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        place = TopicPartition(topics.history, 0)
        await log.append([out(topics.history, b"k", b"%d" % i) for i in range(10)])
        early = await log.tail([topics.history], {place: 2})
        await asyncio.to_thread(_delete_before, kafka_bootstrap, place, 6)
        late = await log.tail([topics.history], {place: 2})
        for tail in (late, early):
            values: list[bytes | None] = []
            async with asyncio.timeout(20):
                while b"9" not in values:
                    values += [record.value for record in await tail.poll(max_records=100, timeout=0.5)]
            assert values[-4:] == [b"6", b"7", b"8", b"9"]


async def test_a_position_past_the_end_of_its_inputs_stops_the_owner(kafka_bootstrap: str) -> None:
    """The topic was truncated or made anew: going on would skip what comes, or read other records under old offsets."""
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1"}, [], 7))
        await owner.release()
        with pytest.raises(CorruptRecord, match="past the end"):
            await membership.take(0)


async def test_no_broker_at_start_is_said_within_seconds() -> None:
    port = brokers.kafka.free_port()
    log = KafkaLog(f"127.0.0.1:{port}", clock=SystemClock(), development=True)
    async with asyncio.timeout(7):
        with pytest.raises(LogUnavailable, match=rf"127\.0\.0\.1:{port}.*kafka\.py up"):
            await log.open()
        await log.close()


@pytest.mark.parametrize("address", ["", "localhost", "kafka://127.0.0.1:9092", "127.0.0.1:9092,", "a b:1"])
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        KafkaLog(address, clock=SystemClock(), development=True)


async def test_a_log_that_is_not_open_says_so() -> None:
    log = KafkaLog("127.0.0.1:1", clock=SystemClock(), development=True)
    with pytest.raises(LogUnavailable, match="open"):
        await log.append([])
    await log.close()
