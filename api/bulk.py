"""The route that asks one act of many instances, page by page."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Bulk, BulkPage, Client, Fate, OnStep, act_on_many
from ..orchestrator.client.checks import check_key
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.document import Status
from ..orchestrator.messages.inputs import ActName
from ..orchestrator.messages.reasons import ReasonCode
from ..orchestrator.ports.read_model import InstanceFilter
from .bodies import Bodies, Json, described
from .problems import documented
from .queries import only
from .settings import ApiSettings

__all__ = ["BulkBody", "BulkView", "bulk_router"]

E = TypeVar("E", bound=StrEnum)

_PAGE_MAX = 100


class BulkBody(BaseModel):
    """What is asked of which instances. At least one of ``definition``, ``status``, ``key``, ``older_than_seconds`` and
    ``step`` says which; without ``status`` those that have ended are left out.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"act": "retry", "definition": "order-checkout", "status": "attention", "by": "ann", "dry_run": True}
            ]
        },
    )

    act: str = Field(description="any act but fork, which needs a key for each")
    id: str | None = Field(None, description="of the bulk: the same id asks nobody twice; none: a fresh one")
    definition: str | None = Field(None, description="only of this one")
    status: str | None = Field(None, description="exactly this status")
    key: str | None = Field(None, description="exactly this key")
    older_than_seconds: float | None = Field(None, ge=0, le=10**9, description="unchanged for so long")
    step: str = Field("", description="only where this step is under way, stuck or needs attention")
    by: str = Field("", description="who asks, at most 256 characters")
    reason: str = Field("", description="why, at most 2,000 characters")
    on_step: str = Field("", description="the step that the act is about; none: the one of step")
    value: dict[str, JsonValue] | None = Field(None, description="what the act brings, as of one instance")
    dry_run: bool = Field(True, description="only tell what would become of it")
    limit: int = Field(50, ge=1, le=_PAGE_MAX, description="at most so many instances are looked at")
    cursor: str | None = Field(None, description="of the page before")


class AskedView(BaseModel):
    instance: str
    fate: Fate
    code: ReasonCode | None = Field(description="why, for programs; null: it was done, or not decided")
    reason: str = Field(description="why it was denied or has failed, for people")


class BulkView(BaseModel):
    """What became of a page of instances; in a dry run what would become of them now."""

    id: str
    dry_run: bool
    asked: list[AskedView]
    counts: dict[Fate, int]
    looked_at: int = Field(description="instances that the filter found, those left out by age or step included")
    cursor: str | None = Field(description="leads to the next page; null: this was the last")


def bulk_router(client: Client, settings: ApiSettings) -> APIRouter:
    """One route; a whole bulk is asked for page by page, so that no request lasts long and none does much at once."""
    router = APIRouter(prefix="/v1", tags=["instances"])
    bodies = Bodies(settings)

    @router.post(
        "/bulk",
        response_model=BulkView,
        summary="Ask an act of many instances, or tell what would become of it",
        responses=documented(400, 401, 403, 408, 413, 415, 422, 503),
        openapi_extra=described(BulkBody, required=True),
    )
    async def bulk(request: Request) -> Response:
        only(request)
        body = await bodies.read(request, BulkBody)
        asked = _bulk(body, body.id if body.id is not None else client.fresh_id())
        page = await act_on_many(client, asked, dry_run=body.dry_run, limit=body.limit, cursor=body.cursor)
        return Json(_view(asked.id, body.dry_run, page))

    return router


def _bulk(body: BulkBody, id: str) -> Bulk:
    status = _one_of(Status, body.status, "status") if body.status is not None else None
    return Bulk(
        id=id,
        act=_one_of(ActName, body.act, "act"),
        where=InstanceFilter(body.definition, status, check_key(body.key) if body.key is not None else None),
        older_than=timedelta(seconds=body.older_than_seconds) if body.older_than_seconds is not None else None,
        step=body.step,
        by=body.by,
        reason=body.reason,
        on=OnStep(body.on_step, body.value) if body.on_step or body.value is not None else None,
    )


def _one_of(kind: type[E], value: str, field: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise InvalidRequest(f"there is no {field} {value[:64]!r}; there are {', '.join(kind)}", field=field) from None


def _view(id: str, dry_run: bool, page: BulkPage) -> BulkView:
    asked = [
        AskedView(instance=each.instance, fate=each.fate, code=each.code, reason=each.reason) for each in page.asked
    ]
    return BulkView(
        id=id, dry_run=dry_run, asked=asked, counts=page.counts, looked_at=page.looked_at, cursor=page.cursor
    )
