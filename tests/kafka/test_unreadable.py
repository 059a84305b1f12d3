"""A batch that can never be read: its partition stands still by name, others go on, an operator steps over it."""

from __future__ import annotations

import asyncio
import os
import struct
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.record.util import calc_crc32c

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import Connection, KafkaLog, KafkaTopics
from sagaline.orchestrator.adapters.kafka_log.careful import read_carefully
from sagaline.orchestrator.cli.step_over import step_over
from sagaline.orchestrator.codec.documents import decode_history
from sagaline.orchestrator.errors import ConfigurationError, LogUnavailable, MissingKey, UnreadableBatch
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Outgoing, Record, TopicPartition
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.runtime.watch import Watch
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.vault import KeyRing
from sagaline.orchestrator.vault.envelope import seal_record
from sagaline.orchestrator.vault.sealed_log import SealedLog

from ..engine_world import PARTITIONS, two_steps, world
from .support import QUEUE, SHORT, batch, fresh, member, opened, out

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ATTRIBUTES, RECORDS = 21, 61
VALUES = [b"one" * 40, b"two" * 40, b"three" * 40]


def _codec(number: int) -> Callable[[bytearray], None]:
    """Says that the records are compressed, which they are not; the checksum is right."""

    def change(data: bytearray) -> None:
        struct.pack_into(">h", data, ATTRIBUTES, number)
        struct.pack_into(">I", data, ATTRIBUTES - 4, calc_crc32c(bytes(data[ATTRIBUTES:])))

    return change


def _checksum(data: bytearray) -> None:
    data[-10] ^= 0xFF


def _absurd(data: bytearray) -> None:
    """The length of the first record is beyond the batch."""
    data[RECORDS : RECORDS + 2] = b"\xfe\x7f"
    struct.pack_into(">I", data, ATTRIBUTES - 4, calc_crc32c(bytes(data[ATTRIBUTES:])))


HARMS = {
    "a wrong checksum": _checksum,
    "no gzip": _codec(1),
    "no snappy": _codec(2),
    "no lz4": _codec(3),
    "no zstd": _codec(4),
    "an unknown codec": _codec(6),
    "an absurd record": _absurd,
}


def _harm(folder: Path, topic: str, partition: int, number: int, change: Callable[[bytearray], None]) -> None:
    """Changes one batch in the broker's own file: it lets no client write such a one."""
    file = folder / "logs" / f"{topic}-{partition}" / "00000000000000000000.log"
    data, start = bytearray(file.read_bytes()), 0
    for _ in range(number):
        start += 12 + struct.unpack_from(">i", data, start + 8)[0]
    end = start + 12 + struct.unpack_from(">i", data, start + 8)[0]
    harmed = data[start:end]
    change(harmed)
    with file.open("r+b") as opened_file:
        opened_file.seek(start)
        opened_file.write(harmed)


async def _three(log: KafkaLog, topic: str, partition: int = 0) -> None:
    """Three batches of one record."""
    for value in VALUES:
        await log.append([out(topic, b"k", value, partition=partition)])


async def _until_unreadable(poll: Callable[[], Any]) -> tuple[list[Record], UnreadableBatch]:
    found: list[Record] = []
    async with asyncio.timeout(30):
        while True:
            try:
                found += await poll()
            except UnreadableBatch as error:
                return found, error


@pytest.mark.parametrize("harm", HARMS)
async def test_an_owner_stands_at_the_batch_and_goes_on_behind_it(breakable_broker: Any, harm: str) -> None:
    async with opened(breakable_broker.address) as log:
        topics = await fresh(log)
        await _three(log, topics.inputs)
        _harm(breakable_broker.data, topics.inputs, 0, 1, HARMS[harm])
        membership = await member(log, topics)
        owner = await membership.take(0)
        found, error = await _until_unreadable(lambda: owner.poll(max_records=10, timeout=1.0))
        assert [record.value for record in found] == VALUES[:1]
        assert (error.where, error.following) == (f"{topics.inputs}/0/1", 2)
        with pytest.raises(UnreadableBatch):
            await owner.poll(max_records=10, timeout=1.0)
        await owner.commit(batch({}, [], 1))
        await owner.release()

        def note(given_up: UnreadableBatch) -> Outgoing:
            return out(topics.history, b"~", given_up.where.encode())

        here = KafkaTopics(topics.inputs, topics.state)
        with pytest.raises(ConfigurationError, match="is stopped at offset 1"):
            await log.step_over_inputs(here, 0, 2, note)
        await log.step_over_inputs(here, 0, 1, note)
        with pytest.raises(ConfigurationError, match="can be read"):
            await log.step_over_inputs(here, 0, 1, note)
        again = await membership.take(0)
        assert again.position.offset == 2
        assert [record.value for record in await again.poll(max_records=10, timeout=5.0)] == VALUES[2:]
        tail = await log.tail([topics.history], "earliest")
        assert [record.value for record in await tail.poll(max_records=10, timeout=5.0)] == [error.where.encode()]


