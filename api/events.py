"""The routes that publish events from outside: one of ours by its name, and CloudEvents of any sender."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.errors import InvalidRequest, NotYetDecided, SagalineError, TransientError
from .bodies import Bodies, Json, described
from .cloud_events import BATCH, STRUCTURED, CloudEvent, is_batch, read_batch, read_one
from .identity import Permission, needs
from .outcomes import Wait
from .problems import HttpProblem, Problem, documented, told_of
from .queries import only
from .settings import ApiSettings
from .waiting import wait_of

__all__ = ["CloudEventBody", "EventBody", "EventView", "events_router"]

_AT_ONCE = 16
"""Keys of a batch whose events are published at the same time."""
_EXAMPLE: dict[str, JsonValue] = {
    "specversion": "1.0",
    "id": "pay-81",
    "source": "https://pay.example",
    "type": "order-paid",
    "subject": "O-7",
    "data": {"order_id": "O-7", "amount_cents": 900},
}


class EventBody(BaseModel):
    """An event to publish."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"key": "O-7", "id": "pay-81", "body": {"order_id": "O-7", "amount_cents": 900}}]
        },
    )

    key: str = Field(description="the key that waiting instances match, at most 256 characters")
    id: str | None = Field(
        default=None, description="the event's id: with the same id it happens once; none: a new one"
    )
    body: dict[str, JsonValue] = Field(description="its body, by the model of the event")


class EventView(BaseModel):
    """The event is in the log: after this it is never lost."""

    id: str
    event: str
    key: str


