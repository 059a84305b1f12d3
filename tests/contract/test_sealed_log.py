"""A sealed log passes the suite of the port in front of every log; below it, what only sealing promises."""

from __future__ import annotations

import re
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from structlog.testing import capture_logs

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.errors import ConfigurationError, CorruptRecord, MissingKey
from sagaline.orchestrator.ports.log import Batch, Log, Outgoing, Owner, Position, TopicPartition, TopicSpec
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.testing import Broker, MemoryLog
from sagaline.orchestrator.vault import KeyRing
from sagaline.orchestrator.vault.envelope import seal_record
from sagaline.orchestrator.vault.sealed_log import SealedLog

from .harness import QUEUE, Breakable, out, read, read_all
from .log_contract import LogContract

OLD, NEW = (f"{id}:{b64encode(bytes([number]) * 32).decode()}" for number, id in enumerate(("old", "new"), start=1))
SETTING = "SAGALINE_PAYLOAD_KEYS"
TOPICS = Topics("t")


def ring(*keys: str) -> KeyRing:
    return KeyRing(keys, SETTING)


def sealing(log: Log, *keys: str) -> SealedLog:
    return SealedLog(log, ring(*keys), TOPICS.namespace)


class Sealed(LogContract):
    """What both bindings share; they differ in how ``opened`` opens the log behind, and in how it is cut off."""

    deadline_seconds: ClassVar[float] = 0.3

    @pytest.fixture
    async def topics(self, log: Log) -> Topics:
        await log.create_topics(TOPICS.specs([QUEUE], self.partitions))
        return TOPICS


class TestSealedMemoryLog(Sealed):
    @pytest.fixture
    def broker(self) -> Broker:
        return Broker(SystemClock())

    @pytest.fixture
    async def log(self, broker: Broker) -> AsyncIterator[Log]:
        async with MemoryLog(broker) as log:
            yield sealing(log, NEW, OLD)

    @pytest.fixture
    async def second_log(self, broker: Broker) -> AsyncIterator[Log]:
        async with MemoryLog(broker) as log:
            yield sealing(log, NEW)

    @pytest.fixture
    async def breakable(self, broker: Broker) -> AsyncIterator[Breakable]:
        deadline = timedelta(seconds=self.deadline_seconds)
        async with MemoryLog(broker, deadline=deadline, member_timeout=timedelta(seconds=1)) as log:

            async def cut() -> None:
                log.cut()

            async def mend() -> None:
                log.mend()

            yield Breakable(sealing(log, NEW), cut, mend)


class TestSealedSqliteLog(Sealed):
    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[Log]:
        async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
            yield sealing(log, NEW, OLD)

    @pytest.fixture
    async def second_log(self, log: Log, tmp_path: Path) -> AsyncIterator[Log]:
        async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as second:
            yield sealing(second, NEW)

    @pytest.fixture
    async def breakable(self, log: Log, tmp_path: Path) -> AsyncIterator[Breakable]:
        locker = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        deadline = timedelta(seconds=self.deadline_seconds)

        async def cut() -> None:
            locker.execute("BEGIN IMMEDIATE")

        async def mend() -> None:
            locker.execute("ROLLBACK")

        async with SqliteLog(
            tmp_path / "log.db", clock=SystemClock(), deadline=deadline, member_timeout=timedelta(seconds=1)
        ) as third:
            yield Breakable(sealing(third, NEW), cut, mend)
        locker.close()


