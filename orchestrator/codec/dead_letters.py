"""Dead letters: the original bytes and headers, with the reason and the origin. A dead letter always fits the log.

A record that is too large is cut: it has the beginning of the value, with the length and digest of the whole, and the
headers that fit, in order. The original stays in its topic until the retention ends.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from contextlib import suppress
from typing import NamedTuple

from ..messages.dead import Cut, DeadRecord
from ..messages.parcels import to_base64
from ..messages.texts import end_of, storable
from ..ports.log import Headers, Outgoing, Record, size_bytes
from .wire import header_map

__all__ = ["Why", "dead_letter", "read_dead_letter"]

_OURS = "dead-"
_REASON_CHARS = 1_000
_DETAIL_CHARS = 4_000
_CODE_CHARS = 64
_KEY_BYTES = 2_048
_HEADERS_BYTES = 16_384
_HEAD_BYTES = 65_536
"""How much of a value that does not fit is kept: enough to recognise it."""


class Why(NamedTuple):
    """Why a record is dead. ``code``: for machines; ``group``: whose message it is; ``detail``: a traceback."""

    reason: str
    code: str = ""
    group: str = ""
    detail: str = ""


def dead_letter(topic: str, partition: int | None, record: Record, why: Why, bytes_max: int) -> Outgoing:
    """The record for the dead letter topic: the original key, value and headers, plus ``dead-…`` headers.

    ``dead-reason``, ``dead-topic``, ``dead-partition`` and ``dead-offset`` replace earlier ones, and ``dead-code``,
    ``dead-group`` and ``dead-detail`` are added where they are known. If the record is cut,
    ``dead-value-bytes`` and ``dead-value-sha256`` describe the whole value, ``dead-headers-left-out`` counts missing
    headers, and ``dead-key-bytes`` is the length of the whole key.

    Args:
        topic: the dead letter topic.
        partition: of that topic; None: by the key.
        record: the record that cannot be used.
        why: the reason.
        bytes_max: the largest record of the log, 2,000 or more.
    """
    kept = tuple((name, value) for name, value in record.headers if not name.startswith(_OURS))
    about: Headers = (
        ("dead-reason", storable(why.reason, min(_REASON_CHARS, bytes_max // 32)).encode()),
        ("dead-topic", record.topic.encode()),
        ("dead-partition", str(record.partition).encode()),
        ("dead-offset", str(record.offset).encode()),
    )
    more = {"code": storable(why.code, _CODE_CHARS), "group": why.group}
    more["detail"] = end_of(why.detail, min(_DETAIL_CHARS, bytes_max // 64))
    about += tuple((f"dead-{name}", text.encode()) for name, text in more.items() if text)
    if size_bytes(record.key, record.value, kept + about) <= bytes_max:
        return Outgoing(topic, record.key, record.value, kept + about, partition)
    key, value = record.key, record.value
    key_max = min(_KEY_BYTES, bytes_max // 8)
    if key is not None and len(key) > key_max:
        about += (("dead-key-bytes", str(len(key)).encode()),)
        key = key[:key_max]
    fitting = _fitting(kept, min(_HEADERS_BYTES, bytes_max // 4))
    if len(fitting) < len(kept):
        about += (("dead-headers-left-out", str(len(kept) - len(fitting)).encode()),)
    if value is not None and size_bytes(key, value, fitting + about) > bytes_max:
        digest = hashlib.sha256(value).hexdigest().encode()
        about += (("dead-value-bytes", str(len(value)).encode()), ("dead-value-sha256", digest))
        room = bytes_max - size_bytes(key, b"", fitting + about)
        value = value[: max(0, min(_HEAD_BYTES, room))]
    return Outgoing(topic, key, value, fitting + about, partition)


def _fitting(headers: Headers, bytes_max: int) -> Headers:
    found, left = [], bytes_max
    for name, value in headers:
        size = size_bytes(None, None, ((name, value),))
        if size <= left:
            found.append((name, value))
            left -= size
    return tuple(found)


def read_dead_letter(record: Record) -> DeadRecord:
    """A record of the dead letter topic. Never raises: what a foreign writer has left out is not known."""
    ours = {name: raw.decode(errors="replace") for name, raw in header_map(record.headers).items()}
    cut = Cut(
        value_bytes=_number(ours, "dead-value-bytes"),
        value_sha256=ours.get("dead-value-sha256", ""),
        key_bytes=_number(ours, "dead-key-bytes"),
        headers_left_out=_number(ours, "dead-headers-left-out") or 0,
    )
    source = {"source_partition": _number(ours, "dead-partition"), "source_offset": _number(ours, "dead-offset")}
    return DeadRecord(
        partition=record.partition,
        offset=record.offset,
        at_ms=max(0, record.timestamp_ms),
        topic=storable(ours.get("dead-topic", "")),
        key=to_base64(record.key),
        value=to_base64(record.value),
        headers=tuple(
            (storable(name), b64encode(raw).decode()) for name, raw in record.headers if not name.startswith(_OURS)
        ),
        reason=storable(ours.get("dead-reason", "")),
        code=storable(ours.get("dead-code", "")),
        group=storable(ours.get("dead-group", "")),
        detail=storable(ours.get("dead-detail", "")),
        cut=None if cut == Cut() else cut,
        **{name: number for name, number in source.items() if number is not None},
    )


def _number(ours: dict[str, str], name: str) -> int | None:
    with suppress(KeyError, ValueError):
        return int(ours[name])
    return None
