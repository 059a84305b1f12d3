"""The read model's suites on SQLite, and what only an adapter that keeps a file has to promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.errors import ConfigurationError

from .letters_contract import LettersContract
from .read_model_contract import ReadModelContract
from .search_contract import SearchContract
from .stored_read_model_contract import StoredReadModelContract


class TestSqliteReadModel(ReadModelContract, LettersContract, SearchContract):
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


async def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder"):
        await SqlReadModel.open(f"sqlite:///{tmp_path}/missing/x.db", namespace="t")
