"""The route of the operations log: who asked for what, when, why, and how it was decided."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client
from ..orchestrator.kernel import names_instance
from ..orchestrator.messages.operations import act_of, operation_of
from ..orchestrator.messages.outputs import Outcome
from ..orchestrator.messages.reasons import ReasonCode
from ..orchestrator.ports.read_model import HistoryRow, OperationFilter, Span
from ..orchestrator.tracing import trace_id_of
from .bodies import Json
from .identity import Permission, needs
from .problems import documented
from .queries import Cursor, Limit, instant, only
from .views import iso

__all__ = ["OperationsView", "operations_router"]

Text = Annotated[str | None, Query(max_length=1_000)]
Target = Annotated[str | None, Query(max_length=1_000, description="an instance, or the id of another entity")]
Time = Annotated[str | None, Query(max_length=80, description="ISO 8601 with a time zone")]


class OperationView(BaseModel):
    """One request of a person and its decision."""

    at: str
    who: str = Field(description="empty: nobody said")
    act: str
    target: str = Field(description="the instance, or the id of the table, schedule, parcel or dead letter")
    instance: bool = Field(description="the target is an instance")
    step: str | None = Field(description="the step that it is about; null: none")
    why: str
    outcome: Outcome
    code: ReasonCode | None = Field(description="reason code why nothing changed; null: it was carried out")
    reason: str
    request_id: str
    trace_id: str | None


class OperationsView(BaseModel):
    """A page of operations, newest first."""

    operations: list[OperationView]
    cursor: str | None = Field(description="selects the next page; null: this is the last page")


def operations_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["operations"])

    @router.get(
        "/operations",
        response_model=OperationsView,
        summary="List who asked for what, when and why, and how it was decided, newest first",
        description="Acts on instances, and changes of tables, schedules, parcels and dead letters; also those that "
        "were denied. Kept as long as the history.",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_operations(
        request: Request,
        *,
        who: Text = None,
        target: Target = None,
        act: Text = None,
        since: Time = None,
        until: Time = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "who", "target", "act", "since", "until", "limit", "cursor")
        where = OperationFilter(who, target, act, Span(instant(since, "since"), instant(until, "until")))
        page = await client.operations(where, limit=limit, cursor=cursor)
        shown = [view for row in page.rows if (view := _view(row)) is not None]
        return Json(OperationsView(operations=shown, cursor=page.cursor))

    return router


def _view(row: HistoryRow) -> OperationView | None:
    record, operation = row.record, operation_of(row.record)
    if operation is None:
        return None
    return OperationView(
        at=iso(record.at_ms),
        who=operation.by,
        act=act_of(operation),
        target=record.instance,
        instance=names_instance(record.instance),
        step=getattr(operation, "step", "") or None,
        why=operation.reason,
        outcome=record.outcome,
        code=record.code,
        reason=record.reason,
        request_id=operation.id,
        trace_id=trace_id_of(record.traceparent),
    )
