"""The data that a partition's index needs of a stored document, at a third of the cost of decoding it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from ..messages.document import FORMAT
from ..messages.entities import ENTITY_FORMAT
from ..messages.values import first_mistake
from .formats import check_format
from .wire import BadRecord

__all__ = ["may_wait_for_code", "timers_of"]


@dataclass(slots=True)
class _Glance:
    format: int
    timers: dict[str, int] = field(default_factory=dict)


_GLANCE = TypeAdapter(_Glance)


def timers_of(key: bytes, value: bytes) -> Mapping[str, int]:
    """The timers of an instance's document, or an entity's.

    Raises:
        NewerFormat: it was written by a newer release.
        BadRecord: it has no format number, or is not a document.
    """
    try:
        found = _GLANCE.validate_json(value)
    except ValidationError as error:
        raise BadRecord(f"not a document: {': '.join(first_mistake(error))}") from error
    check_format(found.format, ENTITY_FORMAT if key.startswith(b"@") else FORMAT)
    return found.timers


def may_wait_for_code(value: bytes) -> bool:
    """False: it does not need attention for its version. True: decode it to find out."""
    return b'"kind":"version"' in value
