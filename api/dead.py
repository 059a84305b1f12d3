"""Routes of dead letters: list, group and show them; redrive, edit and discard one or many."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.client import Client, Edits
from ..orchestrator.client.bulk import Asked, BulkPage, Fate
from ..orchestrator.client.dead import LetterShown
from ..orchestrator.client.dead_bulk import DeadBulk, act_on_letters
from ..orchestrator.messages.dead import DeadAct, DeadRequest
from ..orchestrator.messages.entities import DeadStatus
from ..orchestrator.messages.reasons import ReasonCode
from ..orchestrator.ports.read_model import HistoryRow, LetterFilter, LetterRow
from .bodies import Bodies, Json, described, one_of
from .identity import Permission, needs
from .letters import (
    RESPONSES,
    AskBody,
    BytesBody,
    BytesView,
    ChangedView,
    HeaderBody,
    HeaderView,
    answered,
    bytes_of,
    header_views,
    options_of,
    shown,
)
from .outcomes import Wait
from .paths import segment_of
from .problems import documented
from .queries import Cursor, Limit, instant, only
from .settings import ApiSettings
from .views import iso

__all__ = ["DeadBulkBody", "DeadEditBody", "dead_router"]

_FILTERS = ("topic", "key", "fingerprint", "reason", "since", "until", "state")
_PAGE_MAX = 50
_PAGE_SECONDS = 10.0
"""The longest that a page of a bulk with a rate takes: the requester asks for the next one."""

Text = Annotated[str | None, Query(max_length=1_000)]
Time = Annotated[str | None, Query(max_length=80, description="ISO 8601 with a time zone")]
State = Annotated[DeadStatus | None, Query(description="what was done with it; none: any")]


def _where(
    *,
    topic: Text = None,
    key: Text = None,
    fingerprint: Text = None,
    reason: Text = None,
    since: Time = None,
    until: Time = None,
    state: State = None,
) -> LetterFilter:
    return LetterFilter(topic, key, fingerprint, reason, instant(since, "since"), instant(until, "until"), state)


Where = Annotated[LetterFilter, Depends(_where)]


class DeadEditBody(AskBody):
    """What is redriven instead of the original: its value, its headers, or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"value": {"text": '{"total": 9}'}}]},
    )

    value: BytesBody | None = Field(None, description="none: unchanged")
    headers: list[HeaderBody] | None = Field(None, description="all headers of the letter; none: unchanged")


class DeadWhere(BaseModel):
    """Which letters; all given conditions hold."""

    model_config = ConfigDict(extra="forbid")

    topic: str | None = Field(None, description="of the original")
    key: str | None = Field(None, description="of the original: its text, or base64 if it is not UTF-8")
    fingerprint: str | None = Field(None, description="of the failure")
    reason: str | None = Field(None, description="part of the reason, in any case")
    since: str | None = Field(None, description="dead since this time, ISO 8601 with a time zone")
    until: str | None = Field(None, description="dead before this time, ISO 8601 with a time zone")
    state: str | None = Field(None, description="open, redriven or discarded; none: only those that are open")


