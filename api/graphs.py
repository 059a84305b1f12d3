"""Routes that draw a definition, or a live instance on its definition."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from ..orchestrator.client import Client
from ..orchestrator.client.graphs import drawn
from ..orchestrator.errors import UnknownDefinition
from ..sagas.graph import Format, Graph, as_text, graph_of
from .bodies import Json
from .identity import Permission, needs
from .paths import INSTANCES, instance_of
from .problems import documented
from .queries import only

__all__ = ["GraphView", "graphs_router"]


FormatOf = Annotated[Format, Query(description="output format")]


class GraphView(BaseModel):
    """``text`` is the graph in that format."""

    definition: str
    version: int
    format: Format
    text: str


def graphs_router(client: Client) -> APIRouter:
    """Read-only routes."""
    router = APIRouter(prefix="/v1", tags=["graphs"])

    @router.get(
        "/definitions/{definition}/graph",
        response_model=GraphView,
        summary="Draw the newest version of a definition",
        responses=documented(401, 403, 404, 422),
    )
    @needs(Permission.VIEW)
    async def get_definition_graph(request: Request, definition: str, format: FormatOf = Format.MERMAID) -> Response:
        only(request, "format")
        found = client.registry.find(definition)
        if found is None:
            raise UnknownDefinition(definition, client.registry.names)
        return Json(_view(graph_of(found), format))

    @router.get(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}/graph",
        response_model=GraphView,
        summary="Draw an instance on its definition: done, running, undone, failed and to come",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.VIEW)
    async def get_instance_graph(
        request: Request, definition: str, key: str, format: FormatOf = Format.MERMAID
    ) -> Response:
        only(request, "format")
        document = await client.get(instance_of(definition, key))
        found = client.registry.find(document.definition, document.version)
        if found is None:
            raise UnknownDefinition(f"{document.definition} version {document.version}", client.registry.names)
        return Json(_view(drawn(found, document), format))

    return router


def _view(graph: Graph, format: Format) -> GraphView:
    return GraphView(definition=graph.definition, version=graph.version, format=format, text=as_text(graph, format))
