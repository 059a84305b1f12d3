"""The SQLite log passes the log port's suite; below it, what only one file can promise."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog

from .harness import Breakable
from .log_contract import LogContract


class TestSqliteLog(LogContract):
    deadline_seconds: ClassVar[float] = 0.3

    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[SqliteLog]:
        async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
            yield log

    @pytest.fixture
    async def second_log(self, log: SqliteLog, tmp_path: Path) -> AsyncIterator[SqliteLog]:
        async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as second:
            yield second

    @pytest.fixture
    async def breakable(self, log: SqliteLog, tmp_path: Path) -> AsyncIterator[Breakable]:
        """The other side of a file is its lock: somebody else takes it and keeps it."""
        locker = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        deadline = timedelta(seconds=self.deadline_seconds)

        async def cut() -> None:
            locker.execute("BEGIN IMMEDIATE")

        async def mend() -> None:
            locker.execute("ROLLBACK")

        async with SqliteLog(tmp_path / "log.db", clock=SystemClock(), deadline=deadline) as third:
            yield Breakable(third, cut, mend)
        locker.close()
