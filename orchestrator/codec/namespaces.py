"""The record of a namespace: ``{"format": 1, "namespace": name, "partitions": count}``, with the key ``namespace``.

It is written once, when the topics are created, and never changed: it determines which partition owns a key.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic_core import from_json, to_json

from ..ports.log import Outgoing, Record
from ..ports.topics import Topics
from .wire import BadRecord

__all__ = ["LOG_FORMAT", "MADE_KEY", "Made", "decode_made", "encode_made"]

LOG_FORMAT = 1
"""Increased when the layout of records changes, so that an older release does not act on them."""
MADE_KEY = b"namespace"


class Made(NamedTuple):
    """The record of a namespace. ``partitions``: of ``inputs`` and of every topic with the same partitioning.
    ``since_ms``: when it was written.
    """

    format: int
    namespace: str
    partitions: int
    since_ms: int = 0


def encode_made(topics: Topics, partitions: int) -> Outgoing:
    value = to_json({"format": LOG_FORMAT, "namespace": topics.namespace, "partitions": partitions})
    return Outgoing(topics.made, MADE_KEY, value, (("content-type", b"application/json"),))


def decode_made(record: Record) -> Made:
    """Raises: BadRecord."""
    try:
        body = from_json(record.value or b"")
        made = Made(body["format"], body["namespace"], body["partitions"], record.timestamp_ms)
    except (ValueError, TypeError, KeyError) as error:
        raise BadRecord(f"this is not the record of a namespace ({error!r})") from error
    numbers = (made.format, made.partitions)
    if not isinstance(made.namespace, str) or not all(type(each) is int and each > 0 for each in numbers):
        raise BadRecord(f"this is not the record of a namespace: {made!r}")
    return made
