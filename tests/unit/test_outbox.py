"""The outbox and its relay: rows of the user's transaction, published in order per key, at least once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from sagaline.orchestrator.codec.inputs import decode_input
from sagaline.orchestrator.errors import InvalidRequest, LogUnavailable, TopicMismatch
from sagaline.orchestrator.messages.entity_messages import Published
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.ports.log import Outgoing, TopicSpec
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.sagas import Event, Saga, step
from sagaline.workers.sql import Outbox, Relay
from tests.sql_kit import DRIVERS, Home, home_of, opened, plain_url
from tests.worker_world import PATIENCE_SECONDS, Pack, WorkerWorld, pack, worker_world

TOPIC = "orders"


class Paid(BaseModel):
    cents: int


paid = Event("paid", Paid)
order = Saga("order", Paid, flow=[step(pack, name="pack")(lambda state: Pack())])
outbox = Outbox("t")


@pytest.fixture(params=DRIVERS)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    home = home_of(request.param, tmp_path, request)
    yield home
    home.plain.dispose()


@pytest.fixture
async def engine(home: Home) -> AsyncIterator[Engine | AsyncEngine]:
    async with opened(home) as engine:
        yield engine


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        await world.log.create_topics([TopicSpec(TOPIC, 2, "delete")])
        yield world


def put(session: Session | AsyncSession, key: str, number: int) -> str:
    return outbox.send(session, TOPIC, key.encode(), str(number).encode(), id=f"{key}/{number}")


def add(home: Home, *items: tuple[str, int]) -> None:
    with Session(home.plain) as session, session.begin():
        for key, number in items:
            put(session, key, number)


async def values(world: WorkerWorld) -> dict[str, list[int]]:
    """Of each key, in the order of the log."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in await world.all_of(TOPIC):
        assert record.key is not None
        assert record.value is not None
        found[record.key.decode()].append(int(record.value))
    return found


def firsts(numbers: Sequence[int]) -> list[int]:
    """Without the repetitions that "at least once" allows."""
    return list(dict.fromkeys(numbers))


async def until_empty(home: Home, relays: Sequence[Relay]) -> None:
    runs = [asyncio.create_task(relay.run()) for relay in relays]
    async with asyncio.timeout(PATIENCE_SECONDS * 3):
        while await asyncio.to_thread(home.rows, "SELECT count(*) FROM sagaline_outbox WHERE error IS NULL") != [(0,)]:
            assert not any(run.done() for run in runs)
            await asyncio.sleep(0.02)
        for relay in relays:
            relay.stop()
        await asyncio.gather(*runs)


async def test_what_is_committed_is_published_once_with_its_id(
    home: Home, engine: Engine | AsyncEngine, world: WorkerWorld
) -> None:
    if isinstance(engine, AsyncEngine):
        async with AsyncSession(engine) as session:
            event = outbox.publish(session, paid, "A-1", Paid(cents=900))
            start = outbox.start(session, order, Paid(cents=4200), key="A-1")
            await session.commit()
            outbox.publish(session, paid, "A-2", Paid(cents=1))
            await session.flush()
            await session.rollback()
    else:
        with Session(engine) as plain:
            event = outbox.publish(plain, paid, "A-1", Paid(cents=900))
            start = outbox.start(plain, order, Paid(cents=4200), key="A-1")
            plain.commit()
            outbox.publish(plain, paid, "A-2", Paid(cents=1))
            plain.flush()
            plain.rollback()
    await until_empty(home, [Relay(engine, world.log)])
    sent = [decode_input(record) for record in await world.all_of(world.topics.inputs)]
    assert {type(message): message.id for message in sent} == {Published: event, Start: start}
    assert len(sent) == 2
    (published,) = [message for message in sent if isinstance(message, Published)]
    assert (published.event, published.key, published.body) == ("paid", "A-1", {"cents": 900})


def test_what_is_wrong_is_said_at_once() -> None:
    session = Session()
    with pytest.raises(InvalidRequest, match="cents"):
        outbox.publish(session, paid, "A-1", {"cents": "many"})
    with pytest.raises(InvalidRequest, match="key"):
        outbox.publish(session, paid, "", {"cents": 1})
    with pytest.raises(InvalidRequest, match="id is empty"):
        outbox.publish(session, paid, "A-1", {"cents": 1}, id="")
    assert not session.new


async def test_two_relays_share_the_keys_and_keep_the_order_of_each(
    home: Home, engine: Engine | AsyncEngine, world: WorkerWorld
) -> None:
    for start in range(0, 60, 20):
        add(home, *[(f"k{key}", number) for number in range(start, start + 20) for key in range(8)])
    relays = [Relay(engine, world.log, batch=7, poll=timedelta(milliseconds=20)) for _ in range(2)]
    await until_empty(home, relays)
    assert await values(world) == {f"k{key}": list(range(60)) for key in range(8)}
    assert sum(relay.published for relay in relays) == 8 * 60


async def test_a_row_waits_for_older_transactions_so_that_none_is_overtaken(
    home: Home, engine: Engine | AsyncEngine, world: WorkerWorld
) -> None:
    if home.driver.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    relay = Relay(engine, world.log)
    with Session(home.plain) as late, late.begin():
        put(late, "k", 1)
        late.flush()
        add(home, ("k", 2))
        assert await relay.once() == 0, "the first row may still become visible"
    assert await relay.once() == 2
    assert await values(world) == {"k": [1, 2]}


