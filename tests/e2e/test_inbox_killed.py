"""kill -9 of workers with ``SqlInbox``: each effect is in the database once, with the reply, on both logs."""

from __future__ import annotations

import asyncio
import random
import uuid
from pathlib import Path

import pytest

from sagaline.orchestrator.codec.documents import decode_document
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.ports.log import Tail
from sagaline.orchestrator.ports.topics import POSITION_KEY
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics
from tests.kafka.processes import Crew
from tests.sql_kit import Home, home_of

from .killed_clerks import DATABASE, EFFECTS, filing

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

PAGES = 100
SEED = 20_261_129
WORKER = ("worker", "tests.e2e.killed_clerks:clerks()")
CREW = {"engine": ("run", "tests.e2e.killed_clerks:filing"), "first": WORKER, "second": WORKER}


async def start_pages(base: Base, numbers: range) -> None:
    records = []
    for number in numbers:
        start = Start(id=uuid.uuid4().hex, definition=filing.name, key=str(number), input={"number": number})
        records.append(encode_request(base.topics.inputs, start, source="/test", now_ms=0))
    await base.log.append(records)


def applied(home: Home) -> list[str]:
    return [str(key) for (key,) in home.rows("SELECT effect_key FROM effects ORDER BY effect_key")]


async def until_applied(home: Home, count: int) -> None:
    async with asyncio.timeout(120):
        while len(await asyncio.to_thread(applied, home)) < count:  # noqa: ASYNC110  # other processes work
            await asyncio.sleep(0.02)


async def completed(tail: Tail, count: int) -> list[str]:
    """The keys of so many instances, as soon as they are completed."""
    found: dict[str, None] = {}
    async with asyncio.timeout(120):
        while len(found) < count:
            for record in await tail.poll(max_records=1_000, timeout=1.0):
                if record.key != POSITION_KEY and record.value is not None:
                    document = decode_document(record.value)
                    if document.status is Status.COMPLETED:
                        found[document.key] = None
    return sorted(found, key=int)


@pytest.mark.parametrize(
    ("log", "driver"),
    [("sqlite", "sqlite+pysqlite"), pytest.param("kafka", "postgresql+psycopg", marks=pytest.mark.kafka)],
)
async def test_killed_workers_apply_each_effect_once_with_its_reply(
    log: str, driver: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = f"kafka://{request.getfixturevalue('kafka_bootstrap')}" if log == "kafka" else None
    home, chance = home_of(driver, tmp_path, request), random.Random(SEED)
    home.run(EFFECTS)
    settings = Settings(
        log=address or f"sqlite:///{tmp_path / 'log.db'}",
        namespace=f"kill{uuid.uuid4().hex[:8]}",
        partitions=2,
        development=True,
    )
    variables = {DATABASE: home.plain.url.render_as_string()}
    if address is None:
        variables["SAGALINE_MEMBER_TIMEOUT"] = "1"
    async with open_base(settings) as base:
        await prepare_topics(base, filing.queues)
        async with Crew(CREW, settings, tmp_path, variables) as crew:
            tail = await base.log.tail([base.topics.state], "earliest")
            await start_pages(base, range(PAGES))
            before = 0
            for victims in (("first",), ("second",)):
                before += chance.randint(20, PAGES // 2)
                await until_applied(home, before)
                await crew.kill(*victims)
            assert await completed(tail, PAGES) == [str(number) for number in range(PAGES)]
            await tail.close()
            await crew.stop()
    keys = sorted(f"{filing.name}/{number}/{step}" for number in range(PAGES) for step in ("copy", "stamp"))
    assert sorted(key.partition("~")[0] for key in applied(home)) == keys
    stored = home.rows("SELECT effect_key FROM sagaline_inbox WHERE forward IS NOT NULL AND undo IS NULL")
    assert sorted(str(key) for (key,) in stored) == applied(home)
    home.plain.dispose()
