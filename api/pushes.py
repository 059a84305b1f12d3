"""Routes of push subscriptions: browsers that are told what happens (Web Push, RFC 8030, 8291, 8292).

Who may view may subscribe, and sees and removes what is his own; an administrator sees and removes all. What a browser
gives is sealed before it leaves this module: no answer, log, listing or error has it.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from ..orchestrator.client import Client
from ..orchestrator.client.registered import May
from ..orchestrator.egress import EgressDenied, check_url
from ..orchestrator.errors import InvalidRequest
from ..orchestrator.messages.instance_events import EventType
from ..orchestrator.messages.pushes import PushSubscription, push_name
from ..orchestrator.ports.clock import Clock
from .bodies import Bodies, Json, described, one_of
from .identity import Permission, needs, principal_of
from .letters import RESPONSES, AskBody, SignedBody, options_of
from .outcomes import Wait
from .paths import segment_of
from .problems import HttpProblem, documented
from .queries import only
from .registered import Kind, add_registered
from .settings import ApiSettings
from .views import iso

__all__ = ["SubscriptionBody", "pushes_router"]

_ENDPOINT_CHARS_MAX = 1_024
_EXPIRES_MS_MAX = 253_402_300_799_000
_EXAMPLE: Final[JsonDict] = {
    "endpoint": "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
    "expirationTime": None,
    "keys": {
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    },
    "types": ["attention"],
}


class SubscriptionKeys(BaseModel):
    """The keys of the browser, in base64url."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    p256dh: str = Field(description="its public key: 65 bytes, a point of P-256")
    auth: str = Field(description="its secret: 16 bytes")


