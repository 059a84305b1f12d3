"""Databases for tests of ``sagaline.workers.sql``: each kind of engine on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sagaline.workers.sql import create_tables

__all__ = ["DRIVERS", "Home", "home_of", "opened"]

DRIVERS = [
    pytest.param("sqlite+pysqlite"),
    pytest.param("sqlite+aiosqlite"),
    pytest.param("postgresql+psycopg", marks=pytest.mark.slow),
    pytest.param("postgresql+psycopg_async", marks=pytest.mark.slow),
    pytest.param("postgresql+asyncpg", marks=pytest.mark.slow),
]


class Home:
    """One database: engines of a driver for the code under test, and a plain one for the test."""

    def __init__(self, driver: str, url: str) -> None:
        self.driver, self.url = driver, url
        self.plain: Engine = create_engine(plain_url(url))

    def engine(self, **options: object) -> Engine | AsyncEngine:
        """``options``: of the driver."""
        if self.driver == "sqlite+pysqlite" or self.driver == "postgresql+psycopg":
            return create_engine(plain_url(self.url), pool_size=20, connect_args=options)
        if self.driver == "postgresql+asyncpg":
            parsed = make_url(self.url)
            schema = str(parsed.query["options"]).partition("=")[2]
            parsed = parsed.set(drivername=self.driver, query={})
            return create_async_engine(parsed, pool_size=20, connect_args={"server_settings": {"search_path": schema}})
        return create_async_engine(make_url(self.url).set(drivername=self.driver), pool_size=20, connect_args=options)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with self.plain.begin() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    def run(self, *statements: str) -> None:
        with self.plain.begin() as connection:
            for sql in statements:
                connection.execute(text(sql))


def plain_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def home_of(driver: str, folder: Path, request: pytest.FixtureRequest) -> Home:
    """A fresh database with our tables."""
    if driver.startswith("postgresql"):
        url = request.getfixturevalue("postgres").schema()
    else:
        url = f"sqlite:///{folder / 'own.db'}"
    home = Home(driver, url)
    create_tables(home.plain)
    return home


@asynccontextmanager
async def opened(home: Home, **options: object) -> AsyncIterator[Engine | AsyncEngine]:
    """An engine on it; ``options``: of its driver."""
    engine = home.engine(**options)
    try:
        yield engine
    finally:
        if isinstance(engine, AsyncEngine):
            await engine.dispose()
        else:
            engine.dispose()
