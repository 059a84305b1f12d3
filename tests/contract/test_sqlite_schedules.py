"""Schedules on the embedded log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagaline.orchestrator.ports.log import Log
from tests.engine_world import open_log

from .schedule_contract import ScheduleContract


class TestOnSqlite(ScheduleContract):
    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[Log]:
        async with open_log(tmp_path / "log.db") as opened:
            yield opened
