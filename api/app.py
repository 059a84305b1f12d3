"""The application: routes, middleware and the OpenAPI document. ``serving.py`` serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.requests import HTTPConnection
from pydantic.json_schema import models_json_schema

from ..orchestrator.client import Client
from ..orchestrator.ports.clock import Clock
from ..orchestrator.runtime.metrics import Metrics
from ..orchestrator.tracing import Tracing
from .access import LoginBody, access_router
from .asyncapi import asyncapi_router
from .auth import Guard
from .bulk import BulkBody, bulk_router
from .commands import HeartbeatBody, ReplyBody, commands_router
from .credentials import Credentials
from .dead import DeadBulkBody, DeadEditBody, dead_router
from .definitions import definitions_router
from .edge import Edge
from .entities import entities_router
from .events import CloudEventBody, EventBody, events_router
from .feed import feed_router
from .feed_views import FeedTexts, Places
from .graphs import graphs_router
from .headers import EVERYWHERE, HEADERS, with_headers
from .health import health_router, metrics_router
from .hooks import DeliveryBody, HookBody, hooks_router
from .identity import Access, declared, permitted
from .inspections import inspections_router
from .instances import ActBody, StartBody, instances_router
from .keys import KeyBody, RotateBody, keys_router
from .letters import AskBody, SignedBody
from .limited import Limited
from .llms import llms_router
from .methods import Allowed, Head
from .operations import operations_router
from .overdue import overdue_router
from .pages import pages_router
from .parcels import EditBody, RescheduleBody, SkipBody, parcels_router
from .paths import chars_max
from .personal import EraseBody, personal_router
from .problems import Problem, documented, handlers
from .pushes import SubscriptionBody, pushes_router
from .questions import questions_router
from .queues import queues_router
from .quotas import Quotas
from .rates import rates_router
from .records import records_router
from .reference import reference_router
from .registered import NewSecretBody
from .revisions import revisions_router
from .schedules import BackfillBody, ScheduleBody, schedules_router
from .settings import ApiSettings
from .sockets import ActMessage, PublishMessage, SubscribeMessage, UnsubscribeMessage, sockets_router
from .streams import streams_router
from .tables import RulesBody, tables_router
from .timelines import timelines_router
from .verification import Verifier, verification_router
from .webhooks import ReplayBody, WebhookBody, webhooks_router

__all__ = ["create_app"]

_ABOUT = """Starts, shows and operates sagas.

