"""The fixtures of tests on a real PostgreSQL: one server for the session, and of pytest-xdist one for each worker."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .postgres import PROGRAMS, Postgres, postgres_server

__all__ = ["breakable_postgres", "postgres", "require_postgres"]


def require_postgres() -> None:
    """Skips; with CI=true fails: a build that tests less than it says must not be green."""
    if PROGRAMS is not None:
        return
    reason = "there is no PostgreSQL server on this machine; Debian: apt-get install postgresql"
    if os.environ.get("CI") == "true":
        pytest.fail(f"tests on a real PostgreSQL cannot run: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server; take a ``database()`` of your own, or a namespace."""
    require_postgres()
    with postgres_server() as server:
        yield server


@pytest.fixture
def breakable_postgres() -> Iterator[Postgres]:
    """One of the test's own, to be killed and started again."""
    require_postgres()
    with postgres_server() as server:
        yield server
