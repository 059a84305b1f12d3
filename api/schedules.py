"""Routes of schedules: put, show and delete them, pause, resume, trigger and backfill."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client, EntityChanged, RequestOptions
from ..orchestrator.errors import DefinitionError, InvalidRequest, UnknownDefinition, UnknownEvent
from ..orchestrator.messages.entities import Fired, Schedule
from ..sagas.schedule import KEY
from ..sagas.schedule import Schedule as Declared
from .bodies import Bodies, Json, described
from .identity import Permission, needs
from .letters import RESPONSES, AskBody, ChangedView, answered, options_of
from .outcomes import Wait
from .paths import segment_of
from .problems import documented
from .queries import Cursor, Limit, only
from .settings import ApiSettings
from .views import iso

__all__ = ["BackfillBody", "ScheduleBody", "schedules_router"]

_SECONDS_MAX = 366 * 86_400
_Ask: TypeAlias = Callable[[str, RequestOptions], Awaitable[EntityChanged]]


class ScheduleBody(AskBody):
    """What a schedule does: exactly one of `definition` and `event`, and one of `cron` and `every_seconds`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "definition": "order-checkout",
                    "input": {"order": {"id": "A-1"}},
                    "cron": "30 2 * * MON-FRI",
                    "zone": "Europe/Berlin",
                }
            ]
        },
    )

    definition: str | None = Field(None, description="the definition to start")
    event: str | None = Field(None, description="the event to publish; it starts process managers")
    input: dict[str, JsonValue] = Field({}, description="the first value of the state, or the body of the event")
    cron: str | None = Field(
        None, description="minute hour day-of-month month day-of-week; six fields begin with seconds"
    )
    every_seconds: float | None = Field(
        None, gt=0, le=_SECONDS_MAX, description="an interval, counted from 1970 in UTC"
    )
    zone: str = Field("UTC", description="the time zone of cron, an IANA name")
    key: str = Field(KEY, description="of the instance or event; without {due} only one instance at a time")
    due_into: str | None = Field(None, description="the field of the input that is set to the due time")
    catch_up: Literal["skip", "once", "all"] = Field("once", description="what is started of due times that are late")
    grace_seconds: float = Field(60, ge=0, le=_SECONDS_MAX, description="a due time is late after this")
    jitter_seconds: float = Field(0, ge=0, le=_SECONDS_MAX, description="each start is delayed by up to this")


