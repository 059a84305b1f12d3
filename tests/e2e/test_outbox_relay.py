"""``saga outbox relay`` as processes that are killed again and again, read by an independent reader of the log."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy.orm import Session

from sagaline.orchestrator.ports.log import TopicSpec
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import open_base, prepare_topics
from sagaline.workers.sql import Outbox
from tests.kafka.processes import saga
from tests.kafka.support import read_committed
from tests.sql_kit import Home, home_of

pytestmark = [pytest.mark.slow, pytest.mark.long]

KEYS, EACH = 6, 200


class Published(NamedTuple):
    key: bytes
    value: bytes
    headers: bytes
    """Contain the message's id."""


def in_file(log: Path) -> list[Published]:
    """What was published, as it is in the file: by SQL, not by our own code."""
    with closing(sqlite3.connect(log)) as connection:
        # An id holds partition and offset; other records here have other keys.
        rows = connection.execute("SELECT key, value, headers FROM records WHERE key IS NOT NULL ORDER BY id")
        return [Published(key, value, headers) for key, value, headers in rows if key.startswith(b"k")]


def in_topic(address: str, topic: str) -> list[Published]:
    """What was published, as another client library reads it."""
    found = [seen for partition in range(2) for seen in read_committed(address, topic, partition)]
    return [Published(seen.key or b"", seen.value or b"", seen.id or b"") for seen in found]


@pytest.mark.parametrize(
    ("log", "driver", "rounds"),
    [
        ("sqlite", "sqlite+pysqlite", 4),
        ("sqlite", "postgresql+psycopg", 4),
        pytest.param("kafka", "postgresql+psycopg", 1, marks=pytest.mark.kafka),
    ],
)
@pytest.mark.timeout(200)
async def test_killed_relays_lose_nothing_and_keep_the_order_of_each_key(
    log: str, driver: str, rounds: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    home = home_of(driver, tmp_path, request)
    broker = request.getfixturevalue("kafka_bootstrap") if log == "kafka" else ""
    settings = Settings(
        log=f"kafka://{broker}" if broker else f"sqlite:///{tmp_path / 'log.db'}",
        namespace=f"t{uuid.uuid4().hex[:8]}",
        partitions=2,
        development=True,
    )
    topic = f"{settings.namespace}.orders"
    async with open_base(settings) as base:
        await prepare_topics(base, ())
        await base.log.create_topics([TopicSpec(topic, 2, "delete")])
    outbox = Outbox(settings.namespace)

    def add(start: int, end: int) -> None:
        for number in range(start, end):
            with Session(home.plain) as session, session.begin():
                for key in range(KEYS):
                    outbox.send(session, topic, f"k{key}".encode(), str(number).encode(), id=f"k{key}/{number}.")

    arguments = ("outbox", "relay", "--database", home.url)
    for round_ in range(rounds):
        async with saga(arguments, settings, tmp_path) as first, saga(arguments, settings, tmp_path) as second:
            await asyncio.gather(first.ready(), second.ready())
            adding = asyncio.create_task(asyncio.to_thread(add, round_ * EACH // rounds, (round_ + 1) * EACH // rounds))
            await asyncio.sleep(0.1 * (round_ + 4 - rounds))
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
    found = in_topic(broker, topic) if broker else in_file(tmp_path / "log.db")
    numbers: dict[bytes, dict[int, None]] = defaultdict(dict)
    for key, value, headers in found:
        assert b"%s/%s." % (key, value) in headers, "a message that is published again has its first id"
        numbers[key][int(value)] = None
    assert {key: [*those] for key, those in numbers.items()} == {b"k%d" % key: [*range(EACH)] for key in range(KEYS)}
    home.plain.dispose()


def waiting(home: Home) -> bool:
    return home.rows("SELECT count(*) FROM sagaline_outbox") != [(0,)]
