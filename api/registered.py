"""Routes that every kind of ``Registered`` has, such as webhooks: list, show, delete; rotate and show secrets.

What a kind does besides stands in its own file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Generic, Protocol, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ..orchestrator.client.registered import Changed, May, Registered, WithSecrets, anyone
from ..orchestrator.errors import NotYetDecided
from ..orchestrator.messages.named_rules import Named, Secret
from .bodies import Bodies, Json, described
from .identity import Permission, needs
from .letters import RESPONSES, AcceptedView, AskBody, options_of
from .outcomes import Wait
from .paths import segment_of
from .problems import HttpProblem, documented
from .queries import only
from .settings import ApiSettings

__all__ = ["Kind", "NewSecretBody", "add_registered", "add_secrets", "check_keys"]

_OVERLAP_SECONDS_MAX = 30 * 86_400
N = TypeVar("N", bound=Named)
N_in = TypeVar("N_in", bound=Named, contravariant=True)
S = TypeVar("S", bound=Secret)


class NewSecretBody(AskBody):
    """How long the secret before counts."""

    overlap_seconds: Annotated[int, Field(ge=0, le=_OVERLAP_SECONDS_MAX)] = Field(
        default=86_400, description="for this time requests are signed with both secrets"
    )


class _Show(Protocol[N_in]):
    """Makes the view of a thing. ``secret``: with its secret, which no other answer has."""

    def __call__(self, thing: N_in, *, trace_id: str | None = None, secret: bool = False) -> BaseModel: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[N]):
    """How one kind is served. ``path``: its end is the field of ``listed``. ``deleted``: what follows then.

    ``may``: which things the one who asks may see and remove; others do not exist for him.
    """

    noun: str
    path: str
    things: Registered[N]
    show: _Show[N]
    view: type[BaseModel]
    listed: type[BaseModel]
    deleted: str
    permission: Permission = Permission.ADMINISTER
    may: Callable[[Request], May[N]] = lambda _: anyone

    @property
    def word(self) -> str:
        """In names of operations."""
        return self.noun.replace(" ", "_")

    async def answer(self, asked: Awaitable[Changed[N]], *, secret: bool = False) -> Response:
        """The response to a request, when it is decided or the wait is over. ``secret``: show it, as for a new one."""
        try:
            done = await asked
        except NotYetDecided as error:
            accepted = AcceptedView(id=error.instance, request_id=error.request_id)
            return Json(accepted, 202, {"Retry-After": "1"})
        shown = self.show(done.thing, trace_id=done.trace_id, secret=secret or done.created)
        return Json(shown, 201 if done.created else 200)


def add_registered(router: APIRouter, settings: ApiSettings, kind: Kind[N]) -> None:
    """Adds the routes that list, show and delete things of a kind."""
    bodies, one = Bodies(settings), f"/{kind.path}/{{name}}"

    @router.get(
        f"/{kind.path}",
        name=f"list_{kind.word}s",
        response_model=kind.listed,
        summary=f"List {kind.noun}s",
        responses=documented(401, 403, 422, 503),
    )
    @needs(kind.permission)
    async def list_things(request: Request) -> Response:
        only(request)
        may, field = kind.may(request), kind.path.rpartition("/")[2]
        return Json(kind.listed(**{field: [kind.show(each) for each in await kind.things.list() if may(each)]}))

    @router.get(
        one,
        name=f"get_{kind.word}",
        response_model=kind.view,
        summary=f"Show a {kind.noun}",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(kind.permission)
    async def get_thing(request: Request, name: str) -> Response:
        only(request)
        found = await kind.things.get(name := segment_of(name, "name"))
        return Json(kind.show(kind.things.known(found if kind.may(request)(found) else None, name)))

    @router.delete(
        one,
        name=f"delete_{kind.word}",
        response_model=kind.view,
        summary=f"Delete a {kind.noun}; {kind.deleted}",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(kind.permission)
    async def delete_thing(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        options, may = options_of(request, settings, body), kind.may(request)
        return await kind.answer(kind.things.delete(segment_of(name, "name"), options, may=may))


def add_secrets(
    router: APIRouter,
    settings: ApiSettings,
    kind: Kind[S],
    things: WithSecrets[S],
    *,
    side: str,
    check: Callable[[str], None],
) -> None:
    """Adds the routes that rotate and show secrets.

    Args:
        router: gets them.
        settings: limits of bodies.
        kind: whose secrets.
        things: all of them.
        side: who has the secret: the receiver or the sender.
        check: raises if there is no secret of that name that could be given, or shown.
    """
    bodies = Bodies(settings)

    @router.post(
        f"/{kind.path}/{{name}}/rotate",
        name=f"rotate_{kind.word}",
        response_model=kind.view,
        summary=f"Give a {kind.noun} a new secret",
        responses=RESPONSES,
        openapi_extra=described(NewSecretBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def rotate_secret(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, NewSecretBody)
        check(name := segment_of(name, "name"))
        overlap, options = timedelta(seconds=body.overlap_seconds), options_of(request, settings, body)
        return await kind.answer(things.rotate(name, overlap, options), secret=True)

    @router.post(
        f"/{kind.path}/{{name}}/secret",
        name=f"show_{kind.word}_secret",
        response_model=kind.view,
        summary=f"Show the secret of a {kind.noun}",
        description=f"The newest one, for its {side}. Who has asked is in `GET /v1/operations`.",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def show_secret(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        check(name := segment_of(name, "name"))
        return await kind.answer(things.reveal(name, options_of(request, settings, body)), secret=True)


def check_keys(settings: ApiSettings) -> None:
    """Raises HttpProblem: nothing could be signed, or verified."""
    if not settings.webhook_keys:
        raise HttpProblem(
            "unavailable",
            "this server has no key for webhooks, so nothing could be signed; the operator sets one: "
            "SAGALINE_WEBHOOK_KEYS='[\"…\"]', the same for the API and for `saga webhooks serve`",
        )
