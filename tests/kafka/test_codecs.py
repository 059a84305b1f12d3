"""Every codec that a Kafka client may write is read: on inputs, commands, history, and in the state at restore."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from sagaline.orchestrator.ports.log import Record

from .support import QUEUE, batch, fresh, member, opened, out

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CODECS = ["gzip", "snappy", "lz4", "zstd"]
VALUES = [json.dumps({"number": number, "pad": "x" * 500}).encode() for number in range(40)]


def _produce(address: str, topic: str, codec: str) -> None:
    """What another client writes: one batch of 40 records, compressed by its own library (librdkafka)."""
    producer = Producer({"bootstrap.servers": address, "compression.type": codec, "linger.ms": 50, "log_level": 0})
    for value in VALUES:
        producer.produce(topic, value, b"k", partition=0, headers=[("ce_type", b"x")])
    assert producer.flush(20) == 0


def _set(address: str, topic: str, config: Mapping[str, str]) -> None:
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)


@pytest.mark.parametrize("codec", CODECS)
async def test_a_batch_of_another_client_is_read_whatever_its_codec(kafka_bootstrap: str, codec: str) -> None:
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        places = [topics.inputs, topics.commands(QUEUE), topics.history]
        for topic in places:
            await asyncio.to_thread(_produce, kafka_bootstrap, topic, codec)
        owner = await (await member(log, topics)).take(0)
        readers = [
            owner,
            await log.subscribe([topics.commands(QUEUE)], "w"),
            await log.tail([topics.history], "earliest"),
        ]
        for reader in readers:
            found: list[Record] = []
            async with asyncio.timeout(20):
                while len(found) < len(VALUES):
                    found += await reader.poll(max_records=100, timeout=1.0)
            assert [record.value for record in found] == VALUES
            assert found[0].headers == (("ce_type", b"x"),)


@pytest.mark.parametrize("codec", CODECS)
async def test_a_topic_may_compress_what_is_written_to_it(kafka_bootstrap: str, codec: str) -> None:
    """The broker recompresses by the topic's own ``compression.type``: also what the owner must restore."""
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        for topic in (topics.inputs, topics.state, topics.history):
            await asyncio.to_thread(_set, kafka_bootstrap, topic, {"compression.type": codec})
        await log.append([out(topics.inputs, b"k", value) for value in VALUES])
        membership = await member(log, topics)
        owner = await membership.take(0)
        assert len(await owner.poll(max_records=100, timeout=5.0)) == len(VALUES)
        state: dict[bytes, bytes | None] = {b"k%d" % number: value for number, value in enumerate(VALUES)}
        await owner.commit(batch(state, [out(topics.history, b"k", value) for value in VALUES], len(VALUES)))
        await owner.release()
        again = await membership.take(0)
        assert {key: value async for key, value in again.documents()} == state
        tail = await log.tail([topics.history], "earliest")
        assert len(await tail.poll(max_records=100, timeout=5.0)) == len(VALUES)
