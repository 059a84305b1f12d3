"""Hostile records among good ones on a real broker: the good ones end, nothing stalls, and every bad one is found."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka import TopicPartition as ReaderPartition

from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Headers
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import open_base, prepare_topics
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers.examples.ledger import Ledger

from .hostile_records import COMMAND_KINDS, INPUT_KINDS, TRACE, Hostile, draw
from .processes import ENGINE, WORKERS, saga

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long]

PARTITIONS = 2
SEED = 20_261_128
_QUIET = {"log_level": 0, "message.max.bytes": 8_000_000, "message.timeout.ms": 1_800_000}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Size(NamedTuple):
    """So many records in each round. A step of an order has 30 s: a round ends before the next one is written."""

    hostile: int
    good: int
    seconds: float
    rounds: int = 1


SHORT = Size(hostile=2_000, good=100, seconds=150)
LONG = Size(hostile=2_500, good=250, seconds=150, rounds=40)


def order(number: int) -> tuple[str, bytes, tuple[tuple[str, bytes], ...]]:
    key = f"A-{number}"
    lines = [{"sku": "tea", "quantity": 1}]
    input = {"order": {"id": key, "customer": "customer", "lines": lines, "total_cents": 1_000}}
    start = Start(id=uuid.uuid4().hex, definition=checkout.name, key=key, input=input)  # type: ignore[arg-type]  # JSON
    record = encode_request("", start, source="/test", now_ms=0)
    return start.instance, record.value or b"", record.headers


class Writer:
    """One librdkafka producer for each codec, used in turn."""

    def __init__(self, bootstrap: str) -> None:
        self._producers = [
            Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 5, **_QUIET})
            for codec in CODECS
        ]
        self._count = 0
        self._errors: list[str] = []
        self.refused: set[str] = set()
        """What the broker did not take: too large even when compressed."""

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        producer = self._producers[self._count // 50 % len(self._producers)]
        self._count += 1
        trace = dict(headers).get(TRACE, b"").decode()  # librdkafka does not always give the headers back

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._not_delivered(error, trace)

        while True:
            try:
                producer.produce(topic, value, key, partition, delivered, headers=list(headers))
                return
            except BufferError:
                producer.poll(0.1)

    def _not_delivered(self, error: KafkaError, trace: str) -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and trace:
            self.refused.add(trace)
        else:
            self._errors.append(error.str())  # librdkafka's caller could not bear an exception

    def flush(self) -> None:
        for producer in self._producers:
            assert producer.flush(1_800) == 0
        assert self._errors == []


def write(bootstrap: str, settings: Settings, size: Size, round: int) -> list[Hostile]:
    """Hostile records among starts on ``inputs``, and some on the queue of payments; what was hostile."""
    writer = Writer(bootstrap)
    inputs = f"{settings.namespace}.inputs"
    bad = draw(INPUT_KINDS, SEED + 2 * round, size.hostile, PARTITIONS)
    every = max(1, size.hostile // size.good)
    for number, record in enumerate(bad):
        writer.put(inputs, record.partition, record.key, record.value, record.headers)
        if number % every == 0 and number // every < size.good:
            instance, value, headers = order(round * size.good + number // every)
            writer.put(inputs, partition_of(instance.encode(), PARTITIONS), instance.encode(), value, headers)
    commands = draw(COMMAND_KINDS, SEED + 2 * round + 1, size.hostile // 10, PARTITIONS)
    for record in commands:
        writer.put(f"{settings.namespace}.commands.payment", record.partition, record.key, record.value, record.headers)
    writer.flush()
    return [record for record in bad + commands if record.id not in writer.refused]


class Ends:
    """What an independent reader has found so far in state, dead letters and history, committed records only."""

    def __init__(self, bootstrap: str, settings: Settings) -> None:
        self._state, self._dead, self._history = (
            f"{settings.namespace}.{name}" for name in ("state", "dead", "history")
        )
        self._statuses: dict[str, str] = {}
        self.buried, self.answered = set[str](), set[str]()
        self._reader = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "independent-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        topics = (self._state, self._dead, self._history)
        self._reader.assign([ReaderPartition(topic, number, 0) for topic in topics for number in range(PARTITIONS)])

    @property
    def statuses(self) -> Counter[str]:
        return Counter(self._statuses.values())

    def read(self) -> None:
        """Reads on, until nothing has come for a second."""
        while messages := self._reader.consume(5_000, 1.0):
            for message in messages:
                assert message.error() is None, message.error()
                headers, key = dict(message.headers() or []), message.key() or b""
                if message.topic() == self._dead:
                    self.buried.add(headers[TRACE].decode())
                elif message.topic() == self._history:
                    self.answered.add(headers["ce_requestid"].decode())
                elif key.startswith(b"order-checkout/A-") and message.value() is not None:
                    self._statuses[key.decode()] = json.loads(message.value() or b"")["status"]

    def close(self) -> None:
        self._reader.close()


def missing(bad: Sequence[Hostile], ends: Ends) -> list[Hostile]:
    return [record for record in bad if record.id not in ends.buried and record.id not in ends.answered]


async def play(bootstrap: str, folder: Path, size: Size) -> None:
    settings = Settings(
        log=f"kafka://{bootstrap}", namespace=f"hostile{uuid.uuid4().hex[:8]}", partitions=PARTITIONS, development=True
    )
    async with open_base(settings) as base:
        await prepare_topics(base, checkout.queues)
    async with saga(WORKERS, settings, folder) as workers, saga(ENGINE, settings, folder) as engine:
        await workers.ready()
        await engine.ready()
        with closing(Ends(bootstrap, settings)) as ends:
            for round in range(size.rounds):
                bad = await asyncio.to_thread(write, bootstrap, settings, size, round)
                limit = time.monotonic() + size.seconds
                while (lost := missing(bad, ends)) or ends.statuses["completed"] < size.good * (round + 1):
                    kinds = Counter(record.kind for record in lost)
                    assert time.monotonic() < limit, f"{ends.statuses}; not found: {kinds}; {engine.output[-3_000:]}"
                    await asyncio.to_thread(ends.read)
        assert await workers.stop() == 0, workers.output[-3_000:]
        assert await engine.stop() == 0, engine.output[-3_000:]
        assert "taking it again" not in engine.output, "a partition was given up"
    ledger = Ledger(folder / "ledger.db")
    assert ledger.done_twice() == []
    assert sum(books.charges for books in ledger.orders().values()) == size.good * size.rounds


@pytest.mark.timeout(300)
async def test_good_orders_end_among_hostile_records_and_every_bad_one_is_found(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    await play(kafka_bootstrap, tmp_path, SHORT)


@pytest.mark.skipif("SAGALINE_SOAK" not in os.environ, reason="make soak")
@pytest.mark.timeout(3_600)
async def test_ten_thousand_good_orders_end_among_a_hundred_thousand_hostile_records(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    await play(kafka_bootstrap, tmp_path, LONG)
