"""Parcels: letters that wait. A delayed message, or a key of a group whose messages are retried in order.

Ids: ``@parcel/{message}`` for a delayed message, ``@parcel/{group}/{key}`` for a key of a group. A letter is a record
as it will be written: bytes are base64, since documents and messages are JSON.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from binascii import a2b_base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from .keys import key_wrong
from .pieces import Piece

__all__ = [
    "ATTEMPT",
    "DUE_MS_MAX",
    "PARCEL",
    "RELEASE",
    "SOURCE",
    "Base64",
    "Discard",
    "Edit",
    "Handled",
    "Letter",
    "ParcelRequest",
    "Posted",
    "Redrive",
    "Reschedule",
    "RetryPolicy",
    "Skip",
    "Source",
    "TIMESTAMP",
    "ToParcel",
    "delayed_id",
    "from_base64",
    "is_delayed",
    "parcel_id",
    "parked_letter",
    "single_id",
    "to_base64",
]

PARCEL: Final = "sagaline-parcel"
"""Header of a redelivery and of a release: the id of the parcel."""
SOURCE: Final = "sagaline-source"
"""Header of a redelivery: ``topic/partition/offset`` of the letter's source."""
ATTEMPT: Final = "sagaline-attempt"
"""Header of a redelivery: which delivery of the letter it is; ``Handled`` returns it."""
TIMESTAMP: Final = "sagaline-timestamp"
"""Header of a redelivery: ``timestamp_ms`` of the letter."""
RELEASE: Final = "sagaline-release"
"""Header of a release: the last source offset that was posted. Records that have it are no redeliveries."""

DUE_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999."""


def delayed_id(message_id: str) -> str:
    """The parcel of a delayed message."""
    return f"@parcel/{_name(message_id.encode(errors='surrogatepass'))}"


def parcel_id(group: str, key: bytes | None) -> str:
    """The parcel of a key of a group: the messages of this key that wait. None: those without a key."""
    return f"@parcel/{group}/{'~' if key is None else _name(key)}"


def single_id(group: str, source: Source) -> str:
    """The parcel of one message of a group whose messages have no order."""
    return parcel_id(group, f"{source.topic}:{source.partition}:{source.offset}".encode())


def is_delayed(id: str) -> bool:
    """True for the id of a delayed message's parcel, False for that of a key."""
    return id.count("/") == 1


def _name(raw: bytes) -> str:
    """The text itself if it can be part of an id and of a URL, otherwise its digest: different names stay different."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    usable = key_wrong(text) is None and "/" not in text and not text.startswith("~")
    return text if usable else f"~{hashlib.sha256(raw).hexdigest()}"


def to_base64(raw: bytes | None) -> str | None:
    """Bytes as a letter holds them."""
    return None if raw is None else b64encode(raw).decode()


def from_base64(text: str | None) -> bytes | None:
    """The bytes of a part of a letter.

    Raises:
        ValueError: it is not base64.
    """
    return None if text is None else b64decode(text, validate=True)


def _is_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


Base64 = Annotated[str, AfterValidator(_is_base64)]
TopicName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
Offset = Annotated[int, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Millis = Annotated[int, Field(strict=True, ge=0, le=DUE_MS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The place from which a group has read a letter."""

    topic: TopicName
    partition: Offset
    offset: Offset

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(Piece):
    """A record: its original key, value and headers. ``partition`` None: by the key.

    ``id``: ``{group}/{topic}/{partition}/{offset}`` of the source, or the id of a delayed message.
    ``timestamp_ms``: of the record at its source; None: unknown.
    """

    id: Annotated[str, Field(min_length=1)]
    topic: TopicName
    partition: Offset | None = None
    key: Base64 | None = None
    value: Base64 | None = None
    headers: tuple[tuple[str, Base64], ...] = ()
    source: Source | None = None
    timestamp_ms: Annotated[int, Field(strict=True)] | None = None

    @property
    def raw_headers(self) -> tuple[tuple[str, bytes], ...]:
        return tuple([(name, a2b_base64(value)) for name, value in self.headers])


def parked_letter(
    group: str, source: Source, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> Letter:
    """The letter of a record that a group has read."""
    return Letter(
        id=f"{group}/{source}",
        topic=source.topic,
        partition=source.partition,
        key=to_base64(key),
        value=to_base64(value),
        headers=tuple((name, b64encode(text).decode()) for name, text in headers),
        source=source,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a parcel retries its first letter: ``first_ms * factor ** (n - 1)`` after attempt n failed, at most
    ``most_ms``.
    """

    max_attempts: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    first_ms: Millis
    factor: Annotated[float, Field(ge=1.0, allow_inf_nan=False)] = 2.0
    most_ms: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """To a parcel: one more letter. Either ``due_ms`` is set (a delayed message), or ``group`` and the four after it.

    ``redeliver_to``, ``redeliver_partition``: the topic and partition on which the group's owner reads redeliveries.
    ``newest``: a delayed message takes the place of the one with its id that waits, with its own time.
    ``error``, ``detail``: why this letter failed; None: it follows one that failed. ``attempts``: made with it already.
    ``park``: no retry, it waits for an operator. ``again``: a dead letter of the key that is redriven: it is appended
    although the parcel has had it, and the parcel keeps its policy.
    """

    id: str
    instance: str
    letter: Letter
    due_ms: Millis | None = None
    newest: bool = False
    group: str = ""
    redeliver_to: TopicName | Literal[""] = ""
    redeliver_partition: Offset = 0
    retry: RetryPolicy | None = None
    error: str | None = None
    detail: str = ""
    attempts: Count = 0
    park: bool = False
    again: bool = False
    traceparent: str | None = None
    kind: Literal["posted"] = "posted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """To a parcel: the outcome of a redelivery. ``source``: of the letter; ``attempt``: of the redelivery.

    A group that reads several topics has one parcel for a key of all of them, so an offset alone names no letter.

    ``poison``: no retry, the key waits for an operator.
    """

    id: str
    instance: str
    source: Source
    attempt: Count
    ok: bool
    error: str = ""
    detail: str = ""
    poison: bool = False
    traceparent: str | None = None
    kind: Literal["handled"] = "handled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """To a parcel of a key: deliver its first letter now, with all attempts of its policy."""

    id: str
    instance: str
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["redrive"] = "redrive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reschedule:
    """To a parcel of a delayed message: a new time."""

    id: str
    instance: str
    due_ms: Millis
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["reschedule"] = "reschedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """To a parcel that is delayed or parked: replaces the value of a letter, its headers, or both; None: unchanged."""

    id: str
    instance: str
    letter: str
    value: Base64 | None = None
    headers: tuple[tuple[str, Base64], ...] | None = None
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["edit"] = "edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """To a parcel of a key: its first letter becomes a dead letter, and the next is delivered.

    ``letter``: denied unless it is the first; empty: any.
    """

    id: str
    instance: str
    letter: str = ""
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["skip"] = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """To a parcel: ends it. The letters of a key become dead letters; a delayed message is cancelled without one."""

    id: str
    instance: str
    by: str = ""
    reason: str = ""
    traceparent: str | None = None
    kind: Literal["discard"] = "discard"


ParcelRequest = Redrive | Reschedule | Edit | Skip | Discard
"""What people ask of a parcel; each is answered in the history."""
ToParcel = Posted | Handled | ParcelRequest
