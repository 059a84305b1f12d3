"""Routes by which the answer to a command comes from elsewhere than its worker."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.errors import InvalidRequest
from .bodies import Bodies, described
from .headers import undecided
from .identity import Permission, needs
from .outcomes import Wait, answered
from .problems import documented
from .queries import only
from .settings import ApiSettings
from .views import AcceptedView, OutcomeView
from .waiting import wait_of

__all__ = ["HeartbeatBody", "ReplyBody", "commands_router"]

CommandId = Annotated[str, Field(description="as the handler's `ctx.command_id` gave it")]


class RejectedBody(BaseModel):
    """A business rejection."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(description="a short word for programs")
    reason: str = Field(description="for people")


class FailedBody(BaseModel):
    """This attempt did not succeed."""

    model_config = ConfigDict(extra="forbid")

    error: str


class ReplyBody(BaseModel):
    """The answer to a command: exactly one of `completed`, `rejected` and `failed`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"command_id": "order-checkout/A-1/ship~k3x9wq2z/1", "completed": {"tracking_id": "T-1"}}]
        },
    )

    command_id: CommandId
    completed: dict[str, JsonValue] | None = Field(default=None, description="the reply, by the contract's model")
    rejected: RejectedBody | None = None
    failed: FailedBody | None = None


class HeartbeatBody(BaseModel):
    """The command is still being worked on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"command_id": "order-checkout/A-1/ship~k3x9wq2z/1", "progress": {"row": 7}}]},
    )

    command_id: CommandId
    progress: dict[str, JsonValue] | None = Field(
        default=None, description="how far it has come, at most 4,096 bytes; none: as said before"
    )


_RESPONSES = {
    **undecided(AcceptedView, "Location"),
    **documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
}


def commands_router(client: Client, settings: ApiSettings) -> APIRouter:
    """For handlers that have returned ``AnswerLater``, and for work that reports from elsewhere."""
    router = APIRouter(prefix="/v1", tags=["commands"])
    bodies = Bodies(settings)

    @router.post(
        "/replies",
        response_model=OutcomeView,
        summary="Answer a command",
        description="For a handler that has left the answer to others. 409 when no attempt waits for it (any more).",
        responses=_RESPONSES,
        openapi_extra=described(ReplyBody, required=True),
    )
    @needs(Permission.WORK)
    async def answer_command(request: Request, wait: Wait = None) -> Response:
        only(request, "wait")
        seconds = wait_of(request, settings)
        body = await bodies.read(request, ReplyBody)
        if sum(each is not None for each in (body.completed, body.rejected, body.failed)) != 1:
            raise InvalidRequest("give exactly one of completed, rejected and failed", field="completed")
        id, traced = body.command_id, request.state.traceparent
        if (no := body.rejected) is not None:
            return await answered(client.commands.reject(id, no.reason, code=no.code, wait=seconds, traceparent=traced))
        if body.failed is not None:
            return await answered(client.commands.fail(id, body.failed.error, wait=seconds, traceparent=traced))
        return await answered(client.commands.complete(id, body.completed or {}, wait=seconds, traceparent=traced))

    @router.post(
        "/heartbeats",
        response_model=OutcomeView,
        summary="Say that a command is still being worked on",
        description="Postpones the timeout of the attempt, not that of the step; the progress is kept for the next "
        "attempt. Each heartbeat is a record in the history: send few.",
        responses=_RESPONSES,
        openapi_extra=described(HeartbeatBody, required=True),
    )
    @needs(Permission.WORK)
    async def send_heartbeat(request: Request, wait: Wait = None) -> Response:
        only(request, "wait")
        seconds = wait_of(request, settings)
        body = await bodies.read(request, HeartbeatBody)
        asked = client.commands.heartbeat(
            body.command_id, body.progress, wait=seconds, traceparent=request.state.traceparent
        )
        return await answered(asked)

    return router
