"""How a sealed record looks: one byte string in place of its value, which has its headers too.

``00 53 47 4C``, the length of the key's id, the id, 12 bytes of nonce, and AES-256-GCM of the headers and the value,
bound to topic and key. docs/wire-format.md is its public page. A value that does not begin so is not sealed.
"""

from __future__ import annotations

import struct
from typing import Final

from ..errors import CorruptRecord, MissingKey
from ..ports.log import Headers, Outgoing, Record
from .keys import KeyRing

__all__ = ["ENVELOPE_BYTES_MAX", "KEY_HEADER", "is_sealed", "open_record", "open_value", "seal_record", "seal_value"]

_MARK: Final = b"\x00SGL"
_LENGTH: Final = struct.Struct(">I")
KEY_HEADER: Final = "sagaline-key"
"""On a sealed record, for people: the id of its key."""
ENVELOPE_BYTES_MAX: Final = 256
"""Most bytes by which a record grows."""


def is_sealed(value: bytes | None) -> bool:
    """True: it has a sealed record's form."""
    return value is not None and value.startswith(_MARK)


def seal_value(ring: KeyRing, topic: str, key: bytes | None, value: bytes, headers: Headers = ()) -> bytes:
    """The envelope of a value, with the headers in it."""
    id, sealed = ring.seal(_packed(headers) + value, _bound_to(topic, key))
    name = id.encode()
    return b"".join((_MARK, bytes((len(name),)), name, sealed))


def seal_record(ring: KeyRing, record: Outgoing) -> Outgoing:
    """The record as it is written; a tombstone stays as it is."""
    if record.value is None:
        return record
    value = seal_value(ring, record.topic, record.key, record.value, record.headers)
    headers = (("content-type", b"application/octet-stream"), (KEY_HEADER, ring.newest.encode()))
    return record._replace(value=value, headers=headers)


def open_value(ring: KeyRing, topic: str, key: bytes | None, value: bytes, where: str) -> tuple[Headers, bytes]:
    """Headers and value of an envelope.

    Raises:
        MissingKey: the ring lacks its key.
        CorruptRecord: it was altered or moved.
    """
    start = len(_MARK) + 1
    end = start + value[len(_MARK)] if len(value) > len(_MARK) else start
    try:
        plain = ring.open(value[start:end].decode(errors="replace"), value[end:], _bound_to(topic, key))
    except MissingKey as error:
        raise MissingKey(error.key, error.setting, where) from None
    except ValueError as error:
        raise CorruptRecord(
            where,
            f"{error}; then restore it from a replica or a copy, or in inputs and topics of commands skip it by "
            "`saga topics step-over`",
        ) from None
    return _unpacked(plain)


def open_record(ring: KeyRing, record: Record) -> Record:
    """The record as it was given; one that is not sealed as it is.

    Raises:
        MissingKey, CorruptRecord: as ``open_value``.
    """
    if record.value is None or not record.value.startswith(_MARK):
        return record
    where = f"{record.topic}/{record.partition}/{record.offset}"
    headers, value = open_value(ring, record.topic, record.key, record.value, where)
    return record._replace(value=value, headers=headers)


def _bound_to(topic: str, key: bytes | None) -> bytes:
    return topic.encode() + b"\x00" + (key or b"")


def _packed(headers: Headers) -> bytes:
    parts = [_LENGTH.pack(len(headers))]
    for name, value in headers:
        raw = name.encode(errors="surrogateescape")
        parts += (_LENGTH.pack(len(raw)), raw, _LENGTH.pack(len(value)), value)
    return b"".join(parts)


def _unpacked(plain: bytes) -> tuple[Headers, bytes]:
    (count,), at = _LENGTH.unpack_from(plain), _LENGTH.size
    texts: list[bytes] = []
    for _ in range(2 * count):
        (length,) = _LENGTH.unpack_from(plain, at)
        texts.append(plain[at + _LENGTH.size : at + _LENGTH.size + length])
        at += _LENGTH.size + length
    names = (name.decode(errors="surrogateescape") for name in texts[::2])
    return tuple(zip(names, texts[1::2], strict=True)), plain[at:]
