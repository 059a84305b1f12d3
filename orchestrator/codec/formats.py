"""Format numbers of stored documents: one of an older format is upcast when it is read, one of a newer is refused.

A change that a reader of the format before could not follow raises the number, and adds to the table of its kind of
document what makes one of the new format of one of the format before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

from .wire import BadRecord

__all__ = ["NewerFormat", "Upcasts", "check_format", "upcast"]

Upcasts: TypeAlias = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
"""By format number, what makes of a body of that format one of the next."""


class NewerFormat(BadRecord):
    """A document was written by a newer release than this one; a node that knows it must decide about it."""


def check_format(number: object, newest: int) -> int:
    """Returns the number of a format that this release reads.

    Raises:
        NewerFormat: it is above ``newest``.
        BadRecord: it is none.
    """
    if type(number) is not int or number < 1:
        raise BadRecord("the document has no format number")
    if number > newest:
        raise NewerFormat(f"the document has format {number}, this release knows up to {newest}; deploy the newer one")
    return number


def upcast(value: bytes, newest: int, upcasts: Upcasts) -> bytes:
    """The document as the newest format lays it out; one that is of it already as it is.

    Raises:
        NewerFormat: its format number is above ours.
        BadRecord: it is no JSON object with a format number.
    """
    if value.startswith(b'{"format":%d,' % newest):
        return value
    try:
        body = from_json(value)
    except ValueError as error:
        raise BadRecord(f"the document is not JSON: {error}") from error
    number = check_format(body.get("format") if isinstance(body, dict) else None, newest)
    for older in range(number, newest):
        body = upcasts[older](body)
    return to_json(body | {"format": newest})
