"""The envelope: CloudEvents 1.0 in binary mode, as headers of a record. docs/wire-format.md is its public page.

Values are JSON bodies; every attribute is a header ``ce_<name>``; ``traceparent`` is W3C's header. The codec writes
nothing that it could not read back: see ``sound``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter

from pydantic_core import from_json

from ..messages.depth import BODY_DEPTH_MAX, DEPTH_MAX, too_deep
from ..messages.keys import id_wrong
from ..messages.pieces import Piece
from ..ports.log import Headers

__all__ = [
    "BODY_DEPTH_MAX",
    "DEPTH_MAX",
    "ID_BYTES_MAX",
    "BadRecord",
    "Unsound",
    "check_envelope",
    "entity_key",
    "entity_of",
    "envelope",
    "finite",
    "header_map",
    "redated",
    "required",
    "sound",
    "text",
    "too_deep",
    "trace_context",
    "with_pieces",
    "written_ms",
]

ID_BYTES_MAX = 8_192
"""Limit of ``ce_id``, ``ce_commandid`` and the other attributes by which records refer to each other."""

_SPEC = ("ce_specversion", b"1.0")
_JSON = ("content-type", b"application/json")
_MAX_TRACE_BYTES = 128
_IS_TOO_DEEP, _ENCODED = attrgetter("is_too_deep"), attrgetter("encoded")


class BadRecord(ValueError):
    """The record is not a valid message; the error says what is wrong. The record goes to the dead letter topic."""


class Unsound(ValueError):
    """A value that could be written but not read back; the message says what is wrong with it."""


def sound(value: bytes, depth_max: int = DEPTH_MAX) -> bytes:
    """The unchanged JSON, if it can be read back.

    Raises:
        Unsound: it has more than ``depth_max`` levels.
    """
    if too_deep(value, depth_max):
        raise Unsound(f"it has more than {depth_max} levels of objects and lists; keep it flatter")
    return value


def with_pieces(frame: bytes, name: str, pieces: Sequence[Piece], levels: int = 1) -> bytes:
    """A document's JSON with a list of pieces as the last field of its last object.

    Args:
        frame: the document without that field.
        name: of the field.
        pieces: its elements.
        levels: 1: the object is the document itself; 2: it is the document's last field.

    Raises:
        Unsound: a piece has so many levels that the document has more than ``DEPTH_MAX``.
    """
    if True in map(_IS_TOO_DEEP, pieces):
        raise Unsound(f"it has more than {DEPTH_MAX} levels of objects and lists; keep it flatter")
    end = len(frame) - levels
    elements = b",".join(map(_ENCODED, pieces))
    return b"".join((frame[:end], b',"', name.encode(), b'":[', elements, b"]", frame[end:]))


def finite(value: bytes) -> bytes:
    """The unchanged result of ``to_json``, if it is JSON: Python's floats have values that JSON does not have.

    Raises:
        Unsound: a number in it is NaN or infinite.
    """
    if b"NaN" in value or b"Infinity" in value:
        try:
            from_json(value, allow_inf_nan=False)
        except ValueError as error:
            raise Unsound("it has a number that is NaN or infinite; JSON has neither") from error
    return value


def entity_key(entity: str) -> bytes:
    """The key of records to an entity.

    Raises:
        Unsound: no record to it could be read.
    """
    try:
        key = entity.encode()
        entity_of(key)
    except ValueError as error:
        raise Unsound(f"{entity[:80]!r} cannot be an entity's id: {error}") from error
    return key


def entity_of(key: bytes | None) -> str:
    """The entity that a record of ``inputs`` is for.

    Raises:
        BadRecord: the key is missing, too long, not UTF-8 or holds control characters.
    """
    if not key:
        raise BadRecord("the record has no key; the key is the instance's id")
    try:
        entity = key.decode()
    except UnicodeDecodeError as error:
        raise BadRecord("the record's key is not UTF-8") from error
    if (wrong := id_wrong(entity)) is not None:
        raise BadRecord(f"the record's key {wrong}")
    return entity


def envelope(
    kind: str,
    *,
    id: str,
    source: str,
    subject: str,
    now_ms: int,
    traceparent: str | None = None,
    extensions: tuple[tuple[str, str], ...] = (),
) -> Headers:
    """The headers of a record. ``extensions``: names without the ``ce_`` prefix, and values.

    Raises:
        Unsound: the id is over the limit.
        UnicodeEncodeError: a text cannot be written.
    """
    if len(id) > ID_BYTES_MAX // 4 and len(id.encode()) > ID_BYTES_MAX:
        raise Unsound(f"its id {id[:80]!r}… has {len(id.encode()):,} bytes, the limit is {ID_BYTES_MAX:,}")
    headers = (
        _SPEC,
        _JSON,
        ("ce_id", id.encode()),
        ("ce_type", kind.encode()),
        ("ce_source", source.encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", _time(now_ms)),
        *[("ce_" + name, value.encode()) for name, value in extensions],
    )
    return headers if traceparent is None else (*headers, ("traceparent", traceparent.encode()))


def redated(headers: Headers, now_ms: int, traceparent: str | None) -> Headers:
    """The headers of an envelope with another time, and another trace if it has one."""
    new = (
        {"ce_time": _time(now_ms)}
        if traceparent is None
        else {
            "ce_time": _time(now_ms),
            "traceparent": traceparent.encode(),
        }
    )
    return tuple([(name, new.get(name, value)) for name, value in headers])


@lru_cache(maxsize=64)
def _time(now_ms: int) -> bytes:
    """RFC 3339 with milliseconds; the records of a batch share one time."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").encode()


