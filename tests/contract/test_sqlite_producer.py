"""The producer on the embedded log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator import wiring
from sagaline.orchestrator.settings import Settings

from .producer_contract import ProducerContract, ProducerWorld


class TestOnSqlite(ProducerContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[ProducerWorld]:
        settings = Settings(log=f"sqlite:///{tmp_path}/log.db", partitions=2, member_timeout=timedelta(seconds=2))
        async with wiring.open_base(settings) as base:
            await wiring.prepare_topics(base, ())
            yield ProducerWorld(settings, base)