class CloudEventBody(BaseModel):
    """A CloudEvent 1.0. Extensions are allowed beside these attributes, and not kept."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})

    specversion: Literal["1.0"]
    id: str = Field(description="with the same `source` and `id` it happens once")
    source: str
    type: str = Field(description="the name of the event")
    subject: str | None = Field(default=None, description="the key that waiting instances match")
    partitionkey: str | None = Field(default=None, description="the key, instead of `subject`")
    time: str | None = None
    datacontenttype: str | None = Field(default=None, description="`application/json`")
    traceparent: str | None = Field(default=None, description="the trace to continue; none: that of the request")
    data: dict[str, JsonValue] | None = Field(default=None, description="its body, by the model of the event")
    data_base64: str | None = Field(default=None, description="instead of `data`: the same JSON, encoded")


class EventResult(BaseModel):
    """What became of one event of a batch."""

    id: str | None = Field(description="its id here; null: it was not published")
    event: str | None
    key: str | None
    problem: Problem | None = Field(description="why it was not published; null: it is in the log")


class BatchView(BaseModel):
    """A result for each event, in their order. After `unavailable` send the whole batch again: none happens twice."""

    results: list[EventResult]


def events_router(client: Client, settings: ApiSettings) -> APIRouter:
    """Events go to the instances that wait for them; the response does not say which."""
    router = APIRouter(prefix="/v1", tags=["events"])
    bodies = Bodies(settings)

    @router.post(
        "/events/{event}",
        status_code=202,
        response_model=EventView,
        summary="Publish an event",
        description="Answers when the event is delivered or kept, or after `wait`: it is in the log by then, and is "
        "delivered when an engine decides. An event that nothing waits for yet is kept for its `keep` time; when no "
        "more events of its kind and key can be kept, it is denied (after `wait`: a dead letter).",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra=described(EventBody, required=True),
    )
    @needs(Permission.START)
    async def publish_event(request: Request, event: str, wait: Wait = None) -> Response:
        only(request, "wait")
        seconds, trace = wait_of(request, settings), request.state.traceparent
        body = await bodies.read(request, EventBody)
        try:
            id = await client.publish(event, body.body, key=body.key, id=body.id, wait=seconds, traceparent=trace)
        except NotYetDecided as later:
            id = later.request_id
        return Json(EventView(id=id, event=event, key=body.key), 202)

    @router.post(
        "/events",
        status_code=202,
        response_model=EventView | BatchView,
        summary="Publish CloudEvents: one, in binary or structured mode, or a batch",
        description="`type` is the name of the event, `subject` its key. Events of a batch with the same key are "
        "published in their order: one that is refused does not stop the others, and after one that is `unavailable` "
        "the rest of its key is too.",
        responses={
            207: {"model": BatchView, "description": "Some events of the batch were not published"},
            **documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        },
        openapi_extra={"requestBody": _content()},
    )
    @needs(Permission.START)
    async def publish_cloud_events(request: Request, wait: Wait = None) -> Response:
        only(request, "wait")
        seconds, trace = wait_of(request, settings), request.state.traceparent
        if not is_batch(request):
            return Json(await _published(client, await read_one(request, bodies), trace, seconds), 202)
        results = await _all_published(client, await read_batch(request, bodies), trace, seconds)
        return Json(BatchView(results=results), 207 if any(each.problem is not None for each in results) else 202)

    return router


def _content() -> dict[str, Any]:
    """The body in the OpenAPI document."""
    one = {"$ref": "#/components/schemas/CloudEventBody"}
    return {
        "required": True,
        "content": {
            STRUCTURED: {"schema": one, "example": _EXAMPLE},
            BATCH: {"schema": {"type": "array", "items": one}, "example": [_EXAMPLE]},
            "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE["data"]},
        },
    }


async def _published(client: Client, event: CloudEvent, trace: str | None, wait: timedelta) -> EventView:
    """Publishes one event.

    Raises:
        SagalineError: as ``Client.publish``; ``field`` is the attribute.
    """
    trace = event.traceparent or trace
    try:
        await client.publish(event.event, event.body, key=event.key, id=event.id, wait=wait, traceparent=trace)
    except NotYetDecided:
        pass  # it is in the log
    except InvalidRequest as error:
        name, dot, rest = error.field.partition(".")
        attribute = {"key": event.key_from, "body": "data"}.get(name, name)
        raise InvalidRequest(str(error), field=f"{attribute}{dot}{rest}") from error
    return EventView(id=event.id, event=event.event, key=event.key)


async def _all_published(
    client: Client,
    events: Sequence[CloudEvent | InvalidRequest | HttpProblem],
    trace: str | None,
    wait: timedelta,
) -> list[EventResult]:
    """Publishes those of one key one after the other, and several keys at the same time. All share ``wait``.

    After a transient error the rest of its key has that error too: the batch is sent again, and a later event must not
    be in the log before an earlier one. So have, once ``wait`` is over, the keys that are not begun.
    """
    results = [_failed(number, each) for number, each in enumerate(events) if not isinstance(each, CloudEvent)]
    found = dict(results)
    loop, slots = asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)
    ends = loop.time() + wait.total_seconds()
    newest: TransientError | None = None

    async def in_order(numbers: Sequence[int]) -> None:
        nonlocal newest
        async with slots:
            gone = newest if loop.time() >= ends else None
            for number in numbers:
                if gone is not None:
                    found[number] = _failed(number, gone)[1]
                    continue
                event, left = events[number], timedelta(seconds=max(0.0, ends - loop.time()))
                assert isinstance(event, CloudEvent)
                try:
                    view = await _published(client, event, trace, left)
                except SagalineError as error:
                    found[number] = _failed(number, error)[1]
                    if isinstance(error, TransientError):
                        gone = newest = error
                else:
                    found[number] = EventResult(id=view.id, event=view.event, key=view.key, problem=None)

    keyed = sorted((each.key, number) for number, each in enumerate(events) if isinstance(each, CloudEvent))
    groups = [[number for _, number in group] for _, group in groupby(keyed, key=lambda each: each[0])]
    async with asyncio.TaskGroup() as tasks:
        for group in groups:
            tasks.create_task(in_order(group))
    return [found[number] for number in range(len(events))]


def _failed(number: int, error: SagalineError) -> tuple[int, EventResult]:
    """The result of an event that was not published; ``field`` of its problem begins with its number in the batch."""
    shown = error
    if isinstance(error, InvalidRequest):
        shown = InvalidRequest(str(error), field=f"{number}.{error.field}".rstrip("."))
    return number, EventResult(id=None, event=None, key=None, problem=told_of(shown).body())
