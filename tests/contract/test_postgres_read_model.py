"""The read model's suites on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sagaline.orchestrator.adapters.read_model import SqlReadModel
from tests.postgres import Postgres

from .read_model_contract import ReadModelContract
from .stored_read_model_contract import StoredReadModelContract, opened

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.schema()


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> str:
    return postgres.schema()


class TestPostgresReadModel(ReadModelContract):
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
