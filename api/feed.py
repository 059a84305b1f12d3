"""The feed of what happens to instances, by GET: polling with ``ETag``, and long polling with ``Prefer: wait=``."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ..orchestrator.client import Client, FeedPage
from ..orchestrator.codec.feed_cursors import Positions
from ..orchestrator.messages.document import Status
from ..orchestrator.messages.instance_events import EventType
from .cloud_events import BATCH
from .feed_views import FILTERS, FeedTexts, FeedView, Places, filter_parameters
from .headers import with_headers
from .identity import Permission, needs
from .problems import documented
from .quotas import allowance_of
from .settings import ApiSettings
from .waiting import wait_of

__all__ = ["AFTER", "CONDITIONS", "after_of", "feed_router"]

EARLIEST = "earliest"
_EVENT = {"$ref": "#/components/schemas/InstanceEventView"}
_LIMIT = 100
_LIMIT_MAX = 1_000
AFTER = "cursor: events after it; `earliest`: all that are kept; none: those from now on"


def _listed(name: str, values: type[EventType] | type[Status] | None = None) -> dict[str, Any]:
    items = {"type": "string"} | ({"enum": [*values]} if values is not None else {})
    schema = {"type": "array", "items": items}
    return {"name": name, "in": "query", "required": False, "description": FILTERS[name], "schema": schema}


CONDITIONS = [
    *(_listed(name) for name in ("definition", "instance", "key")),
    *(_listed("type", EventType), _listed("status", Status)),
]
"""The parameters of a filter in the OpenAPI document."""


async def after_of(client: Client, cursor: str | None) -> Positions:
    """Where a reader begins.

    Raises:
        InvalidRequest, TransientError: as ``Changes``.
    """
    if cursor is None:
        return await client.changes.present()
    if cursor == EARLIEST:
        return await client.changes.earliest()
    return await client.changes.positions_of(cursor)


def feed_router(client: Client, settings: ApiSettings, texts: FeedTexts) -> APIRouter:
    """The route of the feed."""
    router = APIRouter(prefix="/v1", tags=["events"])
    waiters = Places(settings.waiters_max, "waiting requests")

    @router.get(
        "/events",
        response_model=FeedView,
        summary="Read what happens to instances, from a cursor on",
        description="Without `after` it gives the cursor of now: take it first, then read the list of instances, then "
        "continue from it, and nothing is missed. `Prefer: wait=30` waits for the first event. With `If-None-Match` "
        "the answer is 304 while there are the same events; a page that others follow at once (`more`) has no `ETag`. "
        f"With `Accept: {BATCH}` it is a batch of CloudEvents; the header `Link` has the next request.",
        responses={
            200: {"content": {BATCH: {"schema": {"type": "array", "items": _EVENT}}}},
            304: {"description": "The same events as before", **with_headers("ETag")},
            **documented(401, 403, 410, 422, 503),
        },
        openapi_extra={"parameters": CONDITIONS},
    )
    @needs(Permission.VIEW)
    async def read_events(
        request: Request,
        after: Annotated[str | None, Query(description=AFTER)] = None,
        limit: Annotated[int, Query(ge=1, le=_LIMIT_MAX)] = _LIMIT,
        wait: Annotated[
            float | None, Query(description="seconds to wait for the first event; default: `Prefer: wait=`, or 0")
        ] = None,
    ) -> Response:
        where = filter_parameters(request, "after", "limit", "wait")
        patience = wait_of(request, settings, timedelta(0)).total_seconds()
        start = await after_of(client, after)
        with waiters.one(allowance_of(request)) if patience else nullcontext():
            page = await client.changes.read(start, where, limit=limit, wait=patience)
        headers = {"Vary": "Accept"}
        if patience and "prefer" in request.headers:
            headers["Preference-Applied"] = f"wait={patience:g}"
        if after is not None and not page.more:
            headers["ETag"] = tag = _tag(page)
            if tag in {each.strip() for each in request.headers.get("if-none-match", "").split(",")}:
                return Response(status_code=304, headers=headers)
        if BATCH in request.headers.get("accept", ""):
            following = request.url.include_query_params(after=texts.cursor(page.positions))
            headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
            return Response(texts.batch(page), media_type=BATCH, headers=headers)
        return Response(texts.page(page), media_type="application/json", headers=headers)

    return router


def _tag(page: FeedPage) -> str:
    """Of the events alone: the same events are the same answer, although the cursor moves past those left out.

    Only of a page with nothing behind it: a reader that is told 304 keeps its cursor, and would never come further.
    """
    return f'W/"{len(page.events)}.{page.events[-1].event.id}"' if page.events else 'W/"0"'
