"""The read model's suite on SQLite, and what only an adapter that keeps a file has to promise."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.errors import ConfigurationError, TransientError
from sagaline.orchestrator.ports.read_model import (
    DocumentRow,
    HelperFilter,
    InstanceFilter,
    Update,
    WaitFilter,
    WaitKind,
)

from .read_model_contract import ReadModelContract, document, helping, lock, overdue, row, update

LATE = WaitFilter(WaitKind.OVERDUE)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def url(path: Path) -> str:
    return f"sqlite:///{path / 'sagaline.db'}"


async def opened(path: Path, namespace: str = "t", **more: timedelta) -> SqlReadModel:
    return await SqlReadModel.open(url(path), namespace=namespace, **more)


class TestSqliteReadModel(ReadModelContract):
    @pytest.fixture
    async def read_model(self, tmp_path: Path) -> AsyncIterator[SqlReadModel]:
        model = await opened(tmp_path)
        yield model
        await model.close()


async def test_what_was_applied_is_there_after_opening_again(tmp_path: Path) -> None:
    first = await opened(tmp_path)
    await first.apply(update(document(), history=(row(1),), position=3))
    await first.close()
    second = await opened(tmp_path)
    assert await second.get("order-checkout/A-1") == document()
    assert set((await second.standing()).positions.values()) == {3}
    await second.close()


async def test_tables_of_another_version_are_cleared_to_be_rebuilt(tmp_path: Path) -> None:
    first = await opened(tmp_path)
    await first.apply(update(document(), position=3))
    await first.close()
    with sqlite3.connect(tmp_path / "sagaline.db") as connection:
        connection.execute("UPDATE read_meta SET version = 999")
        connection.execute("ALTER TABLE read_instances RENAME COLUMN document TO something")
    connection.close()
    with capture_logs() as said:
        second = await opened(tmp_path)
    assert [(line["log_level"], line["found"]) for line in said] == [("warning", 999)]
    assert (await second.standing()).positions == {}
    assert await second.list(InstanceFilter(), limit=9) == ([], None)
    await second.apply(update(document(), position=3))
    assert await second.get("order-checkout/A-1") == document()
    await second.close()


async def test_history_older_than_its_retention_is_dropped_in_the_long_run(tmp_path: Path) -> None:
    model = await opened(tmp_path, history_retention=timedelta(seconds=10))
    await model.apply(update(history=(row(1, "old", at_ms=1_000), row(2, "kept", at_ms=95_000)), position=1))
    for n in range(70):
        await model.apply(update(history=(row(3 + n, "new", at_ms=100_000),), position=2 + n))
    assert list(await model.history("order-checkout/old", limit=9)) == []
    assert len(await model.history("order-checkout/kept", limit=9)) == 1
    assert len(await model.history("order-checkout/new", limit=99)) == 70
    await model.close()


@pytest.mark.parametrize("address", ["", "nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
async def test_an_address_that_cannot_be_used_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        await SqlReadModel.open(address, namespace="t")


async def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder"):
        await opened(tmp_path / "missing")


async def test_use_after_close_is_an_error_not_a_hang(tmp_path: Path) -> None:
    model = await opened(tmp_path)
    await model.close()
    with pytest.raises(TransientError):
        await model.get("order-checkout/A-1")


async def test_two_namespaces_in_one_database_never_touch_each_other(tmp_path: Path) -> None:
    """Same ids, same topics' places: neither sees, changes, removes or clears what is the other's."""
    ours, theirs = await opened(tmp_path, "a"), await opened(tmp_path, "b")
    late = overdue("A-2", 5)
    await ours.apply(update(document(), late, history=(row(1),), position=9))
    await ours.apply(helping(lock("l", "a/3")))
    for listed in (await theirs.list(InstanceFilter(), limit=9), await theirs.waits(LATE, limit=9)):
        assert listed == ([], None)
    assert await theirs.helpers(HelperFilter("@"), limit=9) == ([], None)
    assert (await theirs.get(document().id), await theirs.helper(lock("l").id)) == (None, None)
    assert list(await theirs.history(document().id, limit=9)) == []
    assert (await theirs.standing()).positions == {}
    await theirs.apply(update(document(revision=7), position=1))
    await theirs.apply(Update({late.id: DocumentRow(99, None)}, (), {}))
    await theirs.clear()
    assert (await ours.get(document().id), await ours.get(late.id)) == (document(), late)
    assert len((await ours.waits(LATE, limit=9)).rows) == 1
    assert list(await ours.history(document().id, limit=9)) == [row(1)]
    assert set((await ours.standing()).positions.values()) == {9}
    await ours.apply(update(document(), position=10))
    for model in (ours, theirs):
        await model.close()


async def test_history_is_pruned_faster_than_it_comes_and_not_by_a_clock_that_ran_ahead(tmp_path: Path) -> None:
    model = await opened(tmp_path, history_retention=timedelta(seconds=10))
    old = tuple(row(n, "old", at_ms=1_000) for n in range(50))
    await model.apply(update(history=old, position=1, now_ms=2_000))
    ahead = (row(50, "ahead", at_ms=3_600_000),)
    await model.apply(update(history=ahead, position=2, now_ms=3_000))
    assert len(await model.history("order-checkout/old", limit=99)) == 50
    for n in range(25):
        await model.apply(update(history=(row(51 + n, "new", at_ms=20_000),), position=3 + n, now_ms=20_000))
    assert list(await model.history("order-checkout/old", limit=99)) == []
    assert len(await model.history("order-checkout/new", limit=99)) == 25
    await model.close()


async def test_a_query_that_takes_too_long_is_interrupted_and_its_thread_is_free(tmp_path: Path) -> None:
    """More of them than there are threads; the next query is answered at once."""
    model = await opened(tmp_path)
    await model.apply(update(document()))
    ended: list[str] = []

    def endless(connection: Connection) -> int:
        try:
            return int(connection.exec_driver_sql(ENDLESS).scalar_one())
        except OperationalError as error:
            ended.append(str(error.orig))
            raise

    threads = model._threads
    for _ in range(3):
        outcomes = await asyncio.gather(*(threads.read(endless, seconds=0.1) for _ in range(4)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {TransientError}
        assert await model.get(document().id) == document()
    assert set(ended) == {"interrupted"}
    await model.close()


async def test_a_query_that_nobody_waits_for_any_more_is_interrupted(tmp_path: Path) -> None:
    model = await opened(tmp_path)
    begun, ended = threading.Event(), threading.Event()

    def endless(connection: Connection) -> int:
        begun.set()
        try:
            return int(connection.exec_driver_sql(ENDLESS).scalar_one())
        finally:
            ended.set()

    asked = asyncio.create_task(model._threads.read(endless))
    assert await asyncio.to_thread(begun.wait, 5)
    asked.cancel()
    assert await asyncio.to_thread(ended.wait, 5)
    await model.close()


async def test_a_write_that_is_given_up_changes_nothing_and_harms_no_other(tmp_path: Path) -> None:
    model = await opened(tmp_path)
    await model.apply(update(document()))

    def endless(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM read_instances")
        connection.exec_driver_sql(ENDLESS).scalar_one()

    with pytest.raises(TransientError, match=r"within 0.1 s"):
        await model._threads.write(endless, seconds=0.1)
    assert await model.get(document().id) == document()
    await model.apply(update(document(revision=2), position=2))
    await model.close()


@pytest.mark.parametrize(
    "address",
    ["postgresql://ann:s3cret-word@db/x", "sqlite+other://ann:s3cret-word@/x", "mysql://u:s3cret-word@h:port/x?a=b"],
)
async def test_an_address_is_never_shown_with_its_password(address: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await SqlReadModel.open(address, namespace="t")
    shown_text = "".join(traceback.format_exception(refused.value))
    assert "s3cret-word" not in shown_text
