"""The route that publishes events from outside."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.errors import NotYetDecided
from .bodies import Bodies, Json, described
from .identity import Permission, needs
from .problems import documented
from .queries import only
from .settings import ApiSettings

__all__ = ["EventBody", "EventView", "events_router"]


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


def events_router(client: Client, settings: ApiSettings) -> APIRouter:
    """Events go to the instances that wait for them; the response does not say which."""
    router = APIRouter(prefix="/v1", tags=["events"])
    bodies = Bodies(settings)

    @router.post(
        "/events/{event}",
        status_code=202,
        response_model=EventView,
        summary="Publish an event",
        description="Answers when the event is delivered or kept. An event that nothing waits for yet is kept for its "
        "`keep` time; when no more events of its kind and key can be kept, it is denied.",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra=described(EventBody, required=True),
    )
    @needs(Permission.START)
    async def publish(request: Request, event: str) -> Response:
        only(request)
        body = await bodies.read(request, EventBody)
        try:
            id = await client.publish(event, body.body, key=body.key, id=body.id, traceparent=request.state.traceparent)
        except NotYetDecided as later:
            id = later.request_id
        return Json(EventView(id=id, event=event, key=body.key), 202)

    return router