def bytes_in(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


SECRET = b'{"card": "4000-0000-0000-0002"}'
HEADERS = (("ce_id", b"1"), ("ce_progress", b'{"said": "a-secret-word"}'))


@pytest.fixture
async def inner(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
        await log.create_topics([*TOPICS.specs([QUEUE], 2), TopicSpec("orders", 2, "delete")])
        yield log


async def commits(log: Log, key: bytes, value: bytes) -> None:
    async with owning(log) as owner:
        await owner.commit(Batch({key: value}, [out(TOPICS.history, key, value, 0)], Position(0, 1)))


@asynccontextmanager
async def owning(log: Log) -> AsyncIterator[Owner]:
    membership = await log.join(TOPICS.inputs, TOPICS.state, "engine")
    await membership.changed()
    owner = await membership.take(0)
    yield owner
    await owner.release()
    await membership.leave()


async def test_nothing_of_a_record_can_be_read_without_the_key(inner: SqliteLog, tmp_path: Path) -> None:
    log = sealing(inner, NEW)
    await log.append([Outgoing(TOPICS.inputs, b"k", SECRET, HEADERS, 0)])
    await commits(log, b"k", SECRET)
    for topic in (TOPICS.inputs, TOPICS.history):
        (stored,) = await read_all(inner, topic)
        assert dict(stored.headers)["sagaline-key"] == b"new"
        assert stored.key == b"k"
        (opened,) = await read_all(log, topic)
        assert opened.value == SECRET
    assert (await read_all(log, TOPICS.inputs))[0].headers == HEADERS
    on_disk = bytes_in(tmp_path)
    assert b"4000-0000" not in on_disk
    assert b"a-secret-word" not in on_disk


async def test_topics_of_others_are_written_as_they_are(inner: SqliteLog) -> None:
    await sealing(inner, NEW).append([Outgoing("orders", b"k", SECRET)])
    assert [each.value for each in await read_all(inner, "orders")] == [SECRET]


@pytest.mark.parametrize("keys", [(), (NEW,)])
async def test_what_only_looks_sealed_in_a_topic_of_others_stops_nobody(
    inner: SqliteLog, keys: tuple[str, ...]
) -> None:
    log, values = sealing(inner, *keys), [b"\x00SGL\x03oldrubbish", b"\x00SGL\x03newrubbish", b"\x00SGL", b"after"]
    for value in values:
        await inner.append([out("orders", b"k", value, 0)])
    subscription = await log.subscribe(["orders"], "readers")
    assert [each.value for each in await read(subscription, 4)] == values
    await subscription.close()
    assert [each.value for each in await read_all(log, "orders")] == values


async def test_what_another_namespace_has_sealed_is_opened_by_its_key(inner: SqliteLog) -> None:
    await inner.create_topics([TopicSpec("other.events", 2, "delete")])
    await SealedLog(inner, ring(OLD), "other").append([out("other.events", b"k", SECRET, 0)])
    (opened,) = await read_all(sealing(inner, NEW, OLD), "other.events")
    assert opened.value == SECRET


async def test_after_a_rotation_old_and_plain_records_are_read(inner: SqliteLog) -> None:
    for log in (inner, sealing(inner, OLD), sealing(inner, NEW, OLD)):
        await log.append([out(TOPICS.inputs, b"k", SECRET, 0)])
    await commits(sealing(inner, OLD), b"old", b"1")
    log = sealing(inner, NEW, OLD)
    await commits(log, b"new", b"2")
    assert [each.value for each in await read_all(log, TOPICS.inputs)] == [SECRET] * 3
    async with owning(log) as owner:
        assert (owner.get(b"old"), owner.get(b"new")) == (b"1", b"2")
        assert {key: value async for key, value in owner.documents()} == {b"old": b"1", b"new": b"2"}


@pytest.mark.parametrize("keys", [(), (NEW,)])
async def test_a_missing_key_stops_its_reader_there_and_nothing_is_lost(
    inner: SqliteLog, keys: tuple[str, ...]
) -> None:
    await inner.append([out(TOPICS.inputs, b"k", b"before", 0)])
    await sealing(inner, OLD).append([out(TOPICS.inputs, b"k", b"sealed", 0)])
    await inner.append([out(TOPICS.inputs, b"k", b"after", 0)])
    log = sealing(inner, *keys)
    place = TopicPartition(TOPICS.inputs, 0)
    said = f"{TOPICS.inputs}/0/1: it is sealed by the key 'old', which is not in {SETTING}"
    tail = await log.tail([TOPICS.inputs], "earliest")
    subscription = await log.subscribe([TOPICS.inputs], "readers")
    async with owning(log) as owner:
        for reader in (owner, tail, subscription):
            assert [each.value for each in await read(reader, 1)] == [b"before"]
            for _ in range(2):
                with pytest.raises(MissingKey, match=re.escape(said)):
                    await reader.poll(max_records=10, timeout=1)
    assert tail.positions()[place] == 1, "who opens it again begins at the record that could not be opened"
    await tail.close()
    await subscription.close()
    with_key = sealing(inner, NEW, OLD)
    assert [each.value for each in await read_all(with_key, TOPICS.inputs)] == [b"before", b"sealed", b"after"]
    async with owning(with_key) as owner:
        assert [each.value for each in await read(owner, 3)] == [b"before", b"sealed", b"after"]


async def test_a_record_that_was_moved_or_altered_is_not_opened(inner: SqliteLog) -> None:
    log = sealing(inner, NEW)
    await log.append([out(TOPICS.inputs, b"k", SECRET, 0)])
    (stored,) = await read_all(inner, TOPICS.inputs)
    assert stored.value is not None
    altered = stored.value[:-1] + bytes([stored.value[-1] ^ 1])
    moves = [
        (TOPICS.history, b"k", stored.value),
        (TOPICS.events, b"other", stored.value),
        (TOPICS.dead, b"k", altered),
    ]
    for topic, key, value in (
        *moves,
        (TOPICS.archive, b"k", stored.value[:4]),
        (TOPICS.archive, b"k", b"\x00SGL\x03new"),
    ):
        await inner.append([Outgoing(topic, key, value, stored.headers, 0)])
        with pytest.raises(CorruptRecord):
            await read_all(log, topic)


async def test_an_altered_record_stops_its_partition_and_no_other(inner: SqliteLog) -> None:
    """It is said once, and who gets the partition next stands there too."""
    queue, log = TOPICS.commands(QUEUE), sealing(inner, NEW)
    sealed = seal_record(ring(NEW), out(queue, b"k", SECRET, 0))
    assert sealed.value is not None
    await log.append([out(queue, b"k", b"before", 0)])
    await inner.append([sealed._replace(value=sealed.value[:-1] + bytes([sealed.value[-1] ^ 1]))])
    await log.append([out(queue, b"k", b"behind", 0), out(queue, b"k", b"other", 1)])
    with capture_logs() as said:
        subscription = await log.subscribe([queue], "workers")
        found = await read(subscription, 2)
        await log.append([out(queue, b"k", b"behind", 0), out(queue, b"k", b"more", 1)])
        found += await read(subscription, 1)
    assert {(each.partition, each.value) for each in found} == {(0, b"before"), (1, b"other"), (1, b"more")}
    assert [line["reason"].partition(": ")[0] for line in said] == [f"{queue}/0/1"]
    await subscription.commit({TopicPartition(queue, 0): 1, TopicPartition(queue, 1): 2})
    await subscription.close()
    await log.append([out(queue, b"k", b"last", 1)])
    again = await log.subscribe([queue], "workers")
    assert [(each.partition, each.value) for each in await read(again, 1)] == [(1, b"last")]
    await again.close()


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        (["nothing"], "key 1 of SAGALINE_PAYLOAD_KEYS has no id|is not base64"),
        ([":" + OLD.partition(":")[2]], "has no id"),
        (["old:c2hvcnQ="], "'old', is not base64 of 32 bytes"),
        ([OLD, OLD], "has the id of another one, 'old'"),
    ],
)
def test_a_key_that_cannot_be_used_is_named_and_not_shown(keys: list[str], wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong) as raised:
        ring(*keys)
    assert not any(each.partition(":")[2] in str(raised.value) for each in keys if each.partition(":")[2])
