"""The rules for keys and ids, whatever their source: a client, an author's function, a foreign record.

A key is the business identity of an instance, the key of an event, or the name of a lock. An id is the key of a record
on ``inputs``. Each function says what is wrong and what to give instead; None: it is valid.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from ...sagas.contract import is_name

__all__ = [
    "ENTITY_BYTES_MAX",
    "KEY_BYTES_MAX",
    "KEY_CHARS_MAX",
    "character_wrong",
    "id_wrong",
    "instance_wrong",
    "key_wrong",
]

KEY_CHARS_MAX: Final = 256
KEY_BYTES_MAX: Final = 512
ENTITY_BYTES_MAX: Final = 2_048
"""Limit of a whole id. A child's id contains its parent's, so it may be longer than a client's key."""

_FORBIDDEN: Final = {
    "Cc": "a control character",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_DOTS: Final = (".", "..")


def key_wrong(key: object) -> str | None:
    """Why this cannot be a key: not a string, empty, over 256 characters or 512 bytes, a forbidden character, or ``.``
    or ``..``, which cannot be part of a URL.
    """
    if not isinstance(key, str):
        return f"is a {type(key).__name__}; give a string of 1 to {KEY_CHARS_MAX} characters"
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        return f"has {len(key)} characters; give 1 to {KEY_CHARS_MAX}"
    if (wrong := character_wrong(key)) is not None:
        return wrong
    if (size := len(key.encode())) > KEY_BYTES_MAX:
        return f"has {size} bytes in UTF-8; give at most {KEY_BYTES_MAX}"
    return f"{key!r} cannot be part of a URL; choose another" if key in _DOTS else None


def id_wrong(id: str) -> str | None:
    """Why this cannot be an entity's id: empty, over 2,048 bytes, or a forbidden character."""
    if not id:
        return "is empty; give the entity's id"
    if (wrong := character_wrong(id)) is not None:
        return wrong
    size = len(id.encode())
    return f"has {size:,} bytes; give at most {ENTITY_BYTES_MAX:,}" if size > ENTITY_BYTES_MAX else None


def instance_wrong(id: str) -> str | None:
    """Why this cannot be an instance's id, ``definition/key``; the key of a child may be longer than a client's."""
    definition, _, key = id.partition("/")
    if (wrong := id_wrong(id)) is not None:
        return wrong
    if not is_name(definition) or not key:
        return "is not definition/key; give a definition's name, '/' and a key"
    return f"ends in {key!r}, which cannot be part of a URL; choose another key" if key in _DOTS else None


def character_wrong(text: str, allowed: str = "") -> str | None:
    """The first forbidden character of a text, other than those ``allowed``; None: there is none."""
    if text.isascii() and text.isprintable():
        return None
    for place, character in enumerate(text):
        if character not in allowed and (found := _FORBIDDEN.get(unicodedata.category(character))):
            return f"has {found} (U+{ord(character):04X}) at position {place}; remove it"
    return None
