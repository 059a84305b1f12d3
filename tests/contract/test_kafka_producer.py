"""The producer on real Apache Kafka."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from sagaline.orchestrator import wiring
from sagaline.orchestrator.settings import Settings

from .producer_contract import ProducerContract, ProducerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


class TestOnKafka(ProducerContract):
    @pytest.fixture
    async def world(self, kafka_bootstrap: str) -> AsyncIterator[ProducerWorld]:
        namespace = f"p{uuid.uuid4().hex[:12]}"
        settings = Settings(log=f"kafka://{kafka_bootstrap}", namespace=namespace, partitions=2, development=True)
        async with wiring.open_base(settings) as base:
            await wiring.prepare_topics(base, ())
            yield ProducerWorld(settings, base)
