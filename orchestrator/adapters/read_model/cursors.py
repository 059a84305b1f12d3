"""Cursors of a list: where the last page ended, as text that callers pass back and do not read."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from pydantic_core import from_json, to_json

from ...errors import InvalidRequest

__all__ = ["Place", "decode_cursor", "encode_cursor"]

_CHARS_MAX = 2048


class Place(NamedTuple):
    """The last entity of a page: the next page begins after it. ``updated_ms`` 0 in lists that are ordered by id."""

    updated_ms: int
    id: str


def encode_cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(to_json([place.updated_ms, place.id])).decode().rstrip("=")


def decode_cursor(cursor: str) -> Place:
    """Raises: InvalidRequest (field ``cursor``)."""
    try:
        if len(cursor) > _CHARS_MAX:
            raise ValueError("too long")
        updated_ms, instance = from_json(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
        if type(updated_ms) is not int or not isinstance(instance, str) or abs(updated_ms) >= 1 << 62:
            raise ValueError("other values")
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidRequest(
            "the cursor is not one of ours; pass on what the last page gave, or leave it out", field="cursor"
        ) from error
    return Place(updated_ms, instance)
