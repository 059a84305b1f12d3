"""The route that shows an instance as it was after any revision, with what that revision has changed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from jsonpatch import make_patch
from pydantic import BaseModel, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.client.revisions import Revision, revision_of
from ..orchestrator.messages.document import Document
from .bodies import Json, unchanged
from .headers import with_headers
from .identity import Permission, needs
from .paths import INSTANCES, instance_of
from .problems import documented
from .queries import only
from .views import DecisionView, InstanceView, decision_view, instance_view, tag_of

__all__ = ["RevisionView", "revisions_router"]


class RevisionView(BaseModel):
    """An instance after a revision, and how it came to it."""

    revision: int
    newest: int = Field(description="the last revision in the history")
    instance: InstanceView
    changed: list[dict[str, JsonValue]] | None = Field(
        description="what it has changed: a JSON Patch (RFC 6902) that makes `instance` of the one before; null: it is "
        "the first revision, or the one before cannot be recomputed"
    )
    decision: DecisionView = Field(description="the decision that made it")


def revisions_router(client: Client) -> APIRouter:
    """Read-only route."""
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.get(
        f"{INSTANCES.removeprefix('/v1')}/{{definition}}/{{key}}/revisions/{{revision}}",
        response_model=RevisionView,
        summary="Show an instance as it was after a revision, and what that revision has changed",
        description="It is recomputed from the history by the deployed code. A revision at which that code would "
        "decide otherwise than it was decided then is not shown.",
        responses={
            200: with_headers("ETag"),
            304: {"description": "The same as before", **with_headers("ETag")},
            **documented(401, 403, 404, 422, 503),
        },
    )
    @needs(Permission.VIEW)
    async def get_revision(
        request: Request, definition: str, key: str, revision: Annotated[int, Path(ge=1, le=2**31 - 1)]
    ) -> Response:
        only(request)
        found = await revision_of(client, instance_of(definition, key), revision)
        tag = f'{tag_of(found.document)[:-1]}-{found.newest}"'
        return unchanged(request, tag) or Json(_view(found, revision), headers={"ETag": tag})

    return router


def _view(found: Revision, revision: int) -> RevisionView:
    changed = make_patch(_plain(found.before), _plain(found.document)).patch if found.before is not None else None
    return RevisionView(
        revision=revision,
        newest=found.newest,
        instance=instance_view(found.document),
        changed=changed,
        decision=decision_view(found.row),
    )


def _plain(document: Document) -> dict[str, JsonValue]:
    view: dict[str, JsonValue] = instance_view(document).model_dump(mode="json", by_alias=True)
    return view
