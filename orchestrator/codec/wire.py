"""The envelope: CloudEvents 1.0 in binary mode, as headers of a record. docs/wire-format.md is its public page.

Values are JSON bodies; every attribute travels as ``ce_<name>``; ``traceparent`` is W3C's own header.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from ..ports.log import Headers

__all__ = ["BadRecord", "envelope", "header_map", "required", "text", "trace_context"]

_SPEC = ("ce_specversion", b"1.0")
_JSON = ("content-type", b"application/json")
_MAX_TRACE_BYTES = 128


class BadRecord(ValueError):
    """The bytes of a record do not make a message; the message says what is wrong. Goes to the dead letter topic."""


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
    """The headers of a record of ours. ``extensions`` are names without the ``ce_`` prefix."""
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


@lru_cache(maxsize=64)
def _time(now_ms: int) -> bytes:
    """RFC 3339 with milliseconds; the records of a batch share one time."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").encode()


def header_map(headers: Headers) -> dict[str, bytes]:
    """Headers by name; of repeated names the last."""
    return dict(headers)


def text(headers: dict[str, bytes], name: str) -> str | None:
    """A header as text, None when it is missing; BadRecord when it is not UTF-8."""
    raw = headers.get(name)
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(f"header {name} is not UTF-8") from error


def required(headers: dict[str, bytes], name: str) -> str:
    """A header that must be there."""
    value = text(headers, name)
    if not value:
        raise BadRecord(f"header {name} is missing")
    return value


def trace_context(headers: dict[str, bytes]) -> str | None:
    """The W3C ``traceparent``; None when it is missing or cannot be one: a bad trace must not stop a message."""
    raw = headers.get("traceparent", b"")
    return raw.decode() if 0 < len(raw) <= _MAX_TRACE_BYTES and raw.isascii() else None
