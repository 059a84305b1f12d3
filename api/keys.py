"""Routes of the keys of the API. A secret is in the answer that makes it, and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.client import Client, NewKey
from ..orchestrator.messages.access import ApiKey, Role
from .bodies import Bodies, Json, described, one_of
from .identity import Permission, needs
from .letters import AskBody, options_of
from .paths import segment_of
from .problems import HttpProblem, documented
from .queries import only
from .settings import ApiSettings
from .views import iso

__all__ = ["KeyBody", "RotateBody", "keys_router"]

_SECONDS_MAX = 10**10
_RESPONSES = documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
_VALID_FOR = "how long it is valid; none: until it is revoked"


class KeyBody(AskBody):
    """A new key."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "ann@shop", "role": "operator", "groups": ["risk"], "valid_for_seconds": 7776000}]
        },
    )

    name: str = Field(description="the bearer: acts have this name in the history; at most 64 characters")
    role: str = Field(description="viewer, starter, operator, admin or worker")
    groups: list[str] = Field([], max_length=20, description="of the bearer; a question may be put to one of them")
    valid_for_seconds: float | None = Field(None, gt=0, le=_SECONDS_MAX, description=_VALID_FOR)


class RotateBody(AskBody):
    """A new secret for a key."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"overlap_seconds": 3600, "reason": "the yearly rotation"}]}
    )

    overlap_seconds: float = Field(86_400, ge=0, le=_SECONDS_MAX, description="how long the old secrets stay valid")
    valid_for_seconds: float | None = Field(
        None, gt=0, le=_SECONDS_MAX, description="how long the new secret is valid; none: until the key ends anyway"
    )


class KeyView(BaseModel):
    """A key, without its secret."""

    name: str
    role: Role
    groups: list[str]
    created_at: str = Field(description="of a key that was rotated: when that was done")
    created_by: str
    expires_at: str | None = Field(description="null: it is valid until it is revoked")
    valid: bool


class NewKeyView(KeyView):
    """A key that was just made."""

    secret: str = Field(description="shown here and never again; send it as: Authorization: Bearer <secret>")


class KeyList(BaseModel):
    """All keys, by name. One that is being rotated is there with each secret, the oldest first."""

    keys: list[KeyView]


class RevokedView(BaseModel):
    name: str


def keys_router(client: Client, settings: ApiSettings) -> APIRouter:
    """The routes; they are an administrator's."""
    router = APIRouter(prefix="/v1/keys", tags=["access"])
    bodies = Bodies(settings)

    @router.get(
        "", response_model=KeyList, summary="List the keys of the API", responses=documented(401, 403, 422, 503)
    )
    @needs(Permission.ADMINISTER)
    async def list_keys(request: Request) -> Response:
        only(request)
        now_ms = client.now_ms
        return Json(KeyList(keys=[KeyView(**_view(each, now_ms)) for each in await client.keys.list()]))

    @router.post(
        "",
        status_code=201,
        response_model=NewKeyView,
        summary="Create a key; the answer is the only place that has its secret",
        responses=_RESPONSES,
        openapi_extra=described(KeyBody, required=True),
    )
    @needs(Permission.ADMINISTER)
    async def create_key(request: Request) -> Response:
        if not settings.authenticates:
            text = "keys are checked only where authentication is set up; start the API with SAGALINE_API_TOKENS first"
            raise HttpProblem("invalid-request", text)
        body = await bodies.read(request, KeyBody)
        made = await client.keys.create(
            body.name,
            one_of(Role, body.role, "role"),
            groups=body.groups,
            valid_for=_span(body.valid_for_seconds),
            options=options_of(request, settings, body),
        )
        return _made(made, client.now_ms, 201)

    @router.post(
        "/{name}/rotate",
        response_model=NewKeyView,
        summary="Give a key a new secret; the old one stays valid for a while",
        responses=_RESPONSES,
        openapi_extra=described(RotateBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def rotate_key(request: Request, name: str) -> Response:
        body = await bodies.read(request, RotateBody)
        made = await client.keys.rotate(
            segment_of(name, "name"),
            overlap=timedelta(seconds=body.overlap_seconds),
            valid_for=_span(body.valid_for_seconds),
            options=options_of(request, settings, body),
        )
        return _made(made, client.now_ms, 200)

    @router.delete(
        "/{name}",
        response_model=RevokedView,
        summary="Revoke a key: here at once, on other nodes within moments",
        responses=_RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def revoke_key(request: Request, name: str) -> Response:
        body = await bodies.read(request, AskBody)
        known = segment_of(name, "name")
        await client.keys.revoke(known, options_of(request, settings, body))
        return Json(RevokedView(name=known))

    return router


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _made(made: NewKey, now_ms: int, status: int) -> Response:
    return Json(NewKeyView(**_view(made.key, now_ms), secret=made.secret), status)


def _view(key: ApiKey, now_ms: int) -> dict[str, Any]:
    return {
        "name": key.name,
        "role": key.role,
        "groups": list(key.groups),
        "created_at": iso(key.created_ms),
        "created_by": key.created_by,
        "expires_at": None if key.expires_ms is None else iso(key.expires_ms),
        "valid": key.is_valid(now_ms),
    }
