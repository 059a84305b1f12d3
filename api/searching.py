"""The filter of instances, one for lists, counts and bulks: as query parameters and as fields of a body."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, Field

from ..orchestrator.client import Client
from ..orchestrator.client.checks import ID_CHARS_MAX, check_key, check_text
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.document import Status
from ..orchestrator.ports.read_model import InstanceFilter, Sort, SortBy, Span
from ..sagas.definition import StatusName
from .queries import CURSOR, LIMIT_MAX, instant, only

__all__ = ["CountQuery", "InstanceWhere", "ListQuery", "sort_of", "sought", "where_of"]

_CONDITIONS_MAX = 10
_TIME = "ISO 8601 with a time zone"


def _listed(given: object) -> object:
    return [given] if isinstance(given, str) else given


class InstanceWhere(BaseModel):
    """Which instances: all given conditions hold."""

    status: Annotated[list[StatusName], BeforeValidator(_listed)] = Field([], description="with one of these statuses")
    definition: str | None = Field(None, max_length=64, description="of this definition")
    version: int | None = Field(None, ge=0, le=2**31 - 1, description="of this version")
    key: str | None = Field(None, description="with this key")
    key_prefix: str | None = Field(None, min_length=1, description="with a key that begins so")
    where: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [],
        max_length=_CONDITIONS_MAX,
        description="by a searchable field of the state: its name, one of = >= <= > < and (a text that begins so) ^=, "
        "and a value; `customer=ann`, `total_cents>=1000`, `paid=true`, `due<2026-05-01T00:00:00Z`",
    )
    code: str | None = Field(
        None, description="why it is compensated or needs attention: the code of a rejection, a reason code or a kind"
    )
    overdue: bool | None = Field(None, description="whether one of its steps takes longer than expected")
    paused: bool | None = Field(None, description="whether it is paused")
    started_since: str | None = Field(None, max_length=80, description=f"started then or later; {_TIME}")
    started_until: str | None = Field(None, max_length=80, description=f"started before then; {_TIME}")
    updated_since: str | None = Field(None, max_length=80, description=f"last changed then or later; {_TIME}")
    updated_until: str | None = Field(None, max_length=80, description=f"last changed before then; {_TIME}")


class CountQuery(InstanceWhere):
    """Query parameters of a count."""


class ListQuery(InstanceWhere):
    """Query parameters of a list."""

    sort: str = Field(
        f"-{SortBy.CREATED}",
        json_schema_extra={"enum": [f"{sign}{by}" for by in SortBy for sign in ("", "-")]},
        description="a column, with `-` the greatest first; then by start and id. `version` sorts by definition first",
    )
    limit: int = Field(50, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(None, description=CURSOR)


def sought(request: Request, query: InstanceWhere) -> None:
    """Raises InvalidRequest for a parameter that is unknown, or repeated although it is no list."""
    only(request, *type(query).model_fields, repeated=("status", "where"))


def where_of(client: Client, given: InstanceWhere) -> InstanceFilter:
    """The filter that is meant.

    Raises:
        InvalidRequest: a value is wrong; ``field`` says which.
    """
    prefix, code = given.key_prefix, given.code
    return InstanceFilter(
        definition=given.definition,
        statuses=tuple(Status(each) for each in dict.fromkeys(given.status)),
        key=check_key(given.key) if given.key is not None else None,
        version=given.version,
        key_prefix=check_text(prefix, "key_prefix", ID_CHARS_MAX) if prefix is not None else None,
        attributes=tuple(client.condition(text) for text in given.where),
        started=Span(instant(given.started_since, "started_since"), instant(given.started_until, "started_until")),
        updated=Span(instant(given.updated_since, "updated_since"), instant(given.updated_until, "updated_until")),
        code=check_text(code, "code", ID_CHARS_MAX) if code is not None else None,
        is_overdue=given.overdue,
        is_paused=given.paused,
    )


def sort_of(given: str) -> Sort:
    """The order that is meant. Raises InvalidRequest: there is no such column."""
    try:
        return Sort(SortBy(given.removeprefix("-")), ascending=not given.startswith("-"))
    except ValueError:
        columns = ", ".join(SortBy)
        raise InvalidRequest(
            f"instances cannot be sorted by {given[:64]!r}; give one of {columns}, with - the greatest first",
            field="sort",
        ) from None