def written_ms(headers: dict[str, bytes]) -> int | None:
    """When a record was written, by its writer's clock; None: missing or not a time, which is tolerated."""
    try:
        written = datetime.fromisoformat(headers["ce_time"].decode())
        return round((written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp() * 1000)
    except (KeyError, ValueError, OverflowError):
        return None


def header_map(headers: Headers) -> dict[str, bytes]:
    """Headers by name; of repeated names the last."""
    return dict(headers)


def check_envelope(headers: Headers) -> None:
    """Checks the rules of docs/wire-format.md for every envelope. ``ce_specversion`` and ``content-type`` are optional.

    Raises:
        BadRecord: an attribute is repeated, the value is a whole CloudEvent, or the version is another.
    """
    if len(headers) != len({name for name, _ in headers}):
        names = [name for name, _ in headers if name.startswith("ce_")]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadRecord(f"header {twice} is repeated; send each attribute once")
    found = header_map(headers)
    if found.get("content-type", b"").startswith(b"application/cloudevents"):
        raise BadRecord(
            "the record is a CloudEvent in structured mode; use the binary mode: the attributes as headers "
            "ce_id, ce_type, …, and only the data as the value"
        )
    if (version := text(found, "ce_specversion") or "1.0") != "1.0":
        raise BadRecord(f"header ce_specversion is {version[:32]!r}; this release reads 1.0")


def text(headers: dict[str, bytes], name: str) -> str | None:
    """A header as text, None when it is missing; BadRecord when it is not UTF-8."""
    raw = headers.get(name)
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(f"header {name} is not UTF-8") from error


def required(headers: dict[str, bytes], name: str, bytes_max: int = ID_BYTES_MAX) -> str:
    """A header that is required, up to ``bytes_max``."""
    value = text(headers, name)
    if not value:
        raise BadRecord(f"header {name} is missing")
    if len(headers[name]) > bytes_max:
        raise BadRecord(f"header {name} has {len(headers[name]):,} bytes, the limit is {bytes_max:,}")
    return value


def trace_context(headers: dict[str, bytes]) -> str | None:
    """The W3C ``traceparent``; None when it is missing or invalid: a bad trace must not stop a message."""
    raw = headers.get("traceparent", b"")
    return raw.decode() if 0 < len(raw) <= _MAX_TRACE_BYTES and raw.isascii() else None
