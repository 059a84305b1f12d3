"""A read model on Kafka knows its log again, and another one of the same names when topics were made anew."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import KafkaLog
from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.codec.documents import encode_document, encode_history
from sagaline.orchestrator.errors import ForeignLog, LogUnavailable, TopicMismatch
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.projector import Projector
from tests.contract.read_model_contract import document, row
from tests.unit.stack import running

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(180)]

PARTITIONS, DECISIONS = 2, 40


def log_at(address: str) -> KafkaLog:
    return KafkaLog(address, clock=SystemClock(), development=True, replication_factor=1)


def decisions(topics: Topics, name: str) -> list[Outgoing]:
    found: list[Outgoing] = []
    for n in range(DECISIONS):
        made = document(f"{name}-{n}")
        history = encode_history(
            topics.history, n % PARTITIONS, row(0, f"{name}-{n}").record, id="1", request="r", source="/t"
        )
        found += [Outgoing(topics.state, made.id.encode(), encode_document(made), (), n % PARTITIONS), history]
    return found


async def made(log: KafkaLog, topics: Topics) -> None:
    """Topics that have just been deleted may linger for a moment."""
    for attempt in range(40):
        try:
            await log.create_topics(topics.specs([], PARTITIONS))
            if all(end == 0 for end in (await log.end_offsets([topics.state, topics.history])).values()):
                return
        except (LogUnavailable, TopicMismatch):
            if attempt == 39:
                raise
        await asyncio.sleep(0.5)


def deleted(address: str, topics: Topics) -> None:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    names = [spec.name for spec in topics.specs([], PARTITIONS)]
    for gone in admin.delete_topics(names).values():
        gone.result(20)


async def test_topics_that_were_made_anew_are_another_log(kafka_bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(f"read{uuid.uuid4().hex[:8]}")
    read_model = await SqlReadModel.open(f"sqlite:///{tmp_path}/read.db", namespace=topics.namespace)
    async with log_at(kafka_bootstrap) as log:
        await made(log, topics)
        await log.append(decisions(topics, "A"))
        projector = Projector(log, topics, read_model, SystemClock())
        async with running(projector.run()):
            await projector.caught_up(timeout=30)
        await Projector(log, topics, read_model, SystemClock()).check()
        again = Projector(log, topics, read_model, SystemClock())
        async with running(again.run()):
            await again.followed(timeout=30)
            assert again.rebuilds == 0
    await asyncio.to_thread(deleted, kafka_bootstrap, topics)
    async with log_at(kafka_bootstrap) as log:
        await made(log, topics)
        await log.append(decisions(topics, "B"))
        await log.append(decisions(topics, "C"))
        projector = Projector(log, topics, read_model, SystemClock())
        with pytest.raises(ForeignLog, match="has another record at offset"):
            await projector.check()
        assert await read_model.get("order-checkout/A-1") == document("A-1")
        await read_model.clear()
        async with running(projector.run()):
            await projector.caught_up(timeout=30)
        assert await read_model.get("order-checkout/A-1") is None
        assert await read_model.get("order-checkout/C-1") == document("C-1")
    await read_model.close()