async def test_a_worker_goes_on_with_its_other_partitions(breakable_broker: Any) -> None:
    async with opened(breakable_broker.address) as log:
        topics = await fresh(log)
        queue, group = topics.commands(QUEUE), f"{topics.namespace}.worker.{QUEUE}"
        for partition in (0, 1):
            await _three(log, queue, partition)
        _harm(breakable_broker.data, queue, 0, 1, _codec(4))
        subscription = await log.subscribe([queue], group)
        found: list[Record] = []
        async with asyncio.timeout(30):
            while len(found) < 4:
                found += await subscription.poll(max_records=10, timeout=1.0)
        assert sorted((r.partition, r.offset) for r in set(found)) == [(0, 0), (1, 0), (1, 1), (1, 2)]
        await log.append([out(queue, b"k", b"more", partition=1)])
        assert [r.value for r in await subscription.poll(max_records=10, timeout=10.0)] == [b"more"]
        settings = Settings(log=f"kafka://{breakable_broker.address}", namespace=topics.namespace, development=True)
        place = f"{queue}/0/1"
        with pytest.raises(ConfigurationError, match=r"from offset 0 on are unfinished .* start what reads"):
            await asyncio.to_thread(step_over, settings, place, reason="a test", by="ann")
        await subscription.commit({TopicPartition(queue, 0): 1})
        with pytest.raises(ConfigurationError, match="stop the workers"):
            await asyncio.to_thread(step_over, settings, place, reason="a test", by="ann")
        await subscription.close()
        await asyncio.to_thread(step_over, settings, place, reason="a test", by="ann")
        with pytest.raises(ConfigurationError, match="is at offset 2"):
            await asyncio.to_thread(step_over, settings, place, reason="a test", by="ann")
        again = await log.subscribe([queue], group)
        async with asyncio.timeout(30):
            while not (behind := [r for r in await again.poll(max_records=10, timeout=1.0) if r.partition == 0]):
                pass
        assert [r.value for r in behind] == VALUES[2:]


async def test_what_is_read_carefully_is_bounded_and_a_worker_gets_on_all_the_same(breakable_broker: Any) -> None:
    """A backlog before the bad batch is handed out in parts: it need not fit into memory."""
    async with opened(breakable_broker.address) as log:
        topics = await fresh(log)
        queue, values = topics.commands(QUEUE), [os.urandom(800_000) for _ in range(14)]
        for value in [*values, b"bad"]:
            await log.append([out(queue, b"k", value, partition=0)])
        _harm(breakable_broker.data, queue, 0, len(values), _checksum)
        place = TopicPartition(queue, 0)
        connection = Connection(bootstrap=breakable_broker.address, limits=SHORT)
        found = await read_carefully(connection, place, 0, "read_committed")
        assert len(found.records) == 11, "8 MiB, and the record that passes it"
        assert found.unreadable is None
        subscription = await log.subscribe([queue], "a-group")
        got: list[Record] = []
        async with asyncio.timeout(60):
            while len(got) < len(values):
                got += await subscription.poll(max_records=100, timeout=1.0)
        assert [record.value for record in got] == values


