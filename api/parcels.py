"""Routes of parcels: keys of groups that are parked or retried, and delayed messages; what people do with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.client import Client, RequestOptions
from ..orchestrator.client.parcels import delayed_named, parked_named
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.entities import Parcel, ParcelStatus
from ..orchestrator.messages.parcels import Letter
from .bodies import Bodies, Json, described
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
from .queries import Cursor, Limit, only
from .settings import ApiSettings
from .views import iso, iso_or_none

__all__ = ["EditBody", "RescheduleBody", "SkipBody", "parcels_router"]


class SkipBody(AskBody):
    """The first letter becomes a dead letter."""

    letter: str = Field("", description="denied unless this is the first letter; empty: whichever it is")


class RescheduleBody(AskBody):
    """The new time of a delayed message."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"at": "2027-01-01T08:00:00Z"}]})

    at: str = Field(description="ISO 8601 with a time zone; in the past: it is sent at once")


class EditBody(AskBody):
    """Replaces the value of a letter, its headers, or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"letter": "billing/shop.orders/3/17", "value": {"text": '{"total": 9}'}}]},
    )

    letter: str = Field(description="id of the letter")
    value: BytesBody | None = Field(None, description="none: unchanged")
    headers: list[HeaderBody] | None = Field(None, description="all headers of the letter; none: unchanged")


class LetterView(BaseModel):
    """A record as it will be delivered. ``source`` null: a delayed message."""

    id: str
    topic: str
    partition: int | None = Field(description="null: by the key")
    source: str | None = Field(description="topic/partition/offset that the group has read")
    key: BytesView | None
    value: BytesView | None
    headers: list[HeaderView]


class ParkedSummary(BaseModel):
    """A key of a group. ``error`` and the two after it: of the first letter's last failure."""

    group: str
    key: str = Field(description="its name in paths: the text of the key, or ~ and a digest")
    status: Literal["parked", "retrying", "released"]
    letters: int = Field(description="how many messages of the key wait")
    first: str = Field(description="id of the letter that is retried; the others follow it")
    attempts: int = Field(description="deliveries of the first letter, the current one included")
    error: str
    failed_at: str | None
    next_at: str | None = Field(description="next attempt; null: it is delivered now, or parked")
    since: str


class ParkedView(ParkedSummary):
    """A key of a group with its letters, in order."""

    detail: str = Field(description="end of the traceback of the last failure")
    contents: list[LetterView]


class ParkedList(BaseModel):
    """A page of keys, by group and key."""

    parked: list[ParkedSummary]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


class DelayedSummary(BaseModel):
    """A delayed message."""

    id: str = Field(description="its name in paths: the id of the message, or ~ and a digest")
    message: str = Field(description="id of the message")
    topic: str
    due_at: str | None
    since: str


class DelayedView(DelayedSummary):
    """A delayed message with its content."""

    content: LetterView


class DelayedList(BaseModel):
    """A page of delayed messages, by id."""

    delayed: list[DelayedSummary]
    cursor: str | None = Field(description="pass it on as ?cursor= for the next page; null: this is the last page")


def parcels_router(client: Client, settings: ApiSettings) -> APIRouter:
    """Shows parcels and acts on them; an act is decided through the log, like every request."""
    router = APIRouter(prefix="/v1", tags=["parcels"])
    _add_parked(router, client)
    _add_parked_acts(router, client, settings)
    _add_delayed(router, client)
    _add_delayed_acts(router, client, settings)
    return router


