"""The log port's suite on real Apache Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.kafka_log import Connection, KafkaLog, Limits
from sagaline.orchestrator.ports.log import Log

from ..kafka.support import PATIENT
from .harness import Breakable
from .log_contract import LogContract

_SHORT = Limits(answer_s=2.0, commit_s=3.0, append_s=3.0, silence_s=4.0)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """Where the test's logs connect to: a broker that can be frozen, if the test is going to."""
    if "breakable" in request.fixturenames:
        return str(request.getfixturevalue("breakable_broker").address)
    return str(request.getfixturevalue("kafka_bootstrap"))


async def _opened(address: str, limits: Limits = PATIENT) -> KafkaLog:
    connection = Connection(bootstrap=address, limits=limits)
    log = KafkaLog(connection, clock=SystemClock(), development=True, member_timeout=timedelta(seconds=6))
    await log.open()
    return log


@pytest.mark.kafka
@pytest.mark.slow
class TestKafkaLog(LogContract):
    @pytest.fixture
    async def log(self, address: str) -> AsyncIterator[Log]:
        log = await _opened(address)
        yield log
        await log.close()

    @pytest.fixture
    async def second_log(self, address: str) -> AsyncIterator[Log]:
        log = await _opened(address)
        yield log
        await log.close()

    @pytest.fixture
    async def breakable(self, address: str, breakable_broker: Any) -> AsyncIterator[Breakable]:
        log = await _opened(address, _SHORT)

        async def cut() -> None:
            await asyncio.to_thread(breakable_broker.freeze)

        async def mend() -> None:
            await asyncio.to_thread(breakable_broker.thaw)

        yield Breakable(log, cut, mend)
        await mend()
        await log.close()
