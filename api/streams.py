"""The feed as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

- An event's ``id`` is the cursor after it, so that a browser that connects again continues there by itself.
- A stream begins with its cursor, as an event ``cursor``, and tells a new one where events that the filter leaves out
  have moved it; otherwise a comment says every few seconds that it is there.
- A page is taken from the feed only when the one before is written: a slow reader holds no events in memory. One that
  takes no data at all is cut off (``serving.py``), and continues from its cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic_core import to_json
from sse_starlette.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from ..orchestrator.client import Client, EventFilter, FeedEvent
from ..orchestrator.codec.feed_cursors import Positions
from ..orchestrator.errors import SagalineError, TransientError
from .feed import AFTER, CONDITIONS, after_of
from .feed_views import FeedTexts, Places, filter_parameters
from .identity import Permission, needs
from .problems import documented, problem_of
from .quotas import allowance_of
from .settings import ApiSettings

__all__ = ["streams_router"]

_PAGE = 100
_RETRY_MS = 1_000
_AGAIN_SECONDS = 1.0
_EXAMPLE = """retry: 1000
id: AdU1fZQRBwIA9XrO8A
event: cursor
data: {"cursor":"AdU1fZQRBwIA9XrO8A"}

id: AdU1fZQSBwIAqB2K6w
data: {"specversion":"1.0","id":"0-17","type":"sagaline.instance.completed","subject":"order-checkout/A-1"}

: heartbeat
"""


def streams_router(client: Client, settings: ApiSettings, texts: FeedTexts, streams: Places) -> APIRouter:
    """The route of the stream. ``streams``: how many may be open."""
    router = APIRouter(prefix="/v1", tags=["events"])
    stream = _Stream(client, settings, texts)

    @router.get(
        "/events/stream",
        response_class=Response,
        summary="Stream what happens to instances, as Server-Sent Events",
        description="`data` of an unnamed event is the event, as `GET /v1/events` has it, and its `id` the cursor. An "
        "event `cursor` gives the cursor of a stream without new events, an event `problem` why the stream ends. A "
        "browser connects again by itself, with `Last-Event-ID`, which counts more than `after`.",
        responses={
            200: {"description": "The stream", "content": {"text/event-stream": {"example": _EXAMPLE}}},
            **documented(401, 403, 410, 422, 503),
        },
        openapi_extra={"parameters": CONDITIONS},
    )
    @needs(Permission.VIEW)
    async def stream_events(
        request: Request,
        after: Annotated[str | None, Query(description=AFTER)] = None,
        last_event_id: Annotated[str | None, Header(description="the cursor of the last event")] = None,
    ) -> Response:
        where = filter_parameters(request, "after")
        with ExitStack() as place:
            place.enter_context(streams.one(allowance_of(request)))
            start = await after_of(client, last_event_id or after)
            page = await client.changes.read(start, where, limit=1)  # errors are told before the stream begins
            del page
            held = place.pop_all()
        return _Response(stream.events(start, where), held)

    return router


class _Response(EventSourceResponse):
    """Gives its place back when it ends, however it ends."""

    def __init__(self, content: AsyncIterator[bytes], place: ExitStack) -> None:
        super().__init__(content, ping=0, sep="\n")
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


class _Stream:
    """Makes the text of a stream."""

    def __init__(self, client: Client, settings: ApiSettings, texts: FeedTexts) -> None:
        self._changes, self._texts = client.changes, texts
        self._heartbeat = settings.heartbeat.total_seconds()

    async def events(self, after: Positions, where: EventFilter) -> AsyncIterator[bytes]:
        """Chunks of the stream, until the process is about to end or the history no longer has what follows."""
        yield f"retry: {_RETRY_MS}\n{self._cursor(after)}".encode()
        while not self._changes.is_stopping:
            try:
                page = await self._changes.read(after, where, limit=_PAGE, wait=self._heartbeat)
            except TransientError:
                yield b": heartbeat\n\n"
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            except SagalineError as error:
                yield b"event: problem\ndata: " + bytes(problem_of(error).body) + b"\n\n"
                return
            moved, after = page.positions != after, page.positions
            if page.events:
                yield "".join(map(self._event, page.events)).encode()
            elif moved:
                yield self._cursor(after).encode()
            else:
                yield b": heartbeat\n\n"

    def _event(self, each: FeedEvent) -> str:
        return f"id: {self._texts.cursor(each.positions)}\ndata: {self._texts.event(each)}\n\n"

    def _cursor(self, positions: Positions) -> str:
        cursor = self._texts.cursor(positions)
        return f"id: {cursor}\nevent: cursor\ndata: {to_json({'cursor': cursor}).decode()}\n\n"
