"""Column types that accept every value of a log record, on every database. They are for searching and ordering; the
values that are shown come from the documents.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = ["WHOLE_MAX", "Short", "Whole", "Words"]

WHOLE_MAX: Final = (1 << 62) - 1
_SHORT_CHARS = 400
"""PostgreSQL's indexes hold some 2,700 bytes, and an escaped character has five."""
_MARK = "\x1a"
_NOT_HELD = re.compile(f"[\x00{_MARK}\ud800-\udfff]")
_ESCAPED = re.compile(f"{_MARK}([0-9a-f]{{4}})")


class Words(TypeDecorator[str]):
    """Any text, compared by its bytes. NUL and halves of surrogate pairs, which databases reject, are escaped."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return postgresql.TEXT(collation="C") if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or value.isprintable():
            return value
        return _NOT_HELD.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or _MARK not in value:
            return value
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


class Short(Words):
    """Any text, for an index that finds equal ones: a long one is stored, and compared, as its digest."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None and len(value) > _SHORT_CHARS:
            return "sha256:" + hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
        return super().process_bind_param(value, dialect)


class Whole(TypeDecorator[int]):
    """Any integer; one beyond ``WHOLE_MAX`` is stored as ``WHOLE_MAX``."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return value if value is None else max(-WHOLE_MAX, min(WHOLE_MAX, value))
