"""The stored form of headers: one blob per record, cheap to write and to read.

The first byte is the form. Plain: names and values joined by a separator that none of them contains. Escaped: a JSON
list of [name, base64 of value], for headers that contain it. No headers: NULL.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from functools import lru_cache

from ...ports.log import Headers

__all__ = ["decode_headers", "encode_headers"]

_SEPARATOR = b"\x1f"
_PLAIN, _ESCAPED = b"p", b"j"


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    return raw.decode()


@lru_cache(maxsize=1024)
def _raw(name: str) -> bytes:
    return name.encode()


def encode_headers(headers: Headers) -> bytes | None:
    """The stored form; ``decode_headers`` returns exactly the same headers."""
    if not headers:
        return None
    parts = [_PLAIN]
    for name, value in headers:
        parts.append(_raw(name))
        parts.append(value)
    joined = _SEPARATOR.join(parts)
    if joined.count(_SEPARATOR) == len(parts) - 1:
        return joined
    pairs = [[name, b64encode(value).decode()] for name, value in headers]
    return _ESCAPED + json.dumps(pairs).encode()


def decode_headers(stored: bytes | None) -> Headers:
    if stored is None:
        return ()
    if stored[:1] == _ESCAPED:
        return tuple((name, b64decode(value)) for name, value in json.loads(stored[1:]))
    parts = stored.split(_SEPARATOR)
    return tuple(zip(map(_name, parts[1::2]), parts[2::2], strict=True))
