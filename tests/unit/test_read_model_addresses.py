"""Addresses of read models: which are taken, and that a password in one is shown nowhere."""

from __future__ import annotations

import traceback

import pytest

from sagaline.orchestrator.adapters.read_model import check_address, shown
from sagaline.orchestrator.adapters.read_model.addresses import dialect_of
from sagaline.orchestrator.errors import ConfigurationError
from sagaline.orchestrator.settings import Settings

TAKEN = (
    "sqlite:///read.db",
    "sqlite+pysqlite:///a@b.db",
    "postgresql://ann:s3cret-word@db/x",
    "postgres://ann:s3cret-word@db:6432/x?sslmode=verify-full",
    "postgresql+psycopg://ann:s3cret-word@one,two/x",
    "postgresql:///x?host=/run/postgresql",
)
REFUSED = {
    "": "not understood",
    "nonsense": "not understood",
    "postgresql//ann:s3cret-word@db/x": "not understood",
    "postgresql://ann:s3cret-word@db:port/x": "not understood",
    "mysql://ann:s3cret-word@db/x?password=s3cret-word": "cannot be kept in 'mysql'; write sqlite:///path",
    "postgresql+asyncpg://ann:s3cret-word@db/x": r"cannot be kept in 'postgresql\+asyncpg'.*or postgresql://user",
    "sqlite+other://ann:s3cret-word@/x": "cannot be kept in 'sqlite",
    "sqlite://": "needs its own file",
    "sqlite:///:memory:": "needs its own file",
    "postgresql://ann:s3cret-word@db": "names no database",
    "postgresql://ann:odd@s3cret-word@db/x": "more than one '@'; write one in a password as %40",
    "postgresql://ann:odd@s3cret/s3cret-word@db/x": "more than one '@'",
    "postgresql://ann@db/x?password=s3cret-word": "after the '\\?'; write user:password@host",
}


@pytest.mark.parametrize("address", TAKEN)
def test_an_address_is_taken_and_shown_without_its_password(address: str) -> None:
    check_address(address)
    assert "s3cret-word" not in shown(address) + repr(dialect_of(address)) + repr(Settings(read_model=address))


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_cannot_be_used_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(ConfigurationError, match=REFUSED[address]) as refused:
        check_address(address)
    told = "".join(traceback.format_exception(refused.value)) + shown(address)
    assert "s3cret-word" not in told
