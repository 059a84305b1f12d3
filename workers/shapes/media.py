"""Media types: how a message says in which format it is (RFC 9110, section 8.3)."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from functools import lru_cache
from typing import NamedTuple

from ..errors import Unreadable

__all__ = ["MediaType", "media_type", "media_type_of"]

_HEADERS = ("content-type", "contenttype")
_LENGTH_MAX = 255


class MediaType(NamedTuple):
    """``text/csv; charset=utf-8``. All in lower case but the values of parameters."""

    name: str
    parameters: Mapping[str, str]

    def __str__(self) -> str:
        return "; ".join([self.name, *(f"{name}={value}" for name, value in self.parameters.items())])

    def includes(self, other: MediaType) -> bool:
        """Whether a message of the other type is one of this: the same name, and every parameter that is given here."""
        return self.name == other.name and all(
            other.parameters.get(name) == value for name, value in self.parameters.items()
        )


@lru_cache(maxsize=256)
def media_type(text: str) -> MediaType:
    """Reads a content type.

    Raises:
        ValueError: it is none.
    """
    if len(text) > _LENGTH_MAX or not text.isprintable():
        raise ValueError(f"{text[:60]!r} is no content type; give one such as 'application/json'")
    message = Message()
    message["content-type"] = text
    (name, _), *given = message.get_params([("", "")])
    kind, slash, sub = name.lower().partition("/")
    if not (kind and slash and sub) or "/" in sub or " " in name:
        raise ValueError(f"{text[:60]!r} is no content type; give one such as 'application/json'")
    return MediaType(f"{kind}/{sub}", {parameter.lower(): str(value) for parameter, value in given})


def media_type_of(headers: Mapping[str, bytes]) -> MediaType | None:
    """What a message's headers say; None: nothing.

    Raises:
        Unreadable: they say what is no content type.
    """
    for name, value in headers.items():
        if name.lower() in _HEADERS and value:
            try:
                return media_type(value.decode("ascii"))
            except ValueError as error:
                raise Unreadable(
                    f"its header {name} is no content type: {value[:60]!r}; its sender must correct it"
                ) from error
    return None