def _add_parked(router: APIRouter, client: Client) -> None:
    @router.get(
        "/parked",
        response_model=ParkedList,
        summary="List keys of groups that are parked, or retried",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_parked(
        request: Request,
        *,
        group: Annotated[str | None, Query(max_length=512, description="only of this group")] = None,
        status: Annotated[Literal["parked", "retrying"], Query(description="which keys")] = "parked",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        only(request, "group", "status", "limit", "cursor")
        page = await client.parcels.list(ParcelStatus(status), group=group, limit=limit, cursor=cursor)
        return Json(ParkedList(parked=[ParkedSummary(**_key(each)) for each in page.entities], cursor=page.cursor))

    @router.get(
        "/parked/{group}/{key}",
        response_model=ParkedView,
        summary="Show the messages of a key that wait, and why",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_parked(request: Request, group: str, key: str) -> Response:
        only(request)
        found = await client.parcels.get(_parked(group, key))
        contents = [_letter(each) for each in found.letters]
        return Json(ParkedView(**_key(found), detail=found.detail, contents=contents))


def _add_parked_acts(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    @router.post(
        "/parked/{group}/{key}/redrive",
        response_model=ChangedView,
        summary="Deliver the first message of a key again, then those that follow it",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def redrive_parked(request: Request, group: str, key: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await answered(client.parcels.redrive(_parked(group, key), options_of(request, settings, body)))

    @router.post(
        "/parked/{group}/{key}/skip",
        response_model=ChangedView,
        summary="Make the first message of a key a dead letter and go on with the next",
        responses=RESPONSES,
        openapi_extra=described(SkipBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def skip_parked(request: Request, group: str, key: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, SkipBody)
        options = options_of(request, settings, body)
        return await answered(client.parcels.skip(_parked(group, key), body.letter, options))

    @router.post(
        "/parked/{group}/{key}/edit",
        response_model=ChangedView,
        summary="Replace the value or the headers of a message of a parked key",
        responses=RESPONSES,
        openapi_extra=described(EditBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def edit_parked(request: Request, group: str, key: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, EditBody)
        return await _edited(client, _parked(group, key), body, options_of(request, settings, body))

    @router.post(
        "/parked/{group}/{key}/discard",
        response_model=ChangedView,
        summary="Make all messages of a key dead letters and release it",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def discard_parked(request: Request, group: str, key: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await answered(client.parcels.discard(_parked(group, key), options_of(request, settings, body)))


def _add_delayed(router: APIRouter, client: Client) -> None:
    @router.get(
        "/delayed",
        response_model=DelayedList,
        summary="List delayed messages",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_delayed(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
        only(request, "limit", "cursor")
        page = await client.parcels.list(ParcelStatus.DELAYED, limit=limit, cursor=cursor)
        delayed = [DelayedSummary(**_message(each)) for each in page.entities]
        return Json(DelayedList(delayed=delayed, cursor=page.cursor))

    @router.get(
        "/delayed/{id}",
        response_model=DelayedView,
        summary="Show a delayed message",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_delayed(request: Request, id: str) -> Response:
        only(request)
        found = await client.parcels.get(_delayed(id))
        return Json(DelayedView(**_message(found), content=_letter(found.letters[0])))


def _add_delayed_acts(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    @router.post(
        "/delayed/{id}/reschedule",
        response_model=ChangedView,
        summary="Give a delayed message another time",
        responses=RESPONSES,
        openapi_extra=described(RescheduleBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def reschedule_delayed(request: Request, id: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, RescheduleBody)
        options = options_of(request, settings, body)
        return await answered(client.parcels.reschedule(_delayed(id), _time(body.at), options))

    @router.post(
        "/delayed/{id}/edit",
        response_model=ChangedView,
        summary="Replace the value or the headers of a delayed message",
        responses=RESPONSES,
        openapi_extra=described(EditBody, required=True),
    )
    @needs(Permission.OPERATE)
    async def edit_delayed(request: Request, id: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, EditBody)
        return await _edited(client, _delayed(id), body, options_of(request, settings, body))

    @router.post(
        "/delayed/{id}/cancel",
        response_model=ChangedView,
        summary="Cancel a delayed message",
        description="It is not sent and becomes no dead letter; the history keeps it.",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.OPERATE)
    async def cancel_delayed(request: Request, id: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await answered(client.parcels.discard(_delayed(id), options_of(request, settings, body)))


async def _edited(client: Client, id: str, body: EditBody, options: RequestOptions) -> Response:
    value = bytes_of(body.value, "value") if body.value is not None else None
    headers = None if body.headers is None else [(each.name, bytes_of(each, "headers")) for each in body.headers]
    return await answered(client.parcels.edit(id, body.letter, value=value, headers=headers, options=options))


def _parked(group: str, key: str) -> str:
    return parked_named(segment_of(group, "group"), segment_of(key, "key"))


def _delayed(id: str) -> str:
    return delayed_named(segment_of(id, "id"))


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{text[:80]!r} is not a time; give ISO 8601, such as 2027-01-01T08:00:00Z", field="at"
        ) from error


def _key(parcel: Parcel) -> dict[str, Any]:
    return {
        "group": parcel.group,
        "key": parcel.id.split("/", 2)[2],
        "status": parcel.status.value,
        "letters": len(parcel.letters),
        "first": parcel.letters[0].id,
        "attempts": parcel.attempts,
        "error": parcel.error,
        "failed_at": iso_or_none(parcel.failed_ms),
        "next_at": _next(parcel),
        "since": iso(parcel.begun_ms),
    }


def _message(parcel: Parcel) -> dict[str, Any]:
    letter = parcel.letters[0]
    return {
        "id": parcel.id.split("/", 1)[1],
        "message": letter.id,
        "topic": letter.topic,
        "due_at": _next(parcel),
        "since": iso(parcel.begun_ms),
    }


def _next(parcel: Parcel) -> str | None:
    return iso(min(parcel.timers.values())) if parcel.timers else None


def _letter(letter: Letter) -> LetterView:
    return LetterView(
        id=letter.id,
        topic=letter.topic,
        partition=letter.partition,
        source=str(letter.source) if letter.source is not None else None,
        key=shown(letter.key),
        value=shown(letter.value),
        headers=header_views(letter.headers),
    )
