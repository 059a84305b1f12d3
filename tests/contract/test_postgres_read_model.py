"""The read model's suites on a real PostgreSQL, and what only a server can do to it."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import string
import sys
import threading
import traceback
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from sagaline.orchestrator.adapters.read_model import SqlReadModel, check_address, postgresql
from sagaline.orchestrator.adapters.read_model.dialect import CONNECTIONS_MAX
from sagaline.orchestrator.errors import ConfigurationError, TransientError
from sagaline.orchestrator.ports.read_model import InstanceFilter, WaitFilter, WaitKind
from tests.postgres import Postgres

from .letters_contract import LettersContract
from .read_model_contract import ReadModelContract, asking, document, overdue, update
from .search_contract import SearchContract
from .stored_read_model_contract import StoredReadModelContract, opened

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.schema()


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> str:
    return postgres.schema()


class TestPostgresReadModel(ReadModelContract, LettersContract, SearchContract):
    @pytest.fixture
    async def read_model(self, shared: str, request: pytest.FixtureRequest) -> AsyncIterator[SqlReadModel]:
        """In one database, of a namespace of its own."""
        model = await opened(shared, request.node.name)
        yield model
        await model.close()


class TestStoredOnPostgres(StoredReadModelContract):
    interrupted = "canceling statement due to user request"

    @pytest.fixture
    def url(self, url: str) -> str:
        return url


async def test_of_a_row_that_no_index_can_hold_only_the_row_is_missing(url: str) -> None:
    """PostgreSQL's limit of some 2,700 bytes; the id and the name are long and cannot be compressed."""
    drawn = random.Random(7)
    long = "".join(drawn.choices(string.ascii_letters, k=2_000))
    name = "".join(map(chr, drawn.choices(range(0x4E00, 0x9FFF), k=256)))
    model = await opened(url)
    asked = asking("Q", 5, "ann", name, id=f"x/{long}")
    with capture_logs() as said:
        await model.apply(update(document("A-1"), asked))
    assert [(line["event"], line["id"]) for line in said] == [
        ("an entry that the database rejects is not shown", asked.id)
    ]
    assert "maximum" in said[0]["reason"]
    assert [await model.get(each.id) for each in (document("A-1"), asked)] == [document("A-1"), asked]
    assert len((await model.waits(WaitFilter(WaitKind.QUESTION, None, "ann"), limit=9)).rows) == 1
    await model.close()


REFUSED = {
    "a wrong password": ("locked:an0ther-word@", "postgres", "password authentication failed", "user, password"),
    "no password": ("locked@", "postgres", "no password supplied", "user, password"),
    "an unknown user": ("sagalina@", "postgres", "does not exist", "user, password"),
    "an unknown database": ("sagaline@", "elsewhere", 'database "elsewhere" does not exist', "database"),
    "a server without TLS": ("sagaline@", "postgres?sslmode=require", "does not support SSL", "sslmode"),
    "an unknown option": ("sagaline@", "postgres?colour=blue", 'invalid connection option "colour"', "address"),
    "no right to make tables": ("locked:s3cret-word@", "postgres", "permission denied for schema public", "tables"),
}


@pytest.mark.parametrize("who", REFUSED)
async def test_a_database_that_cannot_be_used_is_one_sentence_without_the_password(
    postgres: Postgres, who: str
) -> None:
    user, database, reason, remedy = REFUSED[who]
    address = postgres.url(database).replace("sagaline@", user)
    with pytest.raises(ConfigurationError) as refused:
        await opened(address)
    told = str(refused.value)
    assert (reason in told, remedy in told, "\n" in told) == (True, True, False), told
    everything = "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    assert not re.search("s3cret-word|an0ther-word", everything)


async def test_a_server_that_does_not_answer_is_said_within_seconds(postgres: Postgres) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = postgres.url().replace(str(postgres.port), str(free.getsockname()[1]))
        with pytest.raises(ConfigurationError, match="Connection refused"):
            await opened(address)
        free.listen()  # and never answers
        with pytest.raises(ConfigurationError, match="timeout expired"):
            await opened(f"{address}?connect_timeout=2")


