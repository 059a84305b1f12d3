"""Cursors of the feed: the next offset of every partition of the history, as short text for URLs.

Base64 without padding of: one byte for the version, four for the identity of the log, the offsets as LEB128 in the
order of the partitions, four for a checksum. It is the same on every node, and is read after the topic has grown:
partitions that it does not have begin at their first record. It gives no rights, so it is not signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from ..errors import InvalidRequest

__all__ = ["IDENTITY_BYTES", "Positions", "decode_cursor", "encode_cursor", "log_identity"]

Positions = tuple[int, ...]
"""The next offset of each partition, from 0 on; those that are not there are 0."""

IDENTITY_BYTES = 4
_VERSION = 1
_CHECK_BYTES = 4
_CHARS_MAX = 16_384
_OFFSET_BITS_MAX = 63
_ADVICE = "take a new one: read the feed without a cursor"


def log_identity(namespace: str, since_ms: int) -> bytes:
    """What tells one log from another: the namespace, and when it was created in this log."""
    return hashlib.blake2s(f"{namespace}/{since_ms}".encode(), digest_size=IDENTITY_BYTES).digest()


def encode_cursor(identity: bytes, positions: Positions) -> str:
    """The cursor of these positions."""
    body = bytearray((_VERSION,))
    body += identity
    for offset in positions:
        while offset >= 0x80:
            body.append(offset & 0x7F | 0x80)
            offset >>= 7
        body.append(offset)
    return base64.urlsafe_b64encode(bytes(body) + _check(body)).decode().rstrip("=")


def decode_cursor(cursor: str, identity: bytes, partitions: int) -> Positions:
    """The positions of a cursor.

    Args:
        cursor: as ``encode_cursor`` made it.
        identity: of this log.
        partitions: of the history.

    Raises:
        InvalidRequest: it is malformed, of another release, or of another log. Field ``after``.
    """
    try:
        if len(cursor) > _CHARS_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        if len(body) <= IDENTITY_BYTES or check != _check(body):
            raise ValueError("damaged")
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest(f"the cursor is not one of this feed; {_ADVICE}", field="after") from error
    if body[0] != _VERSION:
        raise InvalidRequest(f"the cursor is of another release; {_ADVICE}", field="after")
    positions = _offsets(body[1 + IDENTITY_BYTES :])
    if body[1 : 1 + IDENTITY_BYTES] != identity or len(positions) > partitions:
        raise InvalidRequest(f"the cursor is of another namespace or another log; {_ADVICE}", field="after")
    return positions


def _check(body: bytes | bytearray) -> bytes:
    return hashlib.blake2s(body, digest_size=_CHECK_BYTES).digest()


def _offsets(raw: bytes) -> Positions:
    offsets: list[int] = []
    value = shift = 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            offsets.append(value)
            value = shift = 0
    if shift or any(offset.bit_length() > _OFFSET_BITS_MAX for offset in offsets):
        raise InvalidRequest(f"the cursor is not one of this feed; {_ADVICE}", field="after")
    return tuple(offsets)