Every error is `application/problem+json` (RFC 9457) with a stable `type`. An instance has the URL
`/v1/instances/{definition}/{key}`; the key is one path segment, fully percent-encoded (`/` is `%2F`).
"""


_BOUNDS = {"enum", "const", "pattern", "maxLength"}


def create_app(
    client: Client,
    *,
    clock: Clock,
    tracing: Tracing | None = None,
    settings: ApiSettings | None = None,
    metrics: Callable[[], str] | None = None,
    verifier: Verifier | None = None,
    counters: Metrics | None = None,
) -> FastAPI:
    """The ASGI application over a client.

    Args:
        client: its registry lists what can be started; its feed and projector must be run by the caller.
        clock: generates trace ids for requests without one.
        tracing: None: no spans, trace ids only.
        settings: tokens and limits; None: the defaults, without a token.
        metrics: makes the page that Prometheus reads at ``/metrics``; None: there is none.
        verifier: checks a definition; None: the route says to run ``saga verify``.
        counters: count what quotas refuse; None: counters that nobody reads.
    """
    settings = settings or ApiSettings()
    app = FastAPI(
        title="Sagaline",
        version="1",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(permitted), Depends(_possible)],
        exception_handlers=dict(handlers),  # type: ignore[arg-type]  # keys are error classes, as FastAPI expects
    )
    app.state.stop_waiting = client.stop_waiting
    credentials = Credentials(settings, client, clock)
    routers = _routers(client, settings, credentials, clock, verifier)
    if metrics is not None:
        routers.append(metrics_router(metrics))
    routers.append(reference_router(lambda: app.openapi()))
    routes = [route for router in routers for route in router.routes]
    access = declared(routes)
    for router in routers:
        app.include_router(router)
    app.state.allowed = Allowed([*app.router.routes, *routes])
    app.add_middleware(Head)
    app.add_middleware(Limited, quotas=Quotas(client, clock, counters or Metrics()))
    app.add_middleware(Guard, credentials=credentials)
    app.add_middleware(Edge, tracing=tracing or Tracing(), clock=clock)
    app.openapi = lambda: _document(app, access, settings)  # type: ignore[method-assign]  # as FastAPI documents it
    return app


def _possible(connection: HTTPConnection) -> None:
    connection.app.state.allowed.check(connection.scope)


def _routers(
    client: Client, settings: ApiSettings, credentials: Credentials, clock: Clock, verifier: Verifier | None
) -> list[APIRouter]:
    """In the order of the OpenAPI document."""
    texts, streams = FeedTexts(client), Places(settings.streams_max, "streams")
    return [
        access_router(credentials, settings),
        instances_router(client, settings),
        events_router(client, settings),
        feed_router(client, settings, texts),
        streams_router(client, settings, texts, streams),
        sockets_router(client, settings, texts, streams),
        commands_router(client, settings),
        definitions_router(client.registry),
        asyncapi_router(client),
        inspections_router(client),
        bulk_router(client, settings),
        verification_router(client.registry, verifier),
        graphs_router(client),
        revisions_router(client),
        timelines_router(client),
        rates_router(client),
        overdue_router(client),
        operations_router(client),
        records_router(client),
        questions_router(client),
        queues_router(client),
        tables_router(client, settings),
        keys_router(client, settings),
        personal_router(client, settings),
        entities_router(client),
        parcels_router(client, settings),
        dead_router(client, settings),
        schedules_router(client, settings),
        webhooks_router(client, settings, clock),
        hooks_router(client, settings, clock),
        pushes_router(client, settings, clock),
        health_router(client.check_ready, client.notices),
        llms_router(),
        pages_router(),
    ]


def _published(name: str, schema: dict[str, Any], longest: float) -> dict[str, Any]:
    """The schema of a parameter: it cannot be null, it has bounds, and the longest wait is a setting."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    found = {**kinds[0], **schema} if len(kinds) == 1 else schema
    if len(kinds) == 1:
        del found["anyOf"]
    if name == "wait":
        return {**found, "minimum": 0, "maximum": longest}
    if found.get("type") == "string" and not found.keys() & _BOUNDS:
        return {**found, "maxLength": chars_max(name)}
    return found


def _document(app: FastAPI, access: Mapping[tuple[str, str], Access], settings: ApiSettings) -> dict[str, Any]:
    """The OpenAPI document, with the models of request bodies, which FastAPI does not read itself."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    wanted = [
        (model, "validation")
        for model in (
            Problem,
            *(StartBody, ActBody, EventBody, CloudEventBody, HeartbeatBody, ReplyBody, RulesBody, BulkBody),
            *(AskBody, SignedBody, SkipBody, RescheduleBody, EditBody, DeadEditBody, DeadBulkBody),
            *(ScheduleBody, BackfillBody, KeyBody, RotateBody, LoginBody, EraseBody),
            *(WebhookBody, NewSecretBody, ReplayBody, HookBody, DeliveryBody, SubscriptionBody),
            *(SubscribeMessage, UnsubscribeMessage, ActMessage, PublishMessage),
        )
    ]
    _, definitions = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    secured, longest = settings.authenticates, settings.wait_max.total_seconds()
    if secured:
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "a key, or a token of the settings"},
            "session": {"type": "apiKey", "in": "cookie", "name": "__Host-sagaline_session"},
        }
    components["headers"] = HEADERS
    everywhere = with_headers(*EVERYWHERE)["headers"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _published(parameter["name"], parameter["schema"], longest)
            asked = operation["x-permission"] = access[method.upper(), path]
            if asked != "none":
                operation["responses"]["429"] = documented(429)[429]
            for response in operation["responses"].values():
                response["headers"] = {**everywhere, **response.get("headers", {})}
            if secured:
                operation["security"] = [] if asked == "none" else [{"token": []}, {"session": []}]
    app.openapi_schema = document
    return document
