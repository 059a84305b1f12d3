"""Cursors of a list: the end of the last page, as opaque text."""

from __future__ import annotations

import base64
import binascii

from pydantic_core import from_json, to_json

from ...errors import InvalidRequest

__all__ = ["Place", "decode_cursor", "encode_cursor"]

_CHARS_MAX = 4096

Place = tuple[int | str, ...]
"""The order columns of the last entry of a page: the next page begins after it."""


def encode_cursor(order: str, place: Place) -> str:
    """The cursor of a place in the named order."""
    return base64.urlsafe_b64encode(to_json([order, *place])).decode().rstrip("=")


def decode_cursor(cursor: str, order: str, *types: type[int] | type[str]) -> Place:
    """The place of a cursor; ``types`` are those of the order's columns.

    Raises:
        InvalidRequest: it is malformed, or of another list (field ``cursor``).
    """
    try:
        if len(cursor) > _CHARS_MAX:
            raise ValueError("too long")
        named, *place = from_json(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if named != order or [type(value) for value in place] != list(types):
            raise ValueError("of another list")
        if any(isinstance(value, int) and abs(value) >= 1 << 62 for value in place):
            raise ValueError("other values")
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidRequest(
            "the cursor is not one of this list; pass the cursor of its last page, or omit it", field="cursor"
        ) from error
    return tuple(place)
