"""Routes of webhooks: register, show, change, rotate the secret."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.client import Client
from ..orchestrator.client.registered import Changed
from ..orchestrator.egress import EgressDenied, check_url
from ..orchestrator.errors import InvalidRequest, NotYetDecided
from ..orchestrator.messages.instance_events import EventType
from ..orchestrator.messages.webhooks import Webhook
from ..orchestrator.ports.clock import Clock
from .bodies import Bodies, Json, described, one_of
from .feed import after_of
from .identity import Permission, needs
from .letters import RESPONSES, AcceptedView, AskBody, SignedBody, options_of
from .outcomes import Wait
from .paths import segment_of
from .problems import HttpProblem, documented
from .queries import only
from .settings import ApiSettings
from .views import iso

__all__ = [
    "NewSecretBody",
    "ReplayBody",
    "WebhookBody",
    "WebhookList",
    "WebhookView",
    "check_keys",
    "webhooks_router",
]

_OVERLAP_SECONDS_MAX = 30 * 86_400


class WebhookBody(AskBody):
    """Where events are posted to, and which."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.com/hooks/orders", "types": ["completed"]}]},
    )

    url: str = Field(description="https, at most 2,048 characters; every address of its host must be public")
    types: list[str] = Field(
        default=[], description=f"only events of these types: {', '.join(EventType)}; none: all types"
    )
    definitions: list[str] = Field(default=[], description="only of instances of these definitions; none: all")


class NewSecretBody(AskBody):
    """How long the secret before counts."""

    overlap_seconds: Annotated[int, Field(ge=0, le=_OVERLAP_SECONDS_MAX)] = Field(
        default=86_400, description="for this time requests are signed with both secrets"
    )