async def test_a_commit_wakes_the_relay(home: Home, engine: Engine | AsyncEngine, world: WorkerWorld) -> None:
    if home.driver.startswith("sqlite"):
        pytest.skip("SQLite tells nobody; the relay looks again after its poll")
    relay = Relay(engine, world.log, poll=timedelta(hours=1))
    run = asyncio.create_task(relay.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in range(3):
            await asyncio.to_thread(add, home, ("k", number))
            while relay.published <= number:
                assert not run.done()
                await asyncio.sleep(0.01)
        relay.stop()
        await run


async def test_a_relay_that_is_killed_before_the_rows_are_removed_repeats_them_with_their_ids(
    home: Home, engine: Engine | AsyncEngine, world: WorkerWorld
) -> None:
    class Killed(BaseException):
        pass

    class Log:
        max_value_bytes = world.log.max_value_bytes

        async def append(self, records: Sequence[Outgoing]) -> None:
            await world.log.append(records)
            raise Killed

    add(home, *[("k", number) for number in range(5)])
    first = Relay(engine, Log(), lease=timedelta(milliseconds=1))  # type: ignore[arg-type]  # what a relay needs of it
    with pytest.raises(Killed):
        await first.once()
    add(home, ("k", 5))
    await until_empty(home, [Relay(engine, world.log)])
    records = await world.all_of(TOPIC)
    ids = [dict(record.headers)["ce_id"].decode() for record in records]
    assert sorted(ids) == sorted([f"k/{n}" for n in range(5)] * 2 + ["k/5"])
    assert firsts((await values(world))["k"]) == [0, 1, 2, 3, 4, 5]


async def test_while_the_log_is_away_rows_wait_and_then_go_in_order(home: Home, world: WorkerWorld) -> None:
    away = True

    class Log:
        max_value_bytes = world.log.max_value_bytes

        async def append(self, records: Sequence[Outgoing]) -> None:
            if away:
                raise LogUnavailable("away")
            await world.log.append(records)

    async with opened(home) as engine:
        add(home, ("k", 1), ("k", 2))
        relay = Relay(engine, Log())  # type: ignore[arg-type]  # what a relay needs of it
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                await relay.once()
        away = False
        assert await relay.once() == 2
    assert await values(world) == {"k": [1, 2]}


async def test_a_missing_topic_and_a_row_too_large_hold_up_nobody_else(home: Home, world: WorkerWorld) -> None:
    metrics = Metrics()
    with Session(home.plain) as session, session.begin():
        outbox.send(session, "nowhere", b"k", b"1")
        outbox.send(session, TOPIC, b"k", b"x" * (world.log.max_value_bytes + 1))
        put(session, "k", 1)
    async with opened(home) as engine:
        relay = Relay(engine, world.log, metrics=metrics)
        with pytest.raises(TopicMismatch):
            await relay.once()
        assert await values(world) == {"k": [1]}
        assert home.rows("SELECT topic FROM sagaline_outbox WHERE error IS NULL") == [("nowhere",)]
        await world.log.create_topics([TopicSpec("nowhere", 1, "delete")])
        await until_empty(home, [relay])
    assert metrics.values["outbox.refused"] + metrics.values["outbox.backlog"] >= 1
    ((error,),) = home.rows("SELECT error FROM sagaline_outbox")
    assert "send a reference" in str(error)


def test_an_id_is_never_used_again(home: Home) -> None:
    """A relay that was held up may still delete what it has published: not a new row of the same id."""
    add(home, ("k", 1))
    before = home.rows("SELECT max(id) FROM sagaline_outbox")
    home.run("DELETE FROM sagaline_outbox")
    add(home, ("k", 2))
    assert home.rows("SELECT max(id) FROM sagaline_outbox") > before


@pytest.mark.slow
def test_migrations_make_the_same_tables_and_take_them_away(
    home: Home, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from alembic import command
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext

    from sagaline.workers.sql import metadata
    from sagaline.workers.sql.migrations import LOCATION

    if home.driver not in ("sqlite+pysqlite", "postgresql+psycopg"):
        pytest.skip("one driver of each database is enough")
    url = f"sqlite:///{tmp_path / 'new.db'}"
    if home.driver.startswith("postgresql"):
        url = request.getfixturevalue("postgres").schema()
    (tmp_path / "alembic").mkdir()
    (tmp_path / "alembic" / "env.py").write_text(
        "from alembic import context\n"
        "connection = context.config.attributes['connection']\n"
        "context.configure(connection=connection)\n"
        "with context.begin_transaction():\n    context.run_migrations()\n"
    )
    config = Config()
    config.set_main_option("script_location", str(tmp_path / "alembic"))
    config.set_main_option("version_locations", LOCATION)
    config.set_main_option("path_separator", "space")
    engine = create_engine(plain_url(url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "sagaline@head")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    made = Home(home.driver, url)
    add(made, ("k", 1))
    assert made.rows("SELECT count(*) FROM sagaline_outbox_lanes") == home.rows(
        "SELECT count(*) FROM sagaline_outbox_lanes"
    )
    made.plain.dispose()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "sagaline@base")
    engine.dispose()