async def test_a_sealed_record_that_was_altered_is_stepped_over(kafka_bootstrap: str) -> None:
    """Not one whose key is only missing here: with the key it can be read."""
    keys = [f"new:{b64encode(bytes(32)).decode()}"]
    async with opened(kafka_bootstrap) as log:
        topics = await fresh(log)
        queue, group = topics.commands(QUEUE), f"{topics.namespace}.worker.{QUEUE}"
        sealed = SealedLog(log, KeyRing(keys, "KEYS"), topics.namespace)
        for topic in (topics.inputs, queue):
            record = seal_record(KeyRing(keys, "KEYS"), out(topic, b"k", VALUES[0]))
            assert record.value is not None
            await sealed.append([out(topic, b"k", VALUES[0])])
            await log.append([record._replace(value=record.value[:-1] + bytes([record.value[-1] ^ 1]))])
            await sealed.append([out(topic, b"k", VALUES[2])])
        membership = await member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({}, [], 1))
        await owner.release()
        workers = await log.subscribe([queue], group)
        assert await workers.poll(max_records=1, timeout=30.0)
        await workers.commit({TopicPartition(queue, 0): 1})
        await workers.close()

        async def step(place: str, **more: Any) -> None:
            address, namespace = f"kafka://{kafka_bootstrap}", topics.namespace
            settings = Settings(log=address, namespace=namespace, development=True, **more)
            await asyncio.to_thread(step_over, settings, place, reason="a test", by="ann")

        for topic in (topics.inputs, queue):
            with pytest.raises(MissingKey, match="'new'"):
                await step(f"{topic}/0/1")
            await step(f"{topic}/0/1", payload_keys=keys)
        with pytest.raises(ConfigurationError, match="can be read"):
            await step(f"{queue}/0/2", payload_keys=keys)
        assert (await membership.take(0)).position.offset == 2
        found = await (await sealed.subscribe([queue], group)).poll(max_records=10, timeout=30.0)
        assert [record.value for record in found] == VALUES[2:]
        noted = await (await log.tail([topics.history], "earliest")).poll(max_records=10, timeout=5.0)
        assert "it was altered" in decode_history(noted[0]).reason


async def test_a_place_that_is_not_there_is_not_stepped_over(breakable_broker: Any) -> None:
    async with opened(breakable_broker.address) as log:
        topics = await fresh(log)
        queue = topics.commands(QUEUE)
        settings = Settings(log=f"kafka://{breakable_broker.address}", namespace=topics.namespace, development=True)
        for place, wrong in (
            (f"{queue}/0/7", "has no offset 7"),
            (f"{queue}/9/0", "has no partition 9: give 0 to 1"),
            (f"{topics.inputs}/9/0", "has no partition 9: give 0 to 1"),
        ):
            with pytest.raises(ConfigurationError, match=wrong):
                await asyncio.to_thread(step_over, settings, place, reason="a test", by="ann")


async def test_a_tail_loses_nothing_of_its_other_partitions(breakable_broker: Any) -> None:
    async with opened(breakable_broker.address) as log:
        topics = await fresh(log)
        for partition in (0, 1):
            await _three(log, topics.history, partition)
        _harm(breakable_broker.data, topics.history, 0, 1, _checksum)
        tail = await log.tail([topics.history], "earliest")
        found, error = await _until_unreadable(lambda: tail.poll(max_records=10, timeout=1.0))
        assert sorted((r.partition, r.offset) for r in found) == [(0, 0), (1, 0), (1, 1), (1, 2)]
        assert error.offset == 1


async def test_an_engine_stands_by_name_until_an_operator_steps_over(
    breakable_broker: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The other partition goes on, it is said once, and the reason stands in the history."""
    async with opened(breakable_broker.address) as log:
        topics = Topics("test")
        await log.create_topics(topics.specs([QUEUE, "work"], PARTITIONS))
        keys = [str(n) for n in range(40)]
        here = [key for key in keys if partition_of(f"pair/{key}".encode(), PARTITIONS) == 0]
        there = [key for key in keys if partition_of(f"pair/{key}".encode(), PARTITIONS) == 1]
        await log.append([out(topics.inputs, b"pair/x", b"{}", partition=0)])
        _harm(breakable_broker.data, topics.inputs, 0, 0, _codec(2))
        async with world(log, [two_steps()]) as w:
            await w.command(await w.start(there[0]), "first")
            async with asyncio.timeout(30):
                while not w.engine.standing:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert "test.inputs/0/0" in w.engine.standing[0]
            assert w.engine.alarm == w.engine.standing[0]
            watch = Watch(log, topics, SystemClock(), Metrics(), group="test.engine")
            with pytest.raises(LogUnavailable, match=r"test\.inputs/0/0: this batch can never be read"):
                await watch.check()  # as a process without an engine
            behind = await w.start(here[0])
            await asyncio.sleep(3.0)
            assert w.metrics.counts["partitions.stopped"] == 1
            settings = Settings(log=f"kafka://{breakable_broker.address}", namespace="test", development=True)
            await asyncio.to_thread(step_over, settings, "test.inputs/0/0", reason="written by a test", by="ann")
            await w.command(behind, "first")
            assert not w.engine.standing
            entries = [decode_history(r) for r in await w.everything(topics.history) if r.key == b"~test.inputs/0"]
            assert "written by a test (by ann)" in entries[0].reason
    assert "skipped offsets 0 to 0" in capfd.readouterr().out
