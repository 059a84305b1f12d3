"""Routes of personal data: the erasure of a person."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.client import Client
from .bodies import Bodies, Json, described
from .identity import Permission, needs
from .letters import AskBody, options_of
from .problems import documented
from .queries import only
from .settings import ApiSettings

__all__ = ["EraseBody", "personal_router"]


class EraseBody(AskBody):
    """Whose data are erased. The subject stands in the body, so that no log of addresses has it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"subject": "C-1815", "reason": "she asked for it on 28 May"}]}
    )

    subject: str = Field(description="the id of the person, as the models say it", min_length=1)


class ErasedView(BaseModel):
    """The personal values of this subject can no longer be opened."""

    subject: str
    keys: int = Field(description="how many keys were erased; 0: there was none (any more)")
    trace_id: str | None


class RewrappedView(BaseModel):
    """The keys of persons are sealed by one key."""

    keys: int = Field(description="how many were sealed by another one before")
    sealed_by: str = Field(description="the id of the newest key of the settings")


def personal_router(client: Client, settings: ApiSettings) -> APIRouter:
    """The routes; they are an administrator's."""
    router = APIRouter(prefix="/v1/personal", tags=["access"])
    bodies = Bodies(settings)

    @router.post(
        "/erase",
        response_model=ErasedView,
        summary="Erase the personal data of a subject, for ever",
        description="Removes the keys that have sealed them: no copy of them can be opened any more, in documents, "
        "histories, dead letters, backups of the read model. Histories still verify. Data that come later get a new "
        "key. It may be repeated.",
        responses=documented(400, 401, 403, 408, 413, 415, 422, 503),
        openapi_extra=described(EraseBody, required=True),
    )
    @needs(Permission.ADMINISTER)
    async def erase_person(request: Request) -> Response:
        body = await bodies.read(request, EraseBody)
        done = await client.personal.erase(body.subject, options_of(request, settings, body))
        return Json(ErasedView(subject=done.subject, keys=done.keys, trace_id=done.trace_id))

    @router.post(
        "/rewrap",
        response_model=RewrappedView,
        summary="Seal the keys of all persons by the newest key of the settings",
        description="After it `SAGALINE_PERSONAL_KEYS` needs no other key. It may be repeated.",
        responses=documented(401, 403, 422, 503),
    )
    @needs(Permission.ADMINISTER)
    async def rewrap_person_keys(request: Request) -> Response:
        only(request)
        done = await client.personal.rewrap()
        return Json(RewrappedView(keys=done.keys, sealed_by=done.sealed_by))

    return router
