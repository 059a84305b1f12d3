"""Format numbers of stored documents: an older format is upcast when it is read, a newer one is rejected.

A change that older readers cannot handle increases the number, and adds to the upcasts of that kind of document a
function from the old format to the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

from .wire import BadRecord

__all__ = ["NewerFormat", "Upcasts", "check_format", "upcast"]

Upcasts: TypeAlias = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
"""By format number: a function that converts a body to the next format."""


class NewerFormat(BadRecord):
    """A document was written by a newer release; only a node with that release can decide about it."""


def check_format(number: object, newest: int) -> int:
    """Returns the number if it is a format that this release reads.

    Raises:
        NewerFormat: it is above ``newest``.
        BadRecord: it is not a format number.
    """
    if type(number) is not int or number < 1:
        raise BadRecord("the document has no format number")
    if number > newest:
        raise NewerFormat(f"the document has format {number}, this release knows up to {newest}; deploy the newer one")
    return number


def upcast(value: bytes, newest: int, upcasts: Upcasts) -> bytes:
    """The document in the newest format, converted if it is older.

    Raises:
        NewerFormat: its format number is above ours.
        BadRecord: it is not a JSON object with a format number.
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
