"""Routes of the tables of dynamic routers: show and change their rules, and show their history."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.errors import NotYetDecided
from ..orchestrator.messages.entities import Table
from ..orchestrator.messages.entity_messages import Rule, SetRules
from ..orchestrator.messages.quotas import QUOTAS_TABLE
from ..orchestrator.ports.read_model import HistoryRow
from .bodies import Bodies, Json, described
from .headers import undecided
from .identity import Permission, needs, principal_of
from .outcomes import Wait
from .paths import segment_of
from .problems import HttpProblem, documented
from .queries import Cursor, Limit, only
from .settings import ApiSettings
from .views import iso
from .waiting import wait_of

__all__ = ["RulesBody", "tables_router"]


class RuleBody(BaseModel):
    """A rule matches when all of ``when`` holds; the first matching rule decides."""

    model_config = ConfigDict(extra="forbid")

    when: dict[str, JsonValue] = Field(description="for each fact a value, or {operator: value}: == != < <= > >= in")
    to: str = Field(description="the branch that runs")


class RulesBody(BaseModel):
    """The new rules of a table."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "rules": [{"when": {"weight_kg": {">": 30}}, "to": "freight"}, {"when": {}, "to": "parcel"}],
                    "version": 3,
                    "reason": "heavy parcels are refused from May on",
                }
            ]
        },
    )

    rules: list[RuleBody] = Field(description="in order; the first rule that matches decides")
    version: int | None = Field(
        None, ge=0, le=2**31 - 1, description="the version that they replace; none: any version"
    )
    by: str = Field("", description="the caller's name, at most 256 characters")
    reason: str = Field("", description="why, at most 2,000 characters")
    request_id: str | None = Field(None, description="the request's id in the history; none: a new one")


class RuleView(BaseModel):
    when: dict[str, JsonValue]
    to: str


class TableView(BaseModel):
    """The current table."""

    name: str
    version: int = Field(description="counts its changes; 0: never set")
    rules: list[RuleView]
    branches: list[str] = Field(description="the branches that its rules may name")
    changed_at: str | None
    changed_by: str
    reason: str


class TableList(BaseModel):
    """A page of the tables that deployed definitions route by, by name."""

    tables: list[TableView]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


class RulesSetView(BaseModel):
    """The result of a change of rules."""

    name: str
    version: int
    changed: bool = Field(description="false when the table had these rules already")
    trace_id: str | None


class RulesAcceptedView(BaseModel):
    """The request is in the log and will be decided; check the table later."""

    name: str
    request_id: str


class RulesChangeView(BaseModel):
    """A request to change a table, and its outcome."""

    sequence: int
    at: str
    outcome: str
    version: int = Field(description="version of the table after the request")
    rules: list[RuleView] | None = Field(description="null: they were too large to be kept")
    by: str
    reason: str = Field(description="the caller's reason")
    answer: str = Field(description="the reason of the decision")


class TableHistory(BaseModel):
    """A page of requests, oldest first."""

    changes: list[RulesChangeView]
    next: int | None = Field(description="pass it on as ?after= for the next page; null: this is the last page")


def tables_router(client: Client, settings: ApiSettings) -> APIRouter:
    """Shows and changes tables; a change is decided through the log, like every request."""
    router = APIRouter(prefix="/v1", tags=["tables"])
    _add_queries(router, client)
    _add_change(router, client, settings)
    return router


def _add_queries(router: APIRouter, client: Client) -> None:
    @router.get(
        "/tables",
        response_model=TableList,
        summary="List the tables of dynamic routers",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_tables(
        request: Request,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "limit", "cursor")
        page = await client.tables.list(limit=limit, cursor=cursor)
        return Json(TableList(tables=[_view(client, each) for each in page.tables], cursor=page.cursor))

    @router.get(
        "/tables/{name}",
        response_model=TableView,
        summary="Show the rules of a table",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_table(request: Request, name: str) -> Response:
        only(request)
        return Json(_view(client, await client.tables.get(segment_of(name, "name"))))

    @router.get(
        "/tables/{name}/history",
        response_model=TableHistory,
        summary="Show who changed a table, when and why, oldest first",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_table_history(
        request: Request,
        name: str,
        after: Annotated[int, Query(ge=-1, le=2**62, description="the `next` from the page before")] = -1,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        only(request, "after", "limit")
        rows = await client.tables.history(segment_of(name, "name"), after=after, limit=limit + 1)
        following = rows[limit - 1].sequence if len(rows) > limit else None
        return Json(TableHistory(changes=[_change(row) for row in rows[:limit]], next=following))


def _add_change(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    @router.put(
        "/tables/{name}",
        response_model=RulesSetView,
        summary="Replace the rules of a table",
        description="Applies to instances that reach a router after it; instances routed before keep their branch.",
        responses={
            **undecided(RulesAcceptedView),
            **documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra=described(RulesBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def set_rules(request: Request, name: str, wait: Wait = None) -> Response:
        only(request, "wait")
        seconds = wait_of(request, settings)
        table = segment_of(name, "name")
        if table == QUOTAS_TABLE and principal_of(request).how not in ("token", "local"):
            text = "quotas are changed with a token of the settings only: who is limited must not lift a limit"
            raise HttpProblem("not-permitted", text)
        body = await bodies.read(request, RulesBody)
        try:
            done = await client.tables.set(
                table,
                [Rule(when=rule.when, to=rule.to) for rule in body.rules],
                version=body.version,
                by=body.by,
                reason=body.reason,
                request_id=body.request_id,
                wait=seconds,
                traceparent=request.state.traceparent,
            )
        except NotYetDecided as error:
            return Json(RulesAcceptedView(name=table, request_id=error.request_id), 202, {"Retry-After": "1"})
        view = RulesSetView(name=table, version=done.version, changed=done.changed, trace_id=done.trace_id)
        return Json(view)


def _view(client: Client, table: Table) -> TableView:
    return TableView(
        name=table.name,
        version=table.version,
        rules=_rules(table.rules),
        branches=list(client.tables.branches(table.name)),
        changed_at=iso(table.changed_ms) if table.version else None,
        changed_by=table.changed_by,
        reason=table.reason,
    )


def _rules(rules: tuple[Rule, ...]) -> list[RuleView]:
    return [RuleView(when=rule.when, to=rule.to) for rule in rules]


def _change(row: HistoryRow) -> RulesChangeView:
    record, message = row.record, row.record.message
    asked = message if isinstance(message, SetRules) else None
    return RulesChangeView(
        sequence=row.sequence,
        at=iso(record.at_ms),
        outcome=record.outcome.value,
        version=record.revision,
        rules=_rules(asked.rules) if asked else None,
        by=asked.by if asked else "",
        reason=asked.reason if asked else "",
        answer=record.reason,
    )
