"""``saga outbox relay`` as processes that are killed again and again, read by an independent reader of the log."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.ports.log import TopicSpec
from sagaline.orchestrator.settings import Settings
from sagaline.workers.sql import Outbox
from tests.kafka.processes import saga
from tests.sql_kit import Home, home_of

pytestmark = pytest.mark.slow

KEYS, EACH = 6, 200


def records(log: Path) -> dict[str, list[int]]:
    """Of each key, as they are in the file: by SQL, not by our own code."""
    found: dict[str, list[int]] = defaultdict(list)
    with closing(sqlite3.connect(log)) as connection:
        # An id holds partition and offset; other records here have other keys.
        for key, value in connection.execute("SELECT key, value FROM records WHERE key IS NOT NULL ORDER BY id"):
            if not key.startswith(b"k"):
                continue
            found[key.decode()].append(int(value))
    return found


@pytest.mark.parametrize("driver", ["sqlite+pysqlite", "postgresql+psycopg"])
@pytest.mark.timeout(200)
async def test_killed_relays_lose_nothing_and_keep_the_order_of_each_key(
    driver: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    home = home_of(driver, tmp_path, request)
    settings = Settings(log=f"sqlite:///{tmp_path / 'log.db'}", namespace="t", partitions=2)
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
        await log.create_topics([TopicSpec("orders", 2, "delete")])
    outbox = Outbox("t")

    def add(start: int, end: int) -> None:
        for number in range(start, end):
            with Session(home.plain) as session, session.begin():
                for key in range(KEYS):
                    outbox.send(session, "orders", f"k{key}".encode(), str(number).encode())

    arguments = ("outbox", "relay", "--database", home.url)
    for round_ in range(4):
        async with saga(arguments, settings, tmp_path) as first, saga(arguments, settings, tmp_path) as second:
            await first.ready()
            await second.ready()
            adding = asyncio.create_task(asyncio.to_thread(add, round_ * EACH // 4, (round_ + 1) * EACH // 4))
            await asyncio.sleep(0.1 * round_)
            await first.kill()
            await adding
            await second.kill()
        # As if the lease of the killed was over.
        home.run("UPDATE sagaline_outbox_lanes SET until_ms = 0")
    async with saga(arguments, settings, tmp_path) as last:
        await last.ready()  # before that a signal ends it at once
        async with asyncio.timeout(60):
            while await asyncio.to_thread(waiting, home):  # noqa: ASYNC110  # another process works
                await asyncio.sleep(0.05)
        assert await last.stop() == 0
    found = records(tmp_path / "log.db")
    assert {key: list(dict.fromkeys(numbers)) for key, numbers in found.items()} == {
        f"k{key}": list(range(EACH)) for key in range(KEYS)
    }
    home.plain.dispose()


def waiting(home: Home) -> bool:
    return home.rows("SELECT count(*) FROM sagaline_outbox") != [(0,)]