class DeadBulkBody(BaseModel):
    """An act on all letters that match, page by page, in the order of their topic."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"act": "redrive", "where": {"fingerprint": "0c1f9a3b7d52"}, "dry_run": True}]},
    )

    act: str = Field(description="redrive or discard")
    id: str | None = Field(None, description="of the bulk; none: a new one")
    where: DeadWhere | None = Field(None, description="none: all that are open")
    by: str = Field("", description="the caller's name, at most 256 characters")
    reason: str = Field("", description="why, at most 2,000 characters")
    per_second: float | None = Field(
        None, le=10_000, description="the most letters per second, 0.1 or more; none: no limit"
    )
    dry_run: bool = Field(True, description="dry run: only return the expected results")
    limit: int = Field(_PAGE_MAX, ge=1, le=_PAGE_MAX, description="the largest number of letters of this page")
    cursor: str | None = Field(None, description="from the page before")


class DeadSummary(BaseModel):
    """A dead letter."""

    id: str = Field(description="its name in paths: partition and offset in the dead letter topic")
    at: str
    topic: str = Field(description="of the original; empty: not known")
    partition: int = Field(description="of the original; -1: it was never written")
    offset: int
    group: str = Field(description="whose message it was; empty: no group's")
    key: BytesView | None
    reason: str
    code: str = Field(description="reason code, or empty")
    fingerprint: str = Field(description="the same for failures that differ only in numbers, ids and lines")
    state: DeadStatus
    edited: bool
    by: str = Field(description="of the last act")
    why: str = Field(description="reason of the last act")


class DeadActView(BaseModel):
    """An act on a letter, as the history has it."""

    at: str
    act: DeadAct
    by: str
    reason: str
    outcome: str
    value: BytesView | None = Field(description="of an edit")
    headers: list[HeaderView] | None = Field(description="of an edit")


class DeniedView(BaseModel):
    code: ReasonCode
    reason: str


class CutView(BaseModel):
    """What is missing of an original that was too large."""

    value_bytes: int | None = Field(description="of the whole value; null: it is complete")
    value_sha256: str
    key_bytes: int | None = Field(description="of the whole key; null: it is complete")
    headers_left_out: int


class DeadView(DeadSummary):
    """A dead letter with its content and what was done with it."""

    value: BytesView | None
    headers: list[HeaderView]
    detail: str = Field(description="end of the traceback; empty: there is none")
    cut: CutView | None = Field(description="null: it is complete")
    denied: DeniedView | None = Field(description="why it cannot be redriven; null: it can")
    edited_value: BytesView | None = Field(description="what is redriven instead, if it was edited")
    edited_headers: list[HeaderView] | None
    acts: list[DeadActView] = Field(description="oldest first")


class DeadList(BaseModel):
    """A page of dead letters, newest first."""

    letters: list[DeadSummary]
    count: int = Field(description="all letters that match")
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


class DeadGroup(BaseModel):
    """The letters of one fingerprint that match."""

    fingerprint: str
    letters: int
    open: int
    first_at: str
    last_at: str
    reason: str = Field(description="of one of them")


class DeadGroups(BaseModel):
    """A page of groups; the one whose first letter is newest first."""

    groups: list[DeadGroup]
    count: int = Field(description="all letters that match")
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


class DeadAsked(BaseModel):
    id: str
    fate: Fate
    code: ReasonCode | None = Field(description="reason code; null: it was done, or not decided")
    reason: str = Field(description="reason why it was denied or failed")


class DeadBulkView(BaseModel):
    """The results for a page of letters; in a dry run the expected results. If some are unsure or failed, send the bulk
    again from its first page, so that the order of their keys holds.
    """

    id: str
    dry_run: bool
    asked: list[DeadAsked]
    counts: dict[Fate, int]
    cursor: str | None = Field(description="selects the next page; null: this is the last page")


def dead_router(client: Client, settings: ApiSettings) -> APIRouter:
    """Shows dead letters and acts on them; an act is decided through the log, like every request."""
    router = APIRouter(prefix="/v1/dead", tags=["dead letters"])
    _add_lists(router, client)
    _add_bulk(router, client, settings)
    _add_show(router, client)
    _add_acts(router, client, settings)
    return router


def _add_lists(router: APIRouter, client: Client) -> None:
    @router.get("", response_model=DeadList, summary="List dead letters", responses=documented(401, 403, 422, 503))
    @needs(Permission.VIEW)
    async def list_dead_letters(request: Request, where: Where, limit: Limit = 50, cursor: Cursor = None) -> Response:
        only(request, *_FILTERS, "limit", "cursor")
        page = await client.dead.list(where, limit=limit, cursor=cursor)
        letters = [DeadSummary(**_summary(each)) for each in page.letters]
        return Json(DeadList(letters=letters, count=await client.dead.count(where), cursor=page.cursor))

    @router.get(
        "/groups",
        response_model=DeadGroups,
        summary="List dead letters by the fingerprint of their failure",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_dead_groups(request: Request, where: Where, limit: Limit = 50, cursor: Cursor = None) -> Response:
        only(request, *_FILTERS, "limit", "cursor")
        page = await client.dead.groups(where, limit=limit, cursor=cursor)
        groups = [
            DeadGroup(
                fingerprint=each.fingerprint,
                letters=each.letters,
                open=each.open_letters,
                first_at=iso(each.first_ms),
                last_at=iso(each.last_ms),
                reason=each.reason,
            )
            for each in page.groups
        ]
        return Json(DeadGroups(groups=groups, count=await client.dead.count(where), cursor=page.cursor))


def _add_bulk(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    @router.post(
        "/bulk",
        response_model=DeadBulkView,
        summary="Redrive or discard many dead letters, or return the expected results",
        responses=documented(400, 401, 403, 408, 413, 415, 422, 503),
        openapi_extra=described(DeadBulkBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def act_on_dead_letters(request: Request) -> Response:
        only(request)
        body = await bodies.read(request, DeadBulkBody)
        asked = _bulk(body, body.id if body.id is not None else client.fresh_id())
        most = max(1, int((body.per_second or _PAGE_MAX) * _PAGE_SECONDS))
        limit = min(body.limit, most)
        page = await act_on_letters(client, asked, dry_run=body.dry_run, limit=limit, cursor=body.cursor)
        return Json(_bulk_view(asked.id, body.dry_run, page))


def _add_show(router: APIRouter, client: Client) -> None:
    @router.get(
        "/{id}",
        response_model=DeadView,
        summary="Show a dead letter and what was done with it",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_dead_letter(request: Request, id: str) -> Response:
        only(request)
        return Json(_view(await client.dead.get(segment_of(id, "id"))))


def _add_acts(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    @router.post(
        "/{id}/redrive",
        response_model=ChangedView,
        summary="Put the original of a dead letter back where it was",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def redrive_dead_letter(request: Request, id: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await answered(client.dead.redrive(segment_of(id, "id"), options_of(request, settings, body)))

    @router.post(
        "/{id}/edit",
        response_model=ChangedView,
        summary="Replace the value or the headers that are redriven",
        responses=RESPONSES,
        openapi_extra=described(DeadEditBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def edit_dead_letter(request: Request, id: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, DeadEditBody)
        value = bytes_of(body.value, "value") if body.value is not None else None
        headers = None if body.headers is None else [(each.name, bytes_of(each, "headers")) for each in body.headers]
        edits, options = Edits(value=value, headers=headers), options_of(request, settings, body)
        return await answered(client.dead.edit(segment_of(id, "id"), edits, options))

    @router.post(
        "/{id}/discard",
        response_model=ChangedView,
        summary="Close a dead letter without a redrive",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def discard_dead_letter(request: Request, id: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await answered(client.dead.discard(segment_of(id, "id"), options_of(request, settings, body)))


def _bulk(body: DeadBulkBody, id: str) -> DeadBulk:
    where, act = LetterFilter(), one_of(DeadAct, body.act, "act")
    if (given := body.where) is not None:
        state = one_of(DeadStatus, given.state, "where.state") if given.state is not None else None
        since, until = instant(given.since, "where.since"), instant(given.until, "where.until")
        where = LetterFilter(given.topic, given.key, given.fingerprint, given.reason, since, until, state)
    return DeadBulk(id=id, act=act, where=where, by=body.by, reason=body.reason, per_second=body.per_second)


def _bulk_view(id: str, dry_run: bool, page: BulkPage) -> DeadBulkView:
    return DeadBulkView(
        id=id, dry_run=dry_run, asked=[_asked(each) for each in page.asked], counts=page.counts, cursor=page.cursor
    )


def _asked(each: Asked) -> DeadAsked:
    return DeadAsked(id=each.instance, fate=each.fate, code=each.code, reason=each.reason)


def _summary(row: LetterRow) -> dict[str, Any]:
    record, mark = row.record, row.mark
    return {
        "id": record.name,
        "at": iso(record.at_ms),
        "topic": record.topic,
        "partition": record.source_partition,
        "offset": record.source_offset,
        "group": record.group,
        "key": shown(record.key),
        "reason": record.reason,
        "code": record.code,
        "fingerprint": record.fingerprint,
        "state": row.state,
        "edited": mark is not None and mark.edited is not None,
        "by": mark.by if mark is not None else "",
        "why": mark.reason if mark is not None else "",
    }


def _view(found: LetterShown) -> DeadView:
    record, mark = found.row.record, found.row.mark
    edited = mark.edited if mark is not None else None
    return DeadView(
        **_summary(found.row),
        value=shown(record.value),
        headers=header_views(record.headers),
        detail=record.detail,
        cut=CutView(**record.cut._asdict()) if record.cut is not None else None,
        denied=DeniedView(code=found.denied.code, reason=found.denied.text) if found.denied is not None else None,
        edited_value=shown(edited.value) if edited is not None else None,
        edited_headers=header_views(edited.headers) if edited is not None else None,
        acts=[act for each in found.acts if (act := _act(each)) is not None],
    )


def _act(row: HistoryRow) -> DeadActView | None:
    request = row.record.message
    if not isinstance(request, DeadRequest):
        return None
    return DeadActView(
        at=iso(row.record.at_ms),
        act=request.act,
        by=request.by,
        reason=request.reason,
        outcome=row.record.outcome.value,
        value=shown(request.value),
        headers=header_views(request.headers) if request.headers is not None else None,
    )
