"""Schedules on real Apache Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import Connection, KafkaLog
from sagaline.orchestrator.ports.log import Log

from .schedule_contract import ScheduleContract

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


class TestOnKafka(ScheduleContract):
    @pytest.fixture
    async def log(self, kafka_bootstrap: str) -> AsyncIterator[Log]:
        connection = Connection(bootstrap=kafka_bootstrap)
        log = KafkaLog(connection, clock=SystemClock(), development=True, member_timeout=timedelta(seconds=6))
        await log.open()
        yield log
        await log.close()
