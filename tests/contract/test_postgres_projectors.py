"""Projectors on a real PostgreSQL: several on one database, and a database that is killed, dropped and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.codec.documents import encode_document, encode_history
from sagaline.orchestrator.errors import TransientError
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.ports.read_model import InstanceFilter, WaitFilter, WaitKind
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.projector import Projector
from tests.postgres import Postgres
from tests.unit.stack import Stack, order, running, stack

from .read_model_contract import overdue, row
from .stored_read_model_contract import opened

pytestmark = pytest.mark.slow

TOPICS = Topics("t")
PARTITIONS = 3
FOLLOWED, FAILS, WELL = 30, "does not follow the log, retrying", "follows the log again"


def decision(n: int, revision: int) -> list[Outgoing]:
    """Of one of twenty instances, which keep changing their places in what a batch holds."""
    key = f"A-{n * 7 % 20}"
    made = overdue(key, n, revision=revision, updated_ms=revision)
    record = row(0, key, revision=revision).record
    history = encode_history(TOPICS.history, n % PARTITIONS, record, id="1", request="r", source="/t")
    return [Outgoing(TOPICS.state, made.id.encode(), encode_document(made), (), n * 7 % 20 % PARTITIONS), history]


async def shown(model: SqlReadModel) -> object:
    found = (await model.list(InstanceFilter(), limit=100)).documents
    late = (await model.waits(WaitFilter(WaitKind.OVERDUE), limit=100)).rows
    histories = [await model.history(each.id, limit=1_000) for each in found]
    return found, late, histories, (await model.standing()).positions


async def test_several_projectors_on_one_database_end_with_what_one_alone_ends_with(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Two from the beginning, a third that comes later, and all of them clear at once in between."""
    url = postgres.schema()
    async with SqliteLog(tmp_path / "log.db", clock=SystemClock()) as log:
        await log.create_topics(TOPICS.specs([], PARTITIONS))
        alone = await opened(f"sqlite:///{tmp_path / 'alone.db'}")
        models = [await opened(url) for _ in range(3)]
        one, two, three, control = (Projector(log, TOPICS, model, SystemClock()) for model in (*models, alone))

        async def decide(numbers: range) -> None:
            for n in numbers:
                await log.append(decision(n, n + 1))

        async with running(one.run(), two.run(), control.run()):
            await decide(range(200))
            async with running(three.run()):
                await decide(range(200, 300))
                await asyncio.gather(
                    one.rebuild(timeout=FOLLOWED), two.rebuild(timeout=FOLLOWED), decide(range(300, 400))
                )
                for each in (one, two, three, control):
                    await each.caught_up(timeout=FOLLOWED)
        expected = await shown(alone)
        for model in models:
            assert await shown(model) == expected
        assert postgres.sql("SELECT sum(deadlocks)::int FROM pg_stat_database") == [(0,)]
        for model in (*models, alone):
            await model.close()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(FOLLOWED):
        while not reached():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)


@asynccontextmanager
async def following(up: Stack, url: str) -> AsyncIterator[tuple[httpx.AsyncClient, Projector]]:
    """A second API on the same log, whose read model is on PostgreSQL."""
    read_model = await opened(url)
    projector = Projector(up.log, up.topics, read_model, SystemClock())
    client = Client(replace(up.parts, read_model=read_model, projector=projector))
    transport = httpx.ASGITransport(create_app(client, clock=SystemClock()))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api, running(projector.run()):
            await projector.followed(timeout=FOLLOWED)
            yield api, projector
    finally:
        await read_model.close()


async def test_a_database_that_is_killed_is_waited_for_and_told_once(
    breakable_postgres: Postgres, tmp_path: Path
) -> None:
    server = breakable_postgres
    async with stack(tmp_path) as up:
        with capture_logs() as said:
            async with following(up, server.url()) as (api, projector):
                await up.client.start("order-checkout", order(), key="A-1")
                await projector.caught_up(timeout=FOLLOWED)
                assert (await api.get("/readyz")).status_code == 200
                server.kill()
                for n in range(2, 5):
                    await up.client.start("order-checkout", order(), key=f"A-{n}")
                with pytest.raises(TransientError):
                    await projector.caught_up(timeout=1.5)
                for path in ("/v1/instances", "/v1/instances/order-checkout/A-1", "/readyz"):
                    answer = await api.get(path)
                    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                    assert "the read model's database cannot be used now: start it" in answer.json()["detail"]
                server.start()
                await projector.caught_up(timeout=FOLLOWED)
                assert {each["key"] for each in (await api.get("/v1/instances")).json()["instances"]} == {
                    f"A-{n}" for n in range(1, 5)
                }
                assert projector.rebuilds == 1
        told = [line["event"] for line in said if line["event"].startswith("the read model")]
        assert told == [f"the read model {FAILS}", f"the read model {WELL}"]
        assert "Connection refused" in str(said) or "terminating connection" in str(said) or "closed" in str(said)


async def test_tables_that_are_dropped_while_it_follows_are_filled_again(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.schema()
    schema = url.rpartition("%3D")[2]
    async with stack(tmp_path) as up, following(up, url) as (api, projector):
        await up.client.start("order-checkout", order(), key="A-1")
        await projector.caught_up(timeout=FOLLOWED)
        for dropped in ("TABLE {0}.read_instances", "SCHEMA {0} CASCADE; CREATE SCHEMA {0}"):
            before = projector.rebuilds
            postgres.sql(*f"DROP {dropped}".format(schema).split(";"))
            await up.client.start("order-checkout", order(), key=f"B-{before}")
            await until(lambda before=before: projector.rebuilds > before)  # type: ignore[misc]  # bound at once
            await projector.caught_up(timeout=FOLLOWED)
            listed = (await api.get("/v1/instances")).json()["instances"]
            assert {each["key"] for each in listed} == {"A-1", *(f"B-{n}" for n in range(1, before + 1))}


async def test_an_idle_one_sees_that_its_tables_were_made_anew_by_another(postgres: Postgres, tmp_path: Path) -> None:
    """It looks round every few seconds."""
    url = postgres.schema()
    async with stack(tmp_path) as up, following(up, url) as (_, projector):
        await up.client.start("order-checkout", order(), key="A-1")
        await projector.caught_up(timeout=FOLLOWED)
        postgres.sql(f"DROP TABLE {url.rpartition('%3D')[2]}.read_logs")
        other = await opened(url)
        await until(lambda: projector.rebuilds == 2)
        await projector.caught_up(timeout=FOLLOWED)
        assert await other.get("order-checkout/A-1") is not None
        await other.close()