class BackfillBody(AskBody):
    """A past period; both ends are included."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}]},
    )

    since: str = Field(description="ISO 8601 with a time zone")
    until: str = Field(description="ISO 8601 with a time zone; not in the future")


class FiredView(BaseModel):
    """One start. `outcome`: `sent` (not decided yet), `started`, `duplicate`, `waits` (for its code) or `denied`."""

    due_at: str
    at: str
    instance: str
    outcome: Literal["sent", "started", "duplicate", "waits", "denied"]
    code: str | None
    reason: str


class BackfillView(BaseModel):
    """A backfill in progress."""

    through: str
    until: str


class ScheduleSummary(BaseModel):
    """A schedule. `last`: its newest start."""

    name: str
    definition: str | None
    event: str | None
    cron: str | None
    every_seconds: float | None
    zone: str
    paused: bool
    next: list[str] = Field(description="the next five due times, in the zone; none while it is paused")
    last: FiredView | None
    wrong: str = Field(description="why its calendar cannot be used now; empty: it can")


class ScheduleView(ScheduleSummary):
    """A schedule with everything it says and has done."""

    input: dict[str, JsonValue]
    key: str
    due_into: str | None
    catch_up: str
    grace_seconds: float
    jitter_seconds: float
    through: str = Field(description="all due times up to it are decided")
    started: int = Field(description="starts so far")
    denied: int = Field(description="starts that were denied")
    missed: int = Field(description="due times that were late and started nothing")
    recent: list[FiredView] = Field(description="the last ten starts, newest first")
    backfill: BackfillView | None
    changed_at: str
    changed_by: str
    reason: str


class ScheduleList(BaseModel):
    """A page of schedules, by name."""

    schedules: list[ScheduleSummary]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


def schedules_router(client: Client, settings: ApiSettings) -> APIRouter:
    """Shows schedules and acts on them; an act is decided through the log, like every request."""
    router = APIRouter(prefix="/v1", tags=["schedules"])
    _add_queries(router, client)
    _add_changes(router, client, settings)
    _add_acts(router, client, settings)
    return router


def _add_queries(router: APIRouter, client: Client) -> None:
    @router.get(
        "/schedules",
        response_model=ScheduleList,
        summary="List schedules",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_schedules(
        request: Request,
        *,
        paused: Annotated[bool | None, Query(description="only those that are paused, or are not")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "paused", "limit", "cursor")
        page = await client.schedules.list(paused=paused, limit=limit, cursor=cursor)
        found = [ScheduleSummary(**_summary(client, each)) for each in page.entities]
        return Json(ScheduleList(schedules=found, cursor=page.cursor))

    @router.get(
        "/schedules/{name}",
        response_model=ScheduleView,
        summary="Show a schedule, its next five due times and its last starts",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_schedule(request: Request, name: str) -> Response:
        only(request)
        return Json(_view(client, await client.schedules.get(segment_of(name, "name"))))


def _add_changes(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    @router.put(
        "/schedules/{name}",
        response_model=ChangedView,
        summary="Create a schedule, or replace what it does",
        description="The first due time is the next one from now on. A schedule that is paused stays so.",
        responses=RESPONSES,
        openapi_extra=described(ScheduleBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def put_schedule(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, ScheduleBody)
        declared = _declared(client, segment_of(name, "name"), body)
        return await answered(client.schedules.put(declared, options_of(request, settings, body)))

    @router.delete(
        "/schedules/{name}",
        response_model=ChangedView,
        summary="Delete a schedule; what it has started goes on",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def delete_schedule(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await answered(client.schedules.delete(segment_of(name, "name"), options_of(request, settings, body)))


def _add_acts(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    for act, (ask, summary) in {
        "pause": (client.schedules.pause, "Pause a schedule; due times that pass meanwhile start nothing"),
        "resume": (client.schedules.resume, "Resume a paused schedule with the next due time from now on"),
        "trigger": (client.schedules.trigger, "Start one instance now, besides the due times"),
    }.items():
        _add_act(router, settings, bodies, act, ask=ask, summary=summary)

    @router.post(
        "/schedules/{name}/backfill",
        response_model=ChangedView,
        summary="Start an instance for each due time of a past period",
        responses=RESPONSES,
        openapi_extra=described(BackfillBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def backfill_schedule(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, BackfillBody)
        period = _time(body.since, "since"), _time(body.until, "until")
        options = options_of(request, settings, body)
        return await answered(client.schedules.backfill(segment_of(name, "name"), *period, options))


def _add_act(router: APIRouter, settings: ApiSettings, bodies: Bodies, act: str, *, ask: _Ask, summary: str) -> None:
    @router.post(
        f"/schedules/{{name}}/{act}",
        name=f"{act}_schedule",
        response_model=ChangedView,
        summary=summary,
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def perform(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await answered(ask(segment_of(name, "name"), options_of(request, settings, body)))


def _declared(client: Client, name: str, body: ScheduleBody) -> Declared[Any]:
    """The body as a declaration, which is checked as one in code is."""
    try:
        return Declared(
            name,
            _starts(client, body),
            body.input,
            cron=body.cron,
            every=None if body.every_seconds is None else timedelta(seconds=body.every_seconds),
            zone=body.zone,
            key=body.key,
            due_into=body.due_into,
            catch_up=body.catch_up,
            grace=timedelta(seconds=body.grace_seconds),
            jitter=timedelta(seconds=body.jitter_seconds),
        )
    except DefinitionError as error:
        raise InvalidRequest(str(error), field="") from error


def _starts(client: Client, body: ScheduleBody) -> Any:
    registry = client.registry
    if (body.definition is None) == (body.event is None):
        raise InvalidRequest("give either a definition to start or an event to publish", field="definition")
    if body.definition is not None:
        if (definition := registry.find(body.definition)) is None:
            raise UnknownDefinition(body.definition, registry.names)
        return definition
    events = {each.name: each for deployed in registry for each in deployed.events}
    if body.event not in events:
        raise UnknownEvent(body.event or "", tuple(sorted(events)))
    return events[body.event]


def _time(text: str, field: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        example = "give ISO 8601, such as 2027-01-01T08:00:00Z"
        raise InvalidRequest(f"{text[:80]!r} is not a time; {example}", field=field) from error


def _summary(client: Client, schedule: Schedule) -> dict[str, Any]:
    plan, calendar = schedule.plan, schedule.plan.calendar
    return {
        "name": schedule.name,
        "definition": plan.definition or None,
        "event": plan.event or None,
        "cron": calendar.cron,
        "every_seconds": None if calendar.every_ms is None else calendar.every_ms / 1_000,
        "zone": calendar.zone,
        "paused": schedule.paused,
        "next": [calendar.local(each) for each in client.schedules.upcoming(schedule)],
        "last": _fired(schedule.recent[-1]) if schedule.recent else None,
        "wrong": schedule.wrong,
    }


def _view(client: Client, schedule: Schedule) -> ScheduleView:
    plan, period = schedule.plan, schedule.backfill
    return ScheduleView(
        **_summary(client, schedule),
        input=plan.input,
        key=plan.key,
        due_into=plan.due_into or None,
        catch_up=plan.catch_up,
        grace_seconds=plan.grace_ms / 1_000,
        jitter_seconds=plan.jitter_ms / 1_000,
        through=iso(schedule.through_ms),
        started=schedule.started,
        denied=schedule.denied,
        missed=schedule.missed,
        recent=[_fired(each) for each in reversed(schedule.recent)],
        backfill=None if period is None else BackfillView(through=iso(period.through_ms), until=iso(period.to_ms)),
        changed_at=iso(schedule.changed_ms),
        changed_by=schedule.changed_by,
        reason=schedule.reason,
    )


def _fired(fired: Fired) -> FiredView:
    return FiredView(
        due_at=iso(fired.due_ms),
        at=iso(fired.at_ms),
        instance=fired.instance,
        outcome=fired.outcome,
        code=fired.code.value if fired.code is not None else None,
        reason=fired.reason,
    )