class SubscriptionBody(AskBody):
    """What `PushSubscription.toJSON()` gives, and which events are sent."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra={"examples": [_EXAMPLE]})

    endpoint: str = Field(description="https, at most 1,024 characters; every address of its host must be public")
    expirationTime: Annotated[float, Field(ge=0, le=_EXPIRES_MS_MAX)] | None = Field(
        None, description="nothing is sent from then on, milliseconds since 1970; null: no end is known"
    )
    keys: SubscriptionKeys
    types: list[str] = Field(
        default=[], description=f"only events of these types: {', '.join(EventType)}; none: all types"
    )
    definitions: list[str] = Field(default=[], description="only of instances of these definitions; none: all")


class SubscriptionView(BaseModel):
    """A push subscription, without its endpoint and keys."""

    name: str = Field(description="made of the endpoint: a browser that subscribes again is the same one")
    host: str = Field(description="of its push service")
    by: str = Field(description="whose it is")
    types: list[EventType]
    definitions: list[str]
    created_at: str
    expires_at: str | None = Field(description="it gets nothing from then on; null: no end is known")
    trace_id: str | None = None


class SubscriptionList(BaseModel):
    """Push subscriptions, by name: your own, for an administrator all."""

    subscriptions: list[SubscriptionView]


class PushKeyView(BaseModel):
    """The public key of this server."""

    key: str | None = Field(description="`applicationServerKey` for the browser; null: nothing is pushed here")


def pushes_router(client: Client, settings: ApiSettings, clock: Clock) -> APIRouter:
    """Shows push subscriptions and changes them; ``saga webhooks serve`` delivers to them."""
    router = APIRouter(prefix="/v1", tags=["push"])
    kind = Kind(
        noun="push subscription",
        path="push/subscriptions",
        things=client.pushes,
        show=_view,
        view=SubscriptionView,
        listed=SubscriptionList,
        deleted="what waits for it is not sent any more",
        permission=Permission.VIEW,
        may=_may,
    )
    _add_key(router, settings)
    add_registered(router, settings, kind)
    _add_changes(router, client, settings, kind, clock)
    return router


def _may(request: Request) -> May[PushSubscription]:
    """Which ones the caller may see and remove: his own, or all."""
    principal = principal_of(request)
    is_admin = Permission.ADMINISTER in principal.permissions
    return lambda found: is_admin or found.by == principal.name


def _view(thing: PushSubscription, *, trace_id: str | None = None, secret: bool = False) -> SubscriptionView:
    return SubscriptionView(
        name=thing.name,
        host=thing.host,
        by=thing.by,
        types=list(thing.types),
        definitions=list(thing.definitions),
        created_at=iso(thing.created),
        expires_at=iso(thing.expires_ms) if thing.expires_ms else None,
        trace_id=trace_id,
    )


def _add_key(router: APIRouter, settings: ApiSettings) -> None:
    @router.get(
        "/push/key",
        name="get_push_key",
        response_model=PushKeyView,
        summary="Show the public key that browsers subscribe with",
        responses=documented(401, 403, 422),
    )
    @needs(Permission.VIEW)
    async def get_key(request: Request) -> Response:
        only(request)
        return Json(PushKeyView(key=settings.push.public if settings.push is not None else None))


def _add_changes(
    router: APIRouter, client: Client, settings: ApiSettings, kind: Kind[PushSubscription], clock: Clock
) -> None:
    bodies = Bodies(settings)

    @router.post(
        "/push/subscriptions",
        name="add_push_subscription",
        response_model=SubscriptionView,
        summary="Subscribe a browser, or replace its conditions",
        description="The body is what `PushSubscription.toJSON()` gives, and which events are sent. It gets what "
        "happens from then on.",
        responses={201: {"model": SubscriptionView, "description": "Registered"}, **RESPONSES},
        openapi_extra=described(SubscriptionBody, required=True),
    )
    @needs(Permission.VIEW)
    async def add(request: Request, wait: Wait = None) -> Response:
        body = await bodies.read(request, SubscriptionBody)
        options = options_of(request, settings, body)
        return await kind.answer(client.pushes.put(_subscription(settings, body, clock.now_ms()), options))

    @router.post(
        "/push/subscriptions/{name}/test",
        name="test_push_subscription",
        response_model=SubscriptionView,
        summary="Send a message to a browser, to see whether messages arrive",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        openapi_extra=described(SignedBody, required=False),
    )
    @needs(Permission.VIEW)
    async def test(request: Request, name: str) -> Response:
        await bodies.read(request, SignedBody)
        only(request)
        found = await client.pushes.test(segment_of(name, "name"), may=_may(request), opens=partial(_opens, settings))
        return Json(_view(found))


def _opens(settings: ApiSettings, found: PushSubscription) -> bool:
    return settings.push is not None and settings.push.open(found.name, found.sealed) is not None


def _subscription(settings: ApiSettings, body: SubscriptionBody, now_ms: int) -> PushSubscription:
    """The subscription as it is kept.

    Raises:
        HttpProblem: there is no push key.
        InvalidRequest: a part of it is wrong; the message has nothing of it.
    """
    if settings.push is None:
        raise HttpProblem(
            "unavailable",
            "this server has no key for push messages; the operator makes one with `saga push key` and sets "
            "SAGALINE_PUSH_KEY and SAGALINE_PUSH_CONTACT, the same for the API and for `saga webhooks serve`",
        )
    if len(body.endpoint) > _ENDPOINT_CHARS_MAX:
        text = f"endpoint has {len(body.endpoint):,} characters; at most {_ENDPOINT_CHARS_MAX:,} are kept"
        raise InvalidRequest(text, field="endpoint")
    try:
        url = check_url(body.endpoint, settings.egress.push)
    except EgressDenied as denied:
        raise InvalidRequest(str(denied), field="endpoint") from denied
    if body.expirationTime is not None and body.expirationTime <= now_ms:
        raise InvalidRequest("expirationTime is over; let the browser subscribe again", field="expirationTime")
    name = push_name(body.endpoint)
    return PushSubscription(
        name=name,
        sealed=settings.push.seal(name, body.endpoint, body.keys.p256dh, body.keys.auth),
        host=url.netloc.decode("ascii"),
        by=body.by,
        types=tuple(one_of(EventType, each, "types") for each in body.types),
        definitions=tuple(body.definitions),
        expires_ms=int(body.expirationTime or 0),
    )
