"""Subscriptions on the embedded log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.ports.topics import Topics
from sagaline.workers import Worker

from .dedup_contract import DedupContract
from .redrive_contract import RedriveContract
from .subscription_contract import PARTITIONS, Shipped, SubscriptionContract, SubscriptionWorld, shipped, until


class TestOnSqlite(SubscriptionContract, DedupContract, RedriveContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[SubscriptionWorld]:
        topics = Topics("t")
        path = tmp_path / "log.db"
        async with SqliteLog(path, clock=SystemClock(), member_timeout=timedelta(seconds=2)) as log:
            await log.create_topics(topics.specs([], PARTITIONS))
            yield SubscriptionWorld(log, topics)

    async def test_a_handler_that_outlives_the_grace_crashes_nothing(self, world: SubscriptionWorld) -> None:
        begun: list[int] = []
        worker = Worker("w", grace=timedelta(0))

        @worker.subscribes(shipped)
        async def handle(event: Shipped) -> None:
            begun.append(event.number)
            await asyncio.Event().wait()

        await world.publish(("k", 0), ("k", 1), ("k", 2))
        async with world.running(worker):
            await until(lambda: begun == [0])
        assert begun == [0]
