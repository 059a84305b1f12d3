"""Query parameters: unknown and repeated ones are rejected, so that a mistyped filter is not ignored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request

from ..orchestrator.errors import InvalidRequest
from .paths import check_length

__all__ = ["CURSOR", "LIMIT_MAX", "Cursor", "Limit", "instant", "only"]

LIMIT_MAX = 200
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]
"""The largest number of rows of a page."""
CURSOR = "from the page before"
Cursor = Annotated[str | None, Query(description=CURSOR)]


def instant(text: str | None, field: str) -> int | None:
    """A time in milliseconds since epoch; None: none is given.

    Raises:
        InvalidRequest: it is not a time with a zone.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidRequest(
            f"{text!r} is not a time with a zone; give ISO 8601, such as 2027-01-01T08:00:00Z", field=field
        )
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def only(request: Request, *known: str, repeated: tuple[str, ...] = ()) -> None:
    """Raises InvalidRequest for a parameter that is unknown, given twice or longer than any; ``field`` is its name.

    ``repeated``: these may be given several times.
    """
    seen: set[str] = set()
    for name, text in request.query_params.multi_items():
        if name not in known:
            possible = f"possible are: {', '.join(known)}" if known else "none is possible here"
            raise InvalidRequest(f"there is no query parameter {name[:64]!r}; {possible}", field=name[:64])
        if name in seen and name not in repeated:
            raise InvalidRequest(f"the query parameter {name!r} appears twice; remove one", field=name)
        if name not in repeated:
            check_length(name, text)
        seen.add(name)
