"""Subscriptions on the embedded log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.ports.topics import Topics

from .dedup_contract import DedupContract
from .redrive_contract import RedriveContract
from .subscription_contract import PARTITIONS, SubscriptionContract, SubscriptionWorld


class TestOnSqlite(SubscriptionContract, DedupContract, RedriveContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[SubscriptionWorld]:
        topics = Topics("t")
        path = tmp_path / "log.db"
        async with SqliteLog(path, clock=SystemClock(), member_timeout=timedelta(seconds=2)) as log:
            await log.create_topics(topics.specs([], PARTITIONS))
            yield SubscriptionWorld(log, topics)
