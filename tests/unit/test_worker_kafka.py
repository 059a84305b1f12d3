"""The worker on real Apache Kafka: shared queues, a crash in the middle, and nothing lost or done twice."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import Connection, KafkaLog
from sagaline.orchestrator.ports.topics import Topics
from sagaline.workers import Context, SqliteInbox, Worker, WorkerCrashed

from ..worker_world import PARTITIONS, QUEUES, Pack, Packed, WorkerWorld, pack

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
SCHEMA = "CREATE TABLE IF NOT EXISTS parcels (parcel TEXT NOT NULL);"


@pytest.fixture
async def world(kafka_bootstrap: str) -> AsyncIterator[WorkerWorld]:
    topics = Topics(f"w{uuid.uuid4().hex[:12]}")
    connection = Connection(bootstrap=kafka_bootstrap)
    log = KafkaLog(connection, clock=SystemClock(), development=True, member_timeout=timedelta(seconds=6))
    await log.open()
    await log.create_topics(topics.specs(QUEUES, PARTITIONS))
    yield WorkerWorld(log, topics, await log.tail([topics.inputs], "earliest"))
    await log.close()


def packer(inbox: SqliteInbox, deadly: list[str]) -> Worker:
    worker = Worker("packer", inbox=inbox)

    @worker.handles(pack)
    async def handle(command: Pack, ctx: Context) -> Packed:
        ctx.execute("INSERT INTO parcels VALUES (?)", (ctx.effect_key,))
        if ctx.instance in deadly:
            deadly.remove(ctx.instance)
            raise SystemExit("in the middle")
        return Packed(parcel=ctx.instance)

    return worker


async def test_what_a_crashed_worker_left_is_answered_by_the_next_and_done_once(
    world: WorkerWorld, tmp_path: Path
) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db", schema=SCHEMA)
    instances = [f"order/{i}" for i in range(200)]
    await world.send(*(world.command(instance) for instance in instances))
    deadly = ["order/150"]
    with pytest.raises(WorkerCrashed):
        async with asyncio.timeout(30):
            await world.until_crash(packer(inbox, deadly))
    async with world.running(packer(inbox, deadly)):
        answered: set[str] = set()
        while len(answered) < len(instances):
            answered |= {reply.instance for reply in await world.replies(1)}
    with closing(sqlite3.connect(tmp_path / "inbox.db")) as connection:
        done = [key for (key,) in connection.execute("SELECT parcel FROM parcels")]
    assert sorted(done) == sorted(f"{instance}/pack~k3x9wq2z" for instance in instances)
    assert await world.uncommitted(wait_seconds=3.0) == []
    await inbox.close()
