"""Reads lists of the REST API page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .options import Remote
from .remote import Json, request

__all__ = ["gather", "gathered"]

_PAGE_MAX = 100


def gather(
    remote: Remote,
    path: str,
    field: str,
    limit: int,
    *,
    filters: Mapping[str, Any] | None = None,
    marks: tuple[str, str] = ("cursor", "cursor"),
) -> tuple[list[Json], str | int | None]:
    """Up to ``limit`` entries of a list, and the cursor of the next ones; None: these are all.

    Args:
        remote: which API.
        path: of the list.
        field: the field of a page that holds its entries.
        limit: the largest number of entries.
        filters: query parameters that select entries.
        marks: the cursor's name in a query and its name in a page.

    Raises:
        Failure, Unreachable: as ``request``.
    """
    page = gathered(remote, path, field, limit, filters=filters, marks=marks)
    return page[field], page.get(marks[1])


def gathered(
    remote: Remote,
    path: str,
    field: str,
    limit: int,
    *,
    filters: Mapping[str, Any] | None = None,
    marks: tuple[str, str] = ("cursor", "cursor"),
) -> Json:
    """As ``gather``, but the last page as a whole, with the entries of all pages."""
    asks, tells = marks
    found: list[Json] = []
    page: Json = {}
    mark: str | int | None = None
    while len(found) < limit:
        query = {**(filters or {}), "limit": min(_PAGE_MAX, limit - len(found)), asks: mark}
        _, page = request(remote, "GET", path, query=query)
        found += page[field]
        mark = page.get(tells)
        if mark is None:
            break
    return {**page, field: found}
