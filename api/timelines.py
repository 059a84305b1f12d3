"""The route that shows a run over time: for each node its bars."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client
from ..orchestrator.client.timeline import DECISIONS_MAX, timeline_of
from ..orchestrator.kernel.timeline import Bar, BarKind, Lane, Timeline
from ..orchestrator.messages.document import Status, StepStatus
from ..orchestrator.tracing import trace_id_of
from .bodies import Json
from .identity import Permission, needs
from .paths import INSTANCES, instance_of
from .problems import documented
from .queries import only
from .views import iso, iso_or_none

__all__ = ["BarView", "LaneView", "TimelineView", "timeline_view", "timelines_router"]


class BarView(BaseModel):
    """One status of a node, from its beginning to its end."""

    kind: BarKind = Field(
        description="`attempt` and `undo`: at a worker; `child`: child instances run; `wait`: for an event, a person, "
        "a lock, its branches, the next attempt or an operator; `moment`: done as soon as it began"
    )
    status: StepStatus
    begin: str
    end: str | None = Field(description="null: it lasts")
    then: StepStatus | None = Field(description="the status that ended it; null: none did, or the instance ended")
    command: str | None = Field(description="id of the command that it began with; null: none was sent")
    cut: bool = Field(description="it began before `begin`: before the decisions that were read")


class LaneView(BaseModel):
    """A node in one round of its loops, with the bars of its attempts, its waits and its undo."""

    name: str
    kind: str | None = Field(description="of its node, such as `step` or `run`; null: its code is not deployed here")
    within: list[str] = Field(description="the nodes around it, outermost first")
    status: StepStatus
    bars: list[BarView] = Field(description="in the order of their beginning; they never overlap")


class TimelineView(BaseModel):
    """The last run of a key over time."""

    id: str
    status: Status | None = Field(description="null: it has no run")
    begin: str = Field(description="of the run, or of the decisions that were read")
    end: str | None = Field(description="null: it goes on")
    trace_id: str | None
    whole: bool = Field(description="false: there are older decisions than were read")
    decisions: int = Field(description="how many were read")
    lanes: list[LaneView] = Field(description="in the order of their beginning")


def timelines_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.get(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}/timeline",
        response_model=TimelineView,
        summary="Show a run over time: for each node its attempts, waits, children and undo as bars",
        description="Of a key that began anew, its last run. A node that has not changed in the decisions that are "
        "read has no lane; with `whole` every node that has begun has one.",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_timeline(
        request: Request,
        definition: str,
        key: str,
        limit: Annotated[int, Query(ge=1, le=DECISIONS_MAX, description="the newest decisions that are read")] = 500,
    ) -> Response:
        only(request, "limit")
        instance = instance_of(definition, key)
        found, count = await timeline_of(client, instance, limit)
        return await asyncio.to_thread(lambda: Json(timeline_view(instance, found, count)))

    return router


def timeline_view(instance: str, found: Timeline, count: int) -> TimelineView:
    """A timeline for people, from so many decisions."""
    return TimelineView(
        id=instance,
        status=found.status,
        begin=iso(found.begin_ms),
        end=iso_or_none(found.end_ms),
        trace_id=trace_id_of(found.traceparent),
        whole=found.whole,
        decisions=count,
        lanes=[_lane(each) for each in found.lanes],
    )


def _lane(lane: Lane) -> LaneView:
    bars = [_bar(each) for each in lane.bars]
    return LaneView(name=lane.place, kind=lane.kind, within=list(lane.within), status=lane.status, bars=bars)


def _bar(bar: Bar) -> BarView:
    return BarView(
        kind=bar.kind,
        status=bar.status,
        begin=iso(bar.begin_ms),
        end=iso_or_none(bar.end_ms),
        then=bar.then,
        command=bar.command,
        cut=bar.cut,
    )
