"""The route that shows queues: what waits, who reads, and why."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client import Client
from .bodies import Json
from .identity import Permission, needs
from .problems import documented
from .queries import only
from .views import iso

__all__ = ["QueueList", "QueueView", "queues_router"]


class QueueView(BaseModel):
    """One queue, or one lane of it."""

    queue: str
    lane: str = Field(description="high, normal or low; a queue without lanes has only normal")
    waiting: int = Field(
        description="at most so many commands have no answer, those in work included; a distance of offsets"
    )
    in_work: int = Field(description="those that running workers have read, as they told some seconds ago")
    oldest: str | None = Field(description="when the oldest waiting one was written; null: none waits")
    workers: list[str] = Field(description="running workers that read it, one entry for each process")
    why: str = Field(description="idle, nobody-reads, circuit, limit or backlog")
    reason: str = Field(description="for people: what it waits for and what to do; empty when it is idle")


class QueueList(BaseModel):
    """All queues of deployed definitions and of running workers, by name."""

    queues: list[QueueView]


def queues_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["queues"])

    @router.get(
        "/queues",
        response_model=QueueList,
        summary="List queues with their lanes: what waits, who reads, and why it waits",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.VIEW)
    async def list_queues(request: Request) -> Response:
        only(request)
        found = [
            QueueView(
                queue=each.queue,
                lane=each.lane,
                waiting=each.waiting,
                in_work=each.in_work,
                oldest=None if each.oldest_ms is None else iso(each.oldest_ms),
                workers=list(each.workers),
                why=each.why,
                reason=each.reason,
            )
            for each in await client.queues.list()
        ]
        return Json(QueueList(queues=found))

    return router