class ReplayBody(SignedBody):
    """From where on events are sent again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"after": "earliest"}]})

    after: str = Field(description="a cursor of the feed (`GET /v1/events`), or `earliest`")


class ReplayView(BaseModel):
    """What is sent again."""

    sent: int = Field(description="how many events; at most 1,000")
    cursor: str = Field(description="where they end")
    more: bool = Field(description="others follow: replay from `cursor`")


class WebhookView(BaseModel):
    """A webhook; its secret is in the answers to its creation, to `rotate` and to `secret` only."""

    name: str
    url: str
    types: list[EventType]
    definitions: list[str]
    disabled: str | None = Field(description="why it gets nothing; null: it is enabled")
    overlap_until: str | None = Field(description="until then requests are signed with the secrets before too")
    secret: str | None = Field(default=None, description="for the receiver: `whsec_…` of Standard Webhooks")
    trace_id: str | None = None


class WebhookList(BaseModel):
    """All webhooks, by name."""

    webhooks: list[WebhookView]


def webhooks_router(client: Client, settings: ApiSettings, clock: Clock) -> APIRouter:
    """Shows webhooks and changes them; ``saga webhooks serve`` delivers to them."""
    router = APIRouter(prefix="/v1", tags=["webhooks"])
    views = _Views(client, settings, clock)
    _add_queries(router, client, views)
    _add_changes(router, client, settings, views)
    _add_acts(router, client, settings, views)
    return router


class _Views:
    """Makes the answers."""

    def __init__(self, client: Client, settings: ApiSettings, clock: Clock) -> None:
        self._client, self._keys, self._clock = client, settings.webhook_keys, clock

    def of(self, webhook: Webhook, *, trace_id: str | None = None, secret: bool = False) -> WebhookView:
        until = webhook.overlap_until_ms
        return WebhookView(
            name=webhook.name,
            url=webhook.url,
            types=list(webhook.types),
            definitions=list(webhook.definitions),
            disabled=webhook.disabled or None,
            overlap_until=iso(until) if until > self._clock.now_ms() else None,
            secret=self._client.webhooks.secret(webhook, self._keys) if secret else None,
            trace_id=trace_id,
        )

    async def answer(self, asked: Awaitable[Changed[Webhook]], *, secret: bool = False) -> Response:
        try:
            done = await asked
        except NotYetDecided as error:
            accepted = AcceptedView(id=error.instance, request_id=error.request_id)
            return Json(accepted, 202, {"Retry-After": "1"})
        shown = self.of(done.thing, trace_id=done.trace_id, secret=secret or done.created)
        return Json(shown, 201 if done.created else 200)


def _add_queries(router: APIRouter, client: Client, views: _Views) -> None:
    @router.get(
        "/webhooks", response_model=WebhookList, summary="List webhooks", responses=documented(401, 403, 422, 503)
    )
    @needs(Permission.ADMINISTER)
    async def list_webhooks(request: Request) -> Response:
        only(request)
        return Json(WebhookList(webhooks=[views.of(each) for each in await client.webhooks.list()]))

    @router.get(
        "/webhooks/{name}",
        response_model=WebhookView,
        summary="Show a webhook",
        responses=documented(401, 403, 404, 422, 503),
    )
    @needs(Permission.ADMINISTER)
    async def get_webhook(request: Request, name: str) -> Response:
        only(request)
        return Json(views.of(await client.webhooks.get(segment_of(name, "name"))))


def _add_changes(router: APIRouter, client: Client, settings: ApiSettings, views: _Views) -> None:
    bodies = Bodies(settings)

    @router.put(
        "/webhooks/{name}",
        response_model=WebhookView,
        summary="Register a webhook, or replace its URL and conditions",
        description="It gets what happens from then on. The answer to its creation has its secret: give it to the "
        "receiver, which verifies each request by Standard Webhooks.",
        responses={201: {"model": WebhookView, "description": "Registered"}, **RESPONSES},
        openapi_extra=described(WebhookBody, required=True),
    )
    @needs(Permission.ADMINISTER)
    async def put_webhook(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, WebhookBody)
        check_keys(settings)
        try:
            check_url(body.url, settings.egress)
        except EgressDenied as denied:
            raise InvalidRequest(str(denied), field="url") from denied
        return await views.answer(
            client.webhooks.put(
                segment_of(name, "name"),
                body.url,
                types=[one_of(EventType, each, "types") for each in body.types],
                definitions=body.definitions,
                options=options_of(request, settings, body),
            )
        )

    @router.delete(
        "/webhooks/{name}",
        response_model=WebhookView,
        summary="Delete a webhook; what waits for it is not sent any more",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def delete_webhook(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await views.answer(client.webhooks.delete(segment_of(name, "name"), options_of(request, settings, body)))


def _add_acts(router: APIRouter, client: Client, settings: ApiSettings, views: _Views) -> None:
    bodies = Bodies(settings)

    @router.post(
        "/webhooks/{name}/rotate",
        response_model=WebhookView,
        summary="Give a webhook a new secret",
        responses=RESPONSES,
        openapi_extra=described(NewSecretBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def rotate_webhook(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, NewSecretBody)
        check_keys(settings)
        overlap = timedelta(seconds=body.overlap_seconds)
        options = options_of(request, settings, body)
        return await views.answer(client.webhooks.rotate(segment_of(name, "name"), overlap, options), secret=True)

    @router.post(
        "/webhooks/{name}/secret",
        response_model=WebhookView,
        summary="Show the secret of a webhook",
        description="The newest one, for its receiver. Who has asked is in `GET /v1/operations`.",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def show_webhook_secret(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        check_keys(settings)
        asked = client.webhooks.reveal(segment_of(name, "name"), options_of(request, settings, body))
        return await views.answer(asked, secret=True)

    @router.post(
        "/webhooks/{name}/replay",
        response_model=ReplayView,
        summary="Send events to a webhook again, from a cursor on",
        description="The same events with the same ids, as far as the webhook wants them now, in order per instance, "
        "behind what waits for it; at most 1,000 at a time. 410: the history no longer has all of them: replay from "
        "`earliest`, and tell the receiver to read the instances.",
        responses={**RESPONSES, **documented(410)},
        openapi_extra=described(ReplayBody, required=True),
    )
    @needs(Permission.ADMINISTER)
    async def replay_webhook(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, ReplayBody)
        options = options_of(request, settings, body)
        after = await after_of(client, body.after)
        done = await client.webhooks.replay(segment_of(name, "name"), after, options)
        return Json(ReplayView(sent=done.sent, cursor=client.changes.cursor_of(done.positions), more=done.more))

    @router.post(
        "/webhooks/{name}/enable",
        response_model=WebhookView,
        summary="Send again to a webhook that was disabled",
        responses=RESPONSES,
        openapi_extra=described(AskBody, required=False),
    )
    @needs(Permission.ADMINISTER)
    async def enable_webhook(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, AskBody)
        return await views.answer(client.webhooks.enable(segment_of(name, "name"), options_of(request, settings, body)))


def check_keys(settings: ApiSettings) -> None:
    """Raises HttpProblem: nothing could be signed, or verified."""
    if not settings.webhook_keys:
        raise HttpProblem(
            "unavailable",
            "this server has no key for webhooks, so nothing could be signed; the operator sets one: "
            "SAGALINE_WEBHOOK_KEYS='[\"…\"]', the same for the API and for `saga webhooks serve`",
        )
