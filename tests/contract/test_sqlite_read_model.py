"""The read model's suites on SQLite, and what only an adapter that keeps a file has to promise."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.errors import ConfigurationError

from .read_model_contract import ReadModelContract
from .stored_read_model_contract import StoredReadModelContract


class TestSqliteReadModel(ReadModelContract):
    @pytest.fixture
    async def read_model(self, tmp_path: Path) -> AsyncIterator[SqlReadModel]:
        model = await SqlReadModel.open(f"sqlite:///{tmp_path / 'sagaline.db'}", namespace="t")
        yield model
        await model.close()


class TestStoredOnSqlite(StoredReadModelContract):
    interrupted = "interrupted"

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'sagaline.db'}"


@pytest.mark.parametrize("address", ["", "nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
async def test_an_address_that_cannot_be_used_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        await SqlReadModel.open(address, namespace="t")


async def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder"):
        await SqlReadModel.open(f"sqlite:///{tmp_path}/missing/x.db", namespace="t")


@pytest.mark.parametrize(
    "address",
    ["postgresql://ann:s3cret-word@db/x", "sqlite+other://ann:s3cret-word@/x", "mysql://u:s3cret-word@h:port/x?a=b"],
)
async def test_an_address_is_never_shown_with_its_password(address: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await SqlReadModel.open(address, namespace="t")
    shown_text = "".join(traceback.format_exception(refused.value))
    assert "s3cret-word" not in shown_text