async def test_without_the_driver_is_said_what_to_install(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    check_address(url)  # a worker that shares the settings needs no driver
    with pytest.raises(ConfigurationError, match=r"pip install 'sagaline\[postgresql\]'"):
        await opened(url)


async def test_a_database_that_cannot_hold_every_text_is_refused(postgres: Postgres) -> None:
    postgres.sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(ConfigurationError, match=r"encoding LATIN1.*ENCODING 'UTF8'"):
        await opened(postgres.url("latin"))


async def test_nobody_takes_more_connections_than_are_documented(postgres: Postgres, url: str) -> None:
    model = await opened(url)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sagaline of this test'"
    other = await opened(f"{url}&application_name=sagaline of this test")
    slow = [other._threads.read(lambda connection: connection.execute(text("SELECT pg_sleep(0.2)"))) for _ in range(20)]
    await asyncio.gather(*slow, other.apply(update(document())))
    assert postgres.sql(count) == [(CONNECTIONS_MAX,)]
    for each in (model, other):
        await each.close()


@pytest.mark.long
async def test_a_query_is_ended_by_the_server_also_when_its_process_cannot(postgres: Postgres, url: str) -> None:
    """Whose interrupts do not arrive: it is the server's own time-out that frees what the query holds."""
    model = await opened(url)
    model._threads._dialect.interrupt = lambda connection: None  # type: ignore[method-assign]  # as behind a dead network
    ended: list[str] = []

    def endless(connection: Connection) -> None:
        try:
            connection.execute(text("SELECT pg_sleep(600)"))
        except DBAPIError as error:
            ended.append(str(error.orig))
            raise

    with pytest.raises(TransientError, match="did not answer"):
        await model._threads.read(endless, seconds=0.1)
    await asyncio.wait_for(asyncio.to_thread(model._threads._end), 20)
    assert ended == ["canceling statement due to statement timeout"]


async def test_what_a_frozen_node_has_locked_others_get(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands still in the middle of a transaction; the server ends that."""
    monkeypatch.setattr(postgresql, "_IDLE_SECONDS", 1)
    ours, theirs = await opened(url), await opened(url)
    frozen, thawed = threading.Event(), threading.Event()

    def freeze(connection: Connection) -> None:
        connection.execute(text("UPDATE read_logs SET fed_ms = 7"))
        frozen.set()
        thawed.wait(60)

    standing_still = asyncio.create_task(theirs._threads.write(freeze))
    await asyncio.to_thread(frozen.wait, 20)
    await ours.apply(update(document()))
    thawed.set()
    await standing_still  # done again, on another connection
    assert (await ours.standing()).fed_ms == 7
    assert await theirs.get(document().id) == document()
    for model in (ours, theirs):
        await model.close()


async def test_a_connection_that_is_lost_in_the_middle_of_a_transaction_leaves_nothing_of_it(
    postgres: Postgres, url: str
) -> None:
    model = await opened(url)
    await model.apply(update(document(), position=1))

    def lose(connection: Connection) -> None:
        connection.execute(text("DELETE FROM read_instances"))
        (pid,) = connection.execute(text("SELECT pg_backend_pid()")).one()
        postgres.sql(f"SELECT pg_terminate_backend({pid})")
        connection.execute(text("SELECT 1"))

    with pytest.raises(TransientError, match="cannot be used now"):
        await model._threads.write(lose)
    assert await model.get(document().id) == document()
    await model.apply(update(document(revision=2), position=2))
    await model.close()


async def test_after_a_restart_in_between_nobody_gets_an_error(breakable_postgres: Postgres) -> None:
    model = await opened(breakable_postgres.url())
    await model.apply(update(document()))
    breakable_postgres.kill()
    with pytest.raises(TransientError, match="cannot be used now"):
        await model.get(document().id)
    breakable_postgres.start()
    assert await model.get(document().id) == document()
    breakable_postgres.stop()
    breakable_postgres.start()
    assert await model.get(document().id) == document()
    await model.close()


async def test_a_schema_that_is_dropped_is_filled_again_once_it_is_there(postgres: Postgres, url: str) -> None:
    schema = url.rpartition("%3D")[2]
    model = await opened(url)
    await model.apply(update(document(), position=3))
    postgres.sql(f"DROP SCHEMA {schema} CASCADE")
    for ask in (model.get(document().id), model.standing(), model.standing()):
        with pytest.raises(TransientError):
            await ask
    postgres.sql(f"CREATE SCHEMA {schema}")
    assert (await model.standing()).positions == {}
    await model.apply(update(document(), position=3))
    assert await model.get(document().id) == document()
    await model.close()


async def test_of_many_that_open_an_empty_database_at_once_all_succeed(url: str) -> None:
    models = await asyncio.gather(*(opened(url, f"n{number % 3}") for number in range(6)))
    await asyncio.gather(*(model.apply(update(document())) for model in models))
    for model in models:
        assert await model.get(document().id) == document()
        await model.close()


async def test_two_that_write_the_same_rows_in_opposite_orders_wait_for_each_other(
    postgres: Postgres, url: str
) -> None:
    """Without the one order of locks they block each other, and the server ends one."""
    ours, theirs = await opened(url), await opened(url)
    documents = [overdue(f"A-{n}", n) for n in range(100)]
    for n in range(1, 30, 2):
        await asyncio.gather(
            ours.apply(update(*documents, position=n)), theirs.apply(update(*reversed(documents), position=n + 1))
        )
    listed = (await ours.list(InstanceFilter(), limit=100)).documents
    assert {each.id: each for each in listed} == {each.id: each for each in documents}
    assert postgres.sql("SELECT sum(deadlocks)::int FROM pg_stat_database") == [(0,)]
    for model in (ours, theirs):
        await model.close()
