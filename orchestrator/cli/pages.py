"""Lists of the REST API, taken page by page."""

from __future__ import annotations

from collections.abc import Mapping

from .options import Remote
from .remote import Json, request

__all__ = ["gather"]

_PAGE_MAX = 100


def gather(
    remote: Remote,
    path: str,
    field: str,
    limit: int,
    *,
    filters: Mapping[str, str | None] | None = None,
    marks: tuple[str, str] = ("cursor", "cursor"),
) -> tuple[list[Json], str | int | None]:
    """Up to ``limit`` entries of a list, and what leads to those behind them; None: these are all.

    Args:
        remote: which API.
        path: of the list.
        field: of a page, that holds its entries.
        limit: at most so many entries.
        filters: which entries, as the list's query takes it.
        marks: what a query calls the place to go on from, and what a page calls it.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    asks, tells = marks
    found: list[Json] = []
    mark: str | int | None = None
    while len(found) < limit:
        query = {**(filters or {}), "limit": min(_PAGE_MAX, limit - len(found)), asks: mark}
        _, page = request(remote, "GET", path, query=query)
        found += page[field]
        mark = page.get(tells)
        if mark is None:
            break
    return found, mark
