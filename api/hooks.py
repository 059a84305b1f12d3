"""Hooks: what others send to us, verified and published as events; and the routes that register them.

A delivery that is not verified is answered in one way, whatever is wrong with it, and writes nothing. One that is
verified is answered with 2xx when its event is in the log.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response
from jsonpointer import JsonPointer, JsonPointerException
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..orchestrator.client import Client
from ..orchestrator.codec.hook_signatures import NotVerified, verified
from ..orchestrator.errors import InvalidRequest, NotYetDecided
from ..orchestrator.messages.hooks import Hook, Scheme
from ..orchestrator.messages.quotas import Counted
from ..orchestrator.ports.clock import Clock
from .bodies import Bodies, Json, described, one_of
from .cloud_events import joined
from .identity import Permission, needs
from .letters import RESPONSES, AskBody, options_of
from .outcomes import Wait
from .paths import segment_of
from .problems import HttpProblem, documented
from .quotas import allowance_of
from .registered import Kind, add_registered, add_secrets, check_keys
from .settings import ApiSettings
from .views import iso

__all__ = ["DeliveryBody", "HookBody", "hooks_router"]

_log = structlog.get_logger("sagaline.api")
_WAIT_MAX: Final = timedelta(seconds=3)
"""For the decision: some senders give up after five seconds, and the event is in the log before."""
_NOT_VERIFIED: Final = (
    "this delivery is not accepted: it was not signed with the secret of a hook of this name, or its time is wrong; "
    "check the URL, the secret and the clock of the sender. The log of the server says more"
)


class HookBody(AskBody):
    """How deliveries are verified, and what event they become."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "scheme": "timed-hmac",
                    "type_at": "/type",
                    "events": {"payment_intent.succeeded": "order-paid"},
                    "key_at": "/data/object/metadata/order_id",
                    "id_at": "/id",
                    "fields": {"order_id": "/data/object/metadata/order_id", "amount_cents": "/data/object/amount"},
                }
            ]
        },
    )

    scheme: str = Field(
        default=Scheme.STANDARD,
        description="`standard`: Standard Webhooks; `hmac`: HMAC-SHA256 of the body, as GitHub; `timed-hmac`: of a "
        "time and the body, as Stripe",
    )
    event: str = Field(default="", description="the event that each delivery becomes; none: see `events`")
    events: dict[str, str] = Field(default={}, description="the event of each type; other types are not published")
    type_at: str = Field(default="", description="JSON pointer to the type, or the name of its header")
    key_at: str = Field(description="JSON pointer to the key that waiting instances match")
    id_at: str = Field(
        default="", description="JSON pointer to the id; none: the id that is signed, or the digest of the body"
    )
    body_at: str = Field(default="", description="JSON pointer to the body of the event; none: the whole body")
    fields: dict[str, str] = Field(default={}, description="instead: each field of the event, with its JSON pointer")
    header: str = Field(default="", description="of the signature; none: as GitHub and Stripe name it")
    tolerance_seconds: int = Field(default=300, description="how far the signed time may be away, 1 to 3,600")


