"""The formats of foreign messages: bytes in, a plain value and its shape out.

- Input is hostile: every failure is ``Unfit``, with the reason; nothing is fetched, expanded or executed.
- A format needs its library when it is declared, not before. The extra ``sagaline[formats]`` has them all.
- XML and the binary formats: ``xml.py`` and ``binary.py``.
"""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from pydantic_core import from_json

from ...sagas import DefinitionError

__all__ = ["Csv", "Format", "Json", "Parsed", "Unfit", "decoded", "needs"]

_ROWS_MAX: Final = 100_000
_CHARSETS: Final = frozenset(
    {
        *("ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp437", "cp850", "koi8-r", "mac-roman"),
        *(f"iso8859-{part}" for part in range(1, 17)),
        *(f"cp125{part}" for part in range(9)),
        *("big5", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "shift_jis"),
    }
)
"""Those that are plain tables. Python knows others, of which some decode a short text for minutes."""


class Unfit(Exception):
    """The value is not of this format; the text says why."""


class Parsed(NamedTuple):
    """A value of a format."""

    body: Any
    """What a translator gets."""
    names: frozenset[str]
    """Its shape: keys, columns, the root's tag or the fields that are set."""


class Format(Protocol):
    """Reads values."""

    explicit: bool
    """Whether a message is of this format only if its content type says so: its bytes do not show it."""

    def parse(self, value: bytes, charset: str | None) -> Parsed:
        """Never changes anything.

        Raises:
            Unfit: with the reason.
        """
        ...


@dataclass(frozen=True)
class Json:
    """JSON (RFC 8259), in UTF-8; without NaN and infinity. The body is the value."""

    explicit = False

    def parse(self, value: bytes, charset: str | None) -> Parsed:
        text = decoded(value, charset, "it is no JSON")
        try:
            body = from_json(text, allow_inf_nan=False)
        except ValueError as error:
            raise Unfit(f"it is no JSON: {error}") from error
        return Parsed(body, frozenset(body) if isinstance(body, dict) else frozenset())


@dataclass(frozen=True)
class Csv:
    """CSV (RFC 4180) with a line of columns. The body is a list of rows, each a dict of texts by column."""

    delimiter: str = ","
    explicit = False

    def parse(self, value: bytes, charset: str | None) -> Parsed:
        text = decoded(value, charset, "it is no CSV")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter, strict=True)
        rows: list[dict[str, str]] = []
        try:
            columns = [name.strip() for name in next(lines, [])]
            if not all(columns) or len(set(columns)) < len(columns) or not columns:
                raise Unfit("it is no CSV: its first line must name every column, each once")
            for fields in lines:
                if not fields:
                    continue
                if len(fields) != len(columns):
                    raise Unfit(
                        f"it is no CSV: line {lines.line_num} has {len(fields)} fields for {len(columns)} columns"
                    )
                if len(rows) == _ROWS_MAX:
                    raise Unfit(f"it has more than {_ROWS_MAX:,} rows; its sender must split it")
                rows.append(dict(zip(columns, fields, strict=True)))
        except csv.Error as error:
            raise Unfit(f"it is no CSV: line {lines.line_num}: {error}") from error
        return Parsed(rows, frozenset(columns))


def decoded(value: bytes, charset: str | None, otherwise: str) -> str:
    """The text of a value, without a byte order mark.

    Raises:
        Unfit: it is not in that encoding, or the encoding is not known here.
    """
    name = charset_name(charset)
    try:
        return value.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError as error:
        at = f"byte {error.start:,} is no {charset or 'utf-8'}"
        raise Unfit(f"{otherwise}: {at}; its sender must name its encoding, as in text/csv; charset=cp1252") from error


def charset_name(charset: str | None) -> str:
    """Python's name of an encoding.

    Raises:
        Unfit: not one of those that are known here.
    """
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise Unfit(f"its encoding {charset!r} is not known here; its sender must use utf-8")
    return name


def needs(at: str, module: str, error: ImportError) -> DefinitionError:
    """A library is not installed."""
    return DefinitionError(f"{at} needs {module}, which is not installed ({error}): pip install 'sagaline[formats]'")
