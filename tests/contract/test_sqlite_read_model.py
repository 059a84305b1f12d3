"""The read model's suite on SQLite, and what only an adapter that keeps a file has to promise."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.errors import ConfigurationError, TransientError
from sagaline.orchestrator.ports.read_model import InstanceFilter

from .read_model_contract import ReadModelContract, document, row, update


def url(path: Path) -> str:
    return f"sqlite:///{path / 'sagaline.db'}"


class TestSqliteReadModel(ReadModelContract):
    @pytest.fixture
    async def read_model(self, tmp_path: Path) -> AsyncIterator[SqlReadModel]:
        model = await SqlReadModel.open(url(tmp_path))
        yield model
        await model.close()


async def test_what_was_applied_is_there_after_opening_again(tmp_path: Path) -> None:
    first = await SqlReadModel.open(url(tmp_path))
    await first.apply(update(document(), history=(row(1),), position=3))
    await first.close()
    second = await SqlReadModel.open(url(tmp_path))
    assert await second.get("order-checkout/A-1") == document()
    assert set((await second.positions()).values()) == {3}
    await second.close()


async def test_tables_of_another_version_are_cleared_to_be_rebuilt(tmp_path: Path) -> None:
    first = await SqlReadModel.open(url(tmp_path))
    await first.apply(update(document(), position=3))
    await first.close()
    with sqlite3.connect(tmp_path / "sagaline.db") as connection:
        connection.execute("UPDATE read_meta SET version = 999")
        connection.execute("ALTER TABLE read_instances RENAME COLUMN document TO something")
    connection.close()
    second = await SqlReadModel.open(url(tmp_path))
    assert dict(await second.positions()) == {}
    assert await second.list(InstanceFilter(), limit=9) == ([], None)
    await second.apply(update(document(), position=3))
    assert await second.get("order-checkout/A-1") == document()
    await second.close()


async def test_history_older_than_its_retention_is_dropped_in_the_long_run(tmp_path: Path) -> None:
    model = await SqlReadModel.open(url(tmp_path), history_retention=timedelta(seconds=10))
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
        await SqlReadModel.open(address)


async def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder"):
        await SqlReadModel.open(url(tmp_path / "missing"))


async def test_use_after_close_is_an_error_not_a_hang(tmp_path: Path) -> None:
    model = await SqlReadModel.open(url(tmp_path))
    await model.close()
    with pytest.raises(TransientError):
        await model.get("order-checkout/A-1")
