"""Routes of webhooks: register, show, change, rotate the secret, send again."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..orchestrator.client import Client
from ..orchestrator.egress import EgressDenied, check_url
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.instance_events import EventType
from ..orchestrator.messages.webhooks import Webhook
from ..orchestrator.ports.clock import Clock
from .bodies import Bodies, Json, described, one_of
from .feed import after_of
from .identity import Permission, needs
from .letters import RESPONSES, AskBody, SignedBody, options_of
from .outcomes import Wait
from .paths import segment_of
from .problems import documented
from .registered import Kind, add_registered, add_secrets, check_keys
from .settings import ApiSettings
from .views import iso

__all__ = ["ReplayBody", "WebhookBody", "webhooks_router"]


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
    kind = _kind(client, settings, clock)
    add_registered(router, settings, kind)
    _add_put(router, client, settings, kind)
    add_secrets(router, settings, kind, client.webhooks, side="receiver", check=lambda name: check_keys(settings))
    _add_acts(router, client, settings, kind)
    return router


def _kind(client: Client, settings: ApiSettings, clock: Clock) -> Kind[Webhook]:
    def show(thing: Webhook, *, trace_id: str | None = None, secret: bool = False) -> WebhookView:
        until = thing.overlap_until_ms
        return WebhookView(
            name=thing.name,
            url=thing.url,
            types=list(thing.types),
            definitions=list(thing.definitions),
            disabled=thing.disabled or None,
            overlap_until=iso(until) if until > clock.now_ms() else None,
            secret=client.webhooks.secrets(thing, settings.webhook_keys)[0] if secret else None,
            trace_id=trace_id,
        )

    return Kind(
        noun="webhook",
        path="webhooks",
        things=client.webhooks,
        show=show,
        view=WebhookView,
        listed=WebhookList,
        deleted="what waits for it is not sent any more",
    )


def _add_put(router: APIRouter, client: Client, settings: ApiSettings, kind: Kind[Webhook]) -> None:
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
            check_url(body.url, settings.egress.webhooks)
        except EgressDenied as denied:
            raise InvalidRequest(str(denied), field="url") from denied
        return await kind.answer(
            client.webhooks.put(
                segment_of(name, "name"),
                body.url,
                types=[one_of(EventType, each, "types") for each in body.types],
                definitions=body.definitions,
                options=options_of(request, settings, body),
            )
        )


def _add_acts(router: APIRouter, client: Client, settings: ApiSettings, kind: Kind[Webhook]) -> None:
    bodies = Bodies(settings)

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
        return await kind.answer(client.webhooks.enable(segment_of(name, "name"), options_of(request, settings, body)))