class DeliveryBody(BaseModel):
    """Whatever the sender sends, as JSON."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"type": "paid", "data": {"order": "O-7", "cents": 900}}]}
    )


class HookView(BaseModel):
    """A hook; its secret is in the answers to its creation, to `rotate` and to `secret` only."""

    name: str
    url: str = Field(description="where the sender posts to, on this server")
    scheme: Scheme
    event: str
    events: dict[str, str]
    type_at: str
    key_at: str
    id_at: str
    body_at: str
    fields: dict[str, str]
    header: str
    tolerance_seconds: int
    overlap_until: str | None = Field(description="until then the secrets before count too")
    secret: str | None = Field(default=None, description="for the sender; null: not shown, or one of the settings")
    trace_id: str | None = None


class HookList(BaseModel):
    """All hooks, by name."""

    hooks: list[HookView]


class DeliveredView(BaseModel):
    """A delivery was taken. What it has become is in the log: after this it is never lost."""

    id: str | None = Field(description="of the event; null: its type is none that is published here")
    event: str | None
    key: str | None


def hooks_router(client: Client, settings: ApiSettings, clock: Clock) -> APIRouter:
    """Takes deliveries, and shows and changes hooks."""
    router = APIRouter(prefix="/v1", tags=["hooks"])
    kind = _kind(client, settings, clock)
    _add_delivery(router, client, settings)
    add_registered(router, settings, kind)
    _add_put(router, client, settings, kind)
    add_secrets(router, settings, kind, client.hooks, side="sender", check=lambda name: _check_derived(settings, name))
    return router


def _kind(client: Client, settings: ApiSettings, clock: Clock) -> Kind[Hook]:
    def show(thing: Hook, *, trace_id: str | None = None, secret: bool = False) -> HookView:
        until = thing.overlap_until_ms
        shown = secret and thing.name not in settings.hook_secrets
        return HookView(
            name=thing.name,
            url=f"/v1/hooks/{thing.name}",
            scheme=thing.scheme,
            event=thing.event,
            events=dict(thing.events),
            type_at=thing.type_at,
            key_at=thing.key_at,
            id_at=thing.id_at,
            body_at=thing.body_at,
            fields=dict(thing.fields),
            header=thing.header,
            tolerance_seconds=thing.tolerance_seconds,
            overlap_until=iso(until) if until > clock.now_ms() else None,
            secret=client.hooks.secrets(thing, settings.webhook_keys)[0] if shown else None,
            trace_id=trace_id,
        )

    return Kind(
        noun="hook",
        path="hooks",
        things=client.hooks,
        show=show,
        view=HookView,
        listed=HookList,
        deleted="its deliveries are refused from then on",
    )


def _add_delivery(router: APIRouter, client: Client, settings: ApiSettings) -> None:
    bodies = Bodies(settings)

    @router.post(
        "/hooks/{name}",
        status_code=202,
        response_model=DeliveredView,
        summary="Deliver to a hook: verified by its signature, published as an event",
        description="Needs no key: the signature proves who sends it. The same delivery again is the same event again.",
        responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        openapi_extra=described(DeliveryBody, required=True),
    )
    @needs("none")
    async def deliver(request: Request, name: str) -> Response:
        raw = await bodies.receive(request)
        hook = await client.hooks.current(name)
        given = settings.hook_secrets.get(name, ())
        secrets = given if hook is None or given else client.hooks.secrets(hook, settings.webhook_keys)
        id = _verified(hook, request, raw, client.now_ms, secrets)
        allowance = allowance_of(request).of(f"/hooks/{name}")  # only now: others must not use it up
        allowance.admit(Counted.REQUESTS, Counted.BYTES)
        allowance.charge(len(raw))
        assert hook is not None
        if "json" not in request.headers.get("content-type", "json").lower():
            raise HttpProblem("media-type", "the delivery is not JSON; let the sender send application/json")
        body = bodies.parse(raw)
        event = _event_of(hook, request, body)
        if event is None:
            return Json(DeliveredView(id=None, event=None, key=None), 202)
        key = _text(body, hook.key_at, "key")
        id = joined(f"/hooks/{name}", _text(body, hook.id_at, "id") if hook.id_at else id)
        trace, wait = request.state.traceparent, min(settings.wait_default, _WAIT_MAX)
        try:
            await client.publish(event, _body(hook, body), key=key, id=id, wait=wait, traceparent=trace)
        except NotYetDecided:
            pass  # it is in the log
        return Json(DeliveredView(id=id, event=event, key=key), 202)


def _verified(hook: Hook | None, request: Request, raw: bytes, now_ms: int, secrets: Sequence[str]) -> str:
    """The id of a delivery.

    Raises:
        HttpProblem: ``not-verified``, whatever is wrong.
    """
    try:
        if hook is None:
            hmac.digest(b"nobody", raw, "sha256")  # so that the time taken does not tell which hooks there are
            raise NotVerified("there is no hook of this name")
        return verified(hook, request.headers, raw, now_ms, secrets)
    except NotVerified as error:
        _log.warning("hook.not_verified", hook=request.path_params["name"][:64], reason=str(error))
        raise HttpProblem("not-verified", _NOT_VERIFIED) from None


def _event_of(hook: Hook, request: Request, body: object) -> str | None:
    """The event that a delivery becomes; None: none.

    Raises:
        InvalidRequest: it has no type.
    """
    if not hook.events:
        return hook.event
    if hook.type_at.startswith("/"):
        return hook.events.get(_text(body, hook.type_at, "type"))
    if hook.type_at not in request.headers:
        raise InvalidRequest(f"the header {hook.type_at}, which has the type of this hook, is missing", field="")
    return hook.events.get(request.headers[hook.type_at])


def _at(body: object, pointer: str, what: str) -> JsonValue:
    """Raises InvalidRequest: there is nothing."""
    try:
        found: JsonValue = JsonPointer(pointer).resolve(body)
    except (JsonPointerException, TypeError) as error:
        text = f"the body has nothing at {pointer}, where this hook looks for its {what}: {error}"
        raise InvalidRequest(text, field=pointer[1:].replace("/", ".")) from error
    return found


def _text(body: object, pointer: str, what: str) -> str:
    found = _at(body, pointer, what)
    if not isinstance(found, str | int) or isinstance(found, bool) or found == "":
        text = f"what the body has at {pointer}, the {what} of this hook, is neither a text nor a whole number"
        raise InvalidRequest(text, field=pointer[1:].replace("/", "."))
    return str(found)


def _body(hook: Hook, body: object) -> Mapping[str, JsonValue]:
    if hook.fields:
        return {name: _at(body, pointer, name) for name, pointer in hook.fields.items()}
    found = _at(body, hook.body_at, "body")
    if not isinstance(found, dict):
        raise InvalidRequest(f"what the body has at {hook.body_at!r} is not a JSON object", field="")
    return found


def _add_put(router: APIRouter, client: Client, settings: ApiSettings, kind: Kind[Hook]) -> None:
    bodies = Bodies(settings)

    @router.put(
        "/hooks/{name}",
        response_model=HookView,
        summary="Register a hook, or replace all but its secret",
        description="The answer to its creation has its secret: give it to the sender. A sender that chooses the "
        "secret itself: set `SAGALINE_HOOK_SECRETS`.",
        responses={201: {"model": HookView, "description": "Registered"}, **RESPONSES},
        openapi_extra=described(HookBody, required=True),
    )
    @needs(Permission.ADMINISTER)
    async def put_hook(request: Request, name: str, wait: Wait = None) -> Response:
        body = await bodies.read(request, HookBody)
        name = segment_of(name, "name")
        if name not in settings.hook_secrets:
            check_keys(settings)
        given = body.model_dump(exclude={*AskBody.model_fields, "scheme"})
        hook = Hook(name=name, scheme=one_of(Scheme, body.scheme, "scheme"), **given)
        return await kind.answer(client.hooks.put(hook, options_of(request, settings, body)))


def _check_derived(settings: ApiSettings, name: str) -> None:
    """Raises InvalidRequest, HttpProblem: there is no secret that could be given, or shown."""
    if name in settings.hook_secrets:
        raise InvalidRequest(
            f"the secrets of hook {name!r} are in SAGALINE_HOOK_SECRETS of the API: change them there, the new one "
            "beside the old one",
            field="name",
        )
    check_keys(settings)
