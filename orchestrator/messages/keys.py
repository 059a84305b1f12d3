"""The one rule for keys and ids, from any source: a client, an author's function, a record that others wrote.

A key is the business identity of an instance, what an event is published under, or the name of a lock. An id is what a
record on ``inputs`` is keyed by. Each function says what is wrong and what to give instead; None: nothing is wrong.
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
"""Of a whole id; a child's is made of its parent's, and so longer than a key of a client's."""

_FORBIDDEN: Final = {
    "Cc": "a control character",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_DOTS: Final = (".", "..")


def key_wrong(key: object) -> str | None:
    """Why this cannot be a key: no text, empty, over 256 characters or 512 bytes, a character that no id holds, or
    ``.`` or ``..``, which no URL can carry.
    """
    if not isinstance(key, str):
        return f"is a {type(key).__name__}; give a text of 1 to {KEY_CHARS_MAX} characters"
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        return f"has {len(key)} characters; give 1 to {KEY_CHARS_MAX}"
    if (wrong := character_wrong(key)) is not None:
        return wrong
    if (size := len(key.encode())) > KEY_BYTES_MAX:
        return f"has {size} bytes in UTF-8; give at most {KEY_BYTES_MAX}"
    return f"{key!r} cannot stand in a URL; choose another" if key in _DOTS else None


def id_wrong(id: str) -> str | None:
    """Why this cannot be an entity's id at all: empty, over 2,048 bytes, or a character that no id holds."""
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
        return "is not definition/key; begin it with a definition's name and give a key behind the '/'"
    return f"ends in {key!r}, which cannot stand in a URL; choose another key" if key in _DOTS else None


def character_wrong(text: str, allowed: str = "") -> str | None:
    """Why a text cannot be written down: the first character that is forbidden and not allowed here."""
    if text.isascii() and text.isprintable():
        return None
    for place, character in enumerate(text):
        if character not in allowed and (found := _FORBIDDEN.get(unicodedata.category(character))):
            return f"has {found} (U+{ord(character):04X}) at place {place}; leave it out"
    return None
