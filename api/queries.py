"""Query parameters: unknown and repeated ones are rejected, so that a mistyped filter is not ignored."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from ..orchestrator.errors import InvalidRequest

__all__ = ["Cursor", "Limit", "only"]

Limit = Annotated[int, Query(ge=1, le=200)]
"""The largest number of rows of a page."""
Cursor = Annotated[str | None, Query(description="from the page before")]


def only(request: Request, *known: str) -> None:
    """Raises InvalidRequest for an unknown or repeated parameter; ``field`` is its name."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            possible = f"possible are: {', '.join(known)}" if known else "none is possible here"
            raise InvalidRequest(f"there is no query parameter {name[:64]!r}; {possible}", field=name[:64])
        if name in seen:
            raise InvalidRequest(f"the query parameter {name!r} appears twice; remove one", field=name)
        seen.add(name)
