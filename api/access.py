"""Routes of the own identity: sign in and out with a browser, who am I, and a ticket for one stream."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.messages.access import Role
from .bodies import Bodies, Json, described
from .credentials import Credentials, cookie_name
from .hosts import host_of, is_loopback
from .identity import Permission, Principal, needs, principal_of
from .problems import HttpProblem, documented
from .queries import only
from .sessions import SESSION_SECONDS, TICKET_SECONDS
from .settings import ApiSettings

__all__ = ["LoginBody", "access_router"]

_KNOWN = documented(401, 403, 422, 503)


class LoginBody(BaseModel):
    """The credential of who signs in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"key": "sgl_…"}]})

    key: str = Field(description="a key, a token of the settings, or a token of the identity provider")


class MeView(BaseModel):
    """Who asks. Without authentication the name is empty and everything is permitted."""

    name: str
    role: Role
    permissions: list[Permission]
    groups: list[str]
    csrf_token: str | None = Field(
        description="of a session: requests that change something send it in the header X-CSRF-Token"
    )


class TicketView(BaseModel):
    ticket: str = Field(description="give it as ?ticket= to one stream or WebSocket")
    expires_in_seconds: int


def access_router(credentials: Credentials, settings: ApiSettings) -> APIRouter:
    """The routes; everybody who has a credential may use them."""
    router = APIRouter(prefix="/v1", tags=["access"])
    bodies = Bodies(settings)

    @router.post(
        "/login",
        response_model=MeView,
        summary="Sign in: a cookie for the browser, in exchange for a key",
        responses=documented(400, 401, 403, 408, 413, 415, 422, 503),
        openapi_extra=described(LoginBody, required=True),
    )
    @needs("none")
    async def login(request: Request) -> Response:
        only(request)
        if not credentials.required:
            text = "there is no authentication here, and so nobody to sign in as; everything is permitted"
            raise HttpProblem("invalid-request", text)
        principal = await credentials.proven((await bodies.read(request, LoginBody)).key)
        text, session = credentials.sessions.sign(principal, "session")
        answer = Json(_me(session))
        answer.set_cookie(**_cookie(request), value=text, max_age=SESSION_SECONDS)
        return answer

    @router.post("/logout", status_code=204, summary="Sign out: the browser forgets its cookie", responses=_KNOWN)
    @needs("none")
    async def logout(request: Request) -> Response:
        answer = Response(status_code=204)
        answer.delete_cookie(**_cookie(request))
        return answer

    @router.get(
        "/me",
        response_model=MeView,
        summary="Say who asks, and what that one may do",
        responses=_KNOWN,
    )
    @needs("identity")
    async def get_me(request: Request) -> Response:
        only(request)
        return Json(_me(principal_of(request)))

    @router.post(
        "/tickets",
        status_code=201,
        response_model=TicketView,
        summary="Make a ticket for one stream or WebSocket, for clients that cannot send headers",
        responses=_KNOWN,
    )
    @needs("identity")
    async def create_ticket(request: Request) -> Response:
        only(request)
        text, _ = credentials.sessions.sign(principal_of(request), "ticket")
        return Json(TicketView(ticket=text, expires_in_seconds=TICKET_SECONDS), 201)

    return router


def _me(principal: Principal) -> MeView:
    return MeView(
        name=principal.name,
        role=principal.role,
        permissions=[each for each in Permission if each in principal.permissions],
        groups=sorted(principal.groups),
        csrf_token=principal.csrf or None,
    )


def _cookie(request: Request) -> dict[str, Any]:
    """Where a browser keeps the session: no script reads it, no other site's page sends it, and no plain HTTP beyond
    this machine carries it.
    """
    secure = not is_loopback(host_of(request))
    return {"key": cookie_name(request), "path": "/", "secure": secure, "httponly": True, "samesite": "strict"}
