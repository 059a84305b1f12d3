"""The route of the AsyncAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from ..orchestrator.client import Client
from ..orchestrator.client.asyncapi import asyncapi_document
from .identity import Permission, needs
from .problems import documented
from .queries import only

__all__ = ["asyncapi_router"]


def asyncapi_router(client: Client) -> APIRouter:
    """Definitions do not change while a process runs, so the document is built once, when it is first asked for."""
    router = APIRouter(tags=["definitions"])
    built: list[dict[str, Any]] = []

    @router.get(
        "/asyncapi.json",
        response_model=dict[str, Any],
        summary="The AsyncAPI 3.0 document of the deployed definitions: topics and messages",
        description="Workers are not known to the API: `saga asyncapi` describes them too.",
        responses=documented(401, 403, 422),
    )
    @needs(Permission.VIEW)
    async def get_asyncapi(request: Request) -> Response:
        only(request)
        if not built:
            built.append(asyncapi_document(client.topics, client.registry))
        return JSONResponse(built[0])

    return router
