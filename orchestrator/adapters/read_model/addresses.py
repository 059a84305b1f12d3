"""Addresses of read models, in SQLAlchemy's form. They may contain a password: show them only with ``shown``."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ...errors import ConfigurationError
from .dialect import Dialect
from .postgresql import Postgresql
from .sqlite import Sqlite

__all__ = ["check_address", "dialect_of", "is_there", "shown"]

_FORM = "write sqlite:///path/to/file.db or postgresql://user:password@host:port/database"


def shown(url: str) -> str:
    """An address for people: without its password and its query (after ``?``)."""
    try:
        return _parsed(url).set(query={}).render_as_string(hide_password=True)
    except ConfigurationError:
        return "(not understood)"


def check_address(url: str) -> None:
    """Returns if a read model can be kept there, without opening anything.

    Raises:
        ConfigurationError: the address is malformed, of an unsupported database, or in a folder that does not exist.
    """
    dialect_of(url)


def is_there(url: str) -> bool:
    """True when a read model may exist at a valid address, as far as that shows without opening it."""
    return dialect_of(url).is_there()


def dialect_of(url: str) -> Dialect:
    """The database of an address.

    Raises:
        ConfigurationError: as ``check_address``.
    """
    parsed = _parsed(url)
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return Sqlite(_file(parsed))
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return Postgresql(_server(parsed))
        case other:
            raise ConfigurationError(f"the read model cannot be kept in {other!r}; {_FORM}")


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Neither the address nor the parser's message: both may contain a password.
        raise ConfigurationError(f"the read model's address is not understood; {_FORM}") from None
    if parsed.get_backend_name() == "sqlite":
        return parsed
    if "@" in f"{parsed.host}{parsed.database}":
        raise ConfigurationError("the read model's address has more than one '@'; write one in a password as %40")
    return parsed


def _file(parsed: URL) -> URL:
    if parsed.database in (None, "", ":memory:"):
        raise ConfigurationError(f"the read model needs its own file or the log's; {_FORM}")
    folder = Path(str(parsed.database)).parent
    if not folder.is_dir():
        where = parsed.set(query={}).render_as_string(hide_password=True)
        raise ConfigurationError(
            f"the read model cannot be kept at {where}: there is no folder {folder}; create it, or give another"
        )
    return parsed


def _server(parsed: URL) -> URL:
    if not parsed.database:
        raise ConfigurationError(f"the read model's address names no database; {_FORM}")
    if "password" in parsed.query:
        raise ConfigurationError("the read model's address has its password after the '?'; write user:password@host")
    return parsed.set(drivername="postgresql+psycopg")
