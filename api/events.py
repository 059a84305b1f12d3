"""The route by which the outside publishes events."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.errors import NotYetDecided
from .bodies import Bodies, Json, described
from .problems import documented
from .queries import only
from .settings import ApiSettings

__all__ = ["EventBody", "EventView", "events_router"]


class EventBody(BaseModel):
    """An event that has happened."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"key": "O-7", "id": "pay-81", "body": {"order_id": "O-7", "amount_cents": 900}}]
        },
    )

    key: str = Field(description="what it is about, at most 256 characters: who waits for this key gets it")
    id: str | None = Field(default=None, description="its own id: repeated with one it happens once; none: a fresh one")
    body: dict[str, JsonValue] = Field(description="by the model of the event")


class EventView(BaseModel):
    """The event is in the log: it is never lost from here on."""

    id: str
    event: str
    key: str


def events_router(client: Client, settings: ApiSettings) -> APIRouter:
    """Events go to whoever waits for them; that is seen at the instances, not here."""
    router = APIRouter(prefix="/v1", tags=["events"])
    bodies = Bodies(settings)

    @router.post(
        "/events/{event}",
        status_code=202,
        response_model=EventView,
        summary="Publish an event",
        description="Answers when it is taken or kept. One that comes before it is waited for is kept as long as it "
        "says; when no more of its kind and key can be kept, one that nobody waits for is denied.",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra=described(EventBody, required=True),
    )
    async def publish(request: Request, event: str) -> Response:
        only(request)
        body = await bodies.read(request, EventBody)
        try:
            id = await client.publish(event, body.body, key=body.key, id=body.id, traceparent=request.state.traceparent)
        except NotYetDecided as later:
            id = later.request_id
        return Json(EventView(id=id, event=event, key=body.key), 202)

    return router
