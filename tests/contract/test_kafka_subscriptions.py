"""Subscriptions on real Apache Kafka."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import Connection, KafkaLog
from sagaline.orchestrator.ports.topics import Topics

from .dedup_contract import DedupContract
from .redrive_contract import RedriveContract
from .subscription_contract import PARTITIONS, SubscriptionContract, SubscriptionWorld

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


class TestOnKafka(SubscriptionContract, DedupContract, RedriveContract):
    @pytest.fixture
    async def world(self, kafka_bootstrap: str) -> AsyncIterator[SubscriptionWorld]:
        topics = Topics(f"s{uuid.uuid4().hex[:12]}")
        connection = Connection(bootstrap=kafka_bootstrap)
        log = KafkaLog(connection, clock=SystemClock(), development=True, member_timeout=timedelta(seconds=6))
        await log.open()
        await log.create_topics(topics.specs([], PARTITIONS))
        yield SubscriptionWorld(log, topics)
        await log.close()
