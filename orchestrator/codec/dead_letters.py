"""Dead letters: the original bytes and headers, with the reason and the origin. A dead letter always fits the log.

A record that is too large is cut: it has the beginning of the value, with the length and digest of the whole, and the
headers that fit, in order. The original stays in its topic until the retention ends.
"""

from __future__ import annotations

import hashlib

from ..messages.texts import storable
from ..ports.log import Headers, Outgoing, Record, size_bytes

__all__ = ["dead_letter"]

_REASON_CHARS = 1_000
_KEY_BYTES = 2_048
_HEADERS_BYTES = 16_384
_HEAD_BYTES = 65_536
"""How much of a value that does not fit is kept: enough to recognise it."""


def dead_letter(topic: str, partition: int | None, record: Record, reason: str, bytes_max: int) -> Outgoing:
    """The record for the dead letter topic: the original key, value and headers, plus ``dead-…`` headers.

    ``dead-reason``, ``dead-topic``, ``dead-partition`` and ``dead-offset`` replace earlier ones. If the record is cut,
    ``dead-value-bytes`` and ``dead-value-sha256`` describe the whole value, ``dead-headers-left-out`` counts missing
    headers, and ``dead-key-bytes`` is the length of the whole key.

    Args:
        topic: the dead letter topic.
        partition: of that topic; None: by the key.
        record: the record that cannot be used.
        reason: why, for people.
        bytes_max: the largest record of the log, 2,000 or more.
    """
    kept = tuple((name, value) for name, value in record.headers if not name.startswith("dead-"))
    why: Headers = (
        ("dead-reason", storable(reason, min(_REASON_CHARS, bytes_max // 32)).encode()),
        ("dead-topic", record.topic.encode()),
        ("dead-partition", str(record.partition).encode()),
        ("dead-offset", str(record.offset).encode()),
    )
    if size_bytes(record.key, record.value, kept + why) <= bytes_max:
        return Outgoing(topic, record.key, record.value, kept + why, partition)
    key, value = record.key, record.value
    key_max = min(_KEY_BYTES, bytes_max // 8)
    if key is not None and len(key) > key_max:
        why += (("dead-key-bytes", str(len(key)).encode()),)
        key = key[:key_max]
    fitting = _fitting(kept, min(_HEADERS_BYTES, bytes_max // 4))
    if len(fitting) < len(kept):
        why += (("dead-headers-left-out", str(len(kept) - len(fitting)).encode()),)
    if value is not None and size_bytes(key, value, fitting + why) > bytes_max:
        digest = hashlib.sha256(value).hexdigest().encode()
        why += (("dead-value-bytes", str(len(value)).encode()), ("dead-value-sha256", digest))
        room = bytes_max - size_bytes(key, b"", fitting + why)
        value = value[: max(0, min(_HEAD_BYTES, room))]
    return Outgoing(topic, key, value, fitting + why, partition)


def _fitting(headers: Headers, bytes_max: int) -> Headers:
    found, left = [], bytes_max
    for name, value in headers:
        size = size_bytes(None, None, ((name, value),))
        if size <= left:
            found.append((name, value))
            left -= size
    return tuple(found)
