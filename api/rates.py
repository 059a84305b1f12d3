"""The route that counts instances by the hour of their start."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from ..orchestrator.client import Client
from ..orchestrator.client.rates import HOURS_MAX, StartedInHour
from ..orchestrator.messages.document import Status
from .bodies import Json
from .identity import Permission, needs
from .problems import documented
from .queries import only
from .views import iso

__all__ = ["HourView", "RatesView", "rates_router"]

_NOW: JsonDict = {"running": 0, "compensating": 0, "attention": 1, "completed": 11, "compensated": 0, "abandoned": 0}
_HOUR: JsonDict = {
    "since": "2026-05-04T14:00:00.000Z",
    "until": "2026-05-04T15:00:00.000Z",
    "started": 12,
    "statuses": _NOW,
}


class HourView(BaseModel):
    """The instances that started from `since` on and before `until`."""

    since: str
    until: str
    started: int = Field(ge=0, description="how many")
    statuses: dict[Status, int] = Field(description="how many of them have each status now; none is left out")


class RatesView(BaseModel):
    """Hours, the earliest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"hours": [_HOUR]}]})

    hours: list[HourView]


def rates_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.get(
        "/instances/rates",
        response_model=RatesView,
        summary="Count the instances that started in each of the last hours, by the status that they have now",
        description="Whole hours of UTC; the last one is the hour that it is now. What changes later is counted in the "
        "hour of the start too; an instance whose retention is over is not counted.",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_rates(
        request: Request,
        *,
        hours: Annotated[int, Query(ge=1, le=HOURS_MAX, description="how many hours")] = 24,
        definition: Annotated[str | None, Query(description="only of this definition")] = None,
    ) -> Response:
        only(request, "hours", "definition")
        return Json(RatesView(hours=[_hour(each) for each in await client.rates.hours(hours, definition)]))

    return router


def _hour(found: StartedInHour) -> HourView:
    return HourView(
        since=iso(found.since_ms),
        until=iso(found.until_ms),
        started=sum(found.statuses.values()),
        statuses=dict(found.statuses),
    )
