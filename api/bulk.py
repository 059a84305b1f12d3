"""The route that sends one act to many instances, page by page."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Bulk, BulkPage, Caller, Client, Fate, OnStep, act_on_many
from ..orchestrator.messages.inputs import ActName
from ..orchestrator.messages.reasons import ReasonCode
from .bodies import Bodies, Json, described, one_of
from .identity import Permission, caller_of, needs
from .problems import documented
from .queries import only
from .searching import InstanceWhere, where_of
from .settings import ApiSettings

__all__ = ["BulkBody", "BulkView", "bulk_router"]

_PAGE_MAX = 100


class BulkBody(InstanceWhere):
    """The act and the instances it is for. At least one condition, ``older_than_seconds`` or ``step`` selects them, or
    ``instances`` names them; without ``status`` conditions select only instances that have not ended.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"act": "retry", "definition": "order-checkout", "status": ["attention"], "dry_run": True}]
        },
    )

    act: str = Field(description="any act except fork, which needs a key for each instance")
    id: str | None = Field(
        None,
        description="of the bulk: with the same id no instance gets the act twice, except one that begins a new run "
        "meanwhile; none: a new one",
    )
    instances: list[str] = Field(
        [], max_length=100, description="exactly these, `definition/key`; no conditions, age or step then"
    )
    older_than_seconds: float | None = Field(None, ge=0, le=10**9, description="unchanged for at least this long")
    step: str = Field("", description="only where this step is under way, stuck or needs attention")
    by: str = Field("", description="the caller's name, at most 256 characters")
    reason: str = Field("", description="why, at most 2,000 characters")
    on_step: str = Field("", description="the step that the act is about; none: the same as step")
    value: dict[str, JsonValue] | None = Field(None, description="the act's value, as for one instance")
    dry_run: bool = Field(True, description="dry run: only return the expected results")
    limit: int = Field(50, ge=1, le=_PAGE_MAX, description="the largest number of instances to look at")
    cursor: str | None = Field(None, description="from the page before")


class AskedView(BaseModel):
    instance: str
    fate: Fate
    code: ReasonCode | None = Field(description="reason code; null: it was done, or not decided")
    reason: str = Field(description="reason why it was denied or failed")


class BulkView(BaseModel):
    """The results for a page of instances; in a dry run the expected results."""

    id: str
    dry_run: bool
    asked: list[AskedView]
    counts: dict[Fate, int]
    looked_at: int = Field(description="instances that match the filter, before age and step are applied")
    cursor: str | None = Field(description="selects the next page; null: this is the last page")


def bulk_router(client: Client, settings: ApiSettings) -> APIRouter:
    """One route; a bulk is requested page by page, so that each request is short."""
    router = APIRouter(prefix="/v1", tags=["instances"])
    bodies = Bodies(settings)

    @router.post(
        "/bulk",
        response_model=BulkView,
        summary="Send an act to many instances, or return the expected results",
        responses=documented(400, 401, 403, 408, 413, 415, 422, 503),
        openapi_extra=described(BulkBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def act_on_instances(request: Request) -> Response:
        only(request)
        body = await bodies.read(request, BulkBody)
        id = body.id if body.id is not None else client.fresh_id()
        asked = _bulk(client, body, id, caller_of(request, body.by))
        page = await act_on_many(client, asked, dry_run=body.dry_run, limit=body.limit, cursor=body.cursor)
        return Json(_view(asked.id, body.dry_run, page))

    return router


def _bulk(client: Client, body: BulkBody, id: str, by: Caller) -> Bulk:
    return Bulk(
        id=id,
        act=one_of(ActName, body.act, "act"),
        where=where_of(client, body),
        instances=body.instances,
        older_than=timedelta(seconds=body.older_than_seconds) if body.older_than_seconds is not None else None,
        step=body.step,
        by=by,
        reason=body.reason,
        on=OnStep(body.on_step, body.value) if body.on_step or body.value is not None else None,
    )


def _view(id: str, dry_run: bool, page: BulkPage) -> BulkView:
    asked = [
        AskedView(instance=each.instance, fate=each.fate, code=each.code, reason=each.reason) for each in page.asked
    ]
    return BulkView(
        id=id, dry_run=dry_run, asked=asked, counts=page.counts, looked_at=page.looked_at, cursor=page.cursor
    )
