"""The route that lists overdue steps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client
from .bodies import Json
from .identity import Permission, needs
from .problems import documented
from .queries import Cursor, Limit, only
from .views import iso, iso_or_none

__all__ = ["OverdueList", "OverdueView", "overdue_router"]


class OverdueView(BaseModel):
    """A step that exceeds its `expected_within`."""

    instance: str
    step: str
    status: str
    since: str = Field(description="its last change")
    overdue: str = Field(description="when it became overdue")
    deadline: str | None = Field(description="when it times out; null: never")


class OverdueList(BaseModel):
    """A page of overdue steps, longest overdue first."""

    overdue: list[OverdueView]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


def overdue_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.get(
        "/overdue",
        response_model=OverdueList,
        summary="List overdue steps, longest overdue first",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_overdue(
        request: Request,
        *,
        definition: Annotated[str | None, Query(max_length=64)] = None,
        limit: Limit = 200,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "definition", "limit", "cursor")
        page = await client.overdue(definition, limit=limit, cursor=cursor)
        found = [
            OverdueView(
                instance=each.instance,
                step=each.step,
                status=each.status,
                since=iso(each.since_ms),
                overdue=iso(each.overdue_ms),
                deadline=iso_or_none(each.deadline_ms),
            )
            for each in page.overdue
        ]
        return Json(OverdueList(overdue=found, cursor=page.cursor))

    return router
