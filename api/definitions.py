"""The route that shows the deployed definitions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from ..orchestrator.kernel import Registry
from .identity import Permission, needs
from .problems import documented
from .queries import only
from .views import DefinitionView, definition_view

__all__ = ["DefinitionList", "definitions_router"]


class DefinitionList(BaseModel):
    definitions: list[DefinitionView]


def definitions_router(registry: Registry) -> APIRouter:
    """Definitions do not change while a process runs, so their description is built once."""
    router = APIRouter(prefix="/v1", tags=["definitions"])
    ordered = sorted(registry, key=lambda saga: (saga.name, saga.version))
    views = DefinitionList(definitions=[definition_view(saga, registry) for saga in ordered])

    @router.get(
        "/definitions",
        response_model=DefinitionList,
        summary="List the deployed definitions: their inputs and nodes",
        responses=documented(401, 403, 422),
    )
    @needs(Permission.VIEW)
    async def list_definitions(request: Request) -> DefinitionList:
        only(request)
        return views

    return router
