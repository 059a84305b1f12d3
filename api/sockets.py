"""The feed and requests over one WebSocket: JSON texts both ways.

- The client gives each of its messages an ``id``; the answer or the problem has the same. A subscription has the id of
  its message.
- A page of a subscription is taken from the feed only when the one before is written, and at most ``_AT_ONCE`` requests
  are at work: a connection holds a bounded number of messages, and the rest waits in the sender's own buffers.
- Messages are parsed and limited as bodies of HTTP requests are. uvicorn answers pings, and closes a connection whose
  message is too large (1009), or that does not answer its pings (1011).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any, Literal, assert_never

import structlog
from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.websockets import WebSocketDisconnect

from ..orchestrator.client import Client, EventFilter, OnStep
from ..orchestrator.codec.feed_cursors import Positions
from ..orchestrator.errors import InvalidRequest, NotYetDecided, SagalineError, TransientError
from ..orchestrator.messages.inputs import ActName
from ..orchestrator.messages.quotas import Counted
from ..orchestrator.messages.values import first_mistake
from .bodies import Bodies
from .feed import after_of
from .feed_views import FILTERS, FeedTexts, Places, filter_of
from .identity import Permission, caller_of, needs, principal_of, signed
from .instances import access_of, expected_by
from .problems import problem_of
from .quotas import allowance_of
from .settings import ApiSettings

__all__ = ["ActMessage", "PublishMessage", "SubscribeMessage", "UnsubscribeMessage", "sockets_router"]

_log = structlog.get_logger("sagaline.api")

_PAGE = 100
_AT_ONCE = 16
_SUBSCRIPTIONS_MAX = 20
_AGAIN_SECONDS = 1.0

_Id = Annotated[str, Field(min_length=1, max_length=64, description="chosen by the client; the answer has it")]
_Values = Annotated[list[str], Field(max_length=100)]


class FilterBody(BaseModel):
    """Which events. Of several values of one condition any matches; all conditions hold."""

    model_config = ConfigDict(extra="forbid")

    definition: _Values = []
    instance: _Values = []
    key: _Values = []
    type: _Values = []
    status: _Values = []


class SubscribeMessage(BaseModel):
    """Asks for events from a cursor on."""

    model_config = ConfigDict(extra="forbid")

    id: _Id
    do: Literal["subscribe"]
    after: str | None = Field(None, description="cursor, or `earliest`; none: from now on")
    filter: FilterBody = FilterBody()


class UnsubscribeMessage(BaseModel):
    """Ends a subscription."""

    model_config = ConfigDict(extra="forbid")

    id: _Id
    do: Literal["unsubscribe"]
    subscription: str = Field(description="the id of its `subscribe`")


class ActMessage(BaseModel):
    """An act on an instance, as `POST /v1/instances/…`."""

    model_config = ConfigDict(extra="forbid")

    id: _Id
    do: Literal["act"]
    instance: str = Field(description="definition/key")
    act: ActName
    by: str = ""
    reason: str = ""
    request_id: str | None = None
    step: str = ""
    value: dict[str, JsonValue] | None = None
    if_match: str | None = Field(None, description="as the header `If-Match`: of another revision it is denied, 412")


class PublishMessage(BaseModel):
    """Publishes an event, as `POST /v1/events/…`."""

    model_config = ConfigDict(extra="forbid")

    id: _Id
    do: Literal["publish"]
    event: str
    key: str
    event_id: str | None = Field(None, description="the event's id: with the same id it happens once")
    body: dict[str, JsonValue]


_MESSAGE: TypeAdapter[SubscribeMessage | UnsubscribeMessage | ActMessage | PublishMessage] = TypeAdapter(
    Annotated[SubscribeMessage | UnsubscribeMessage | ActMessage | PublishMessage, Field(discriminator="do")]
)


def sockets_router(client: Client, settings: ApiSettings, texts: FeedTexts, streams: Places) -> APIRouter:
    """The route of the WebSocket. ``streams``: how many may be open, together with other streams."""
    router = APIRouter(prefix="/v1")
    bodies = Bodies(settings)

    @router.websocket("/ws")
    @needs(Permission.VIEW)
    async def socket(websocket: WebSocket) -> None:
        with ExitStack() as place:
            try:
                place.enter_context(streams.one(allowance_of(websocket)))
            except SagalineError as error:
                await websocket.send_denial_response(problem_of(error))
                return
            await websocket.accept()
            await _Conversation(websocket, client, settings, bodies, texts, streams=streams).hold()

    return router


class _Conversation:
    """One connection, from its acceptance to its end."""

    def __init__(
        self,
        websocket: WebSocket,
        client: Client,
        settings: ApiSettings,
        bodies: Bodies,
        texts: FeedTexts,
        *,
        streams: Places,
    ) -> None:
        self._websocket, self._client, self._bodies, self._texts = websocket, client, bodies, texts
        self._principal, self._streams = principal_of(websocket), streams
        self._allowance = allowance_of(websocket)
        self._heartbeat = settings.heartbeat.total_seconds()
        self._writing = asyncio.Lock()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._subscriptions: dict[str, asyncio.Task[None]] = {}
        self._requests: set[asyncio.Task[None]] = set()

    async def hold(self) -> None:
        """Returns when the client has left, or the server stops."""
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                await self._take(text.encode() if text is not None else bytes(message["bytes"]))
        except WebSocketDisconnect:
            return
        finally:
            running = [*self._subscriptions.values(), *self._requests]
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _take(self, raw: bytes) -> None:
        id: str | None = None
        try:
            try:
                value = self._bodies.parse(raw)
                if isinstance(value, dict) and isinstance(value.get("id"), str):
                    id = value["id"][:64]
            finally:  # what cannot be parsed is paid for too
                self._allowance.admit(Counted.REQUESTS, Counted.BYTES)
                self._allowance.charge(len(raw))
            message = _MESSAGE.validate_json(raw, strict=True)
            match message:
                case SubscribeMessage():
                    await self._subscribe(message)
                case UnsubscribeMessage():
                    await self._unsubscribe(message)
                case ActMessage() | PublishMessage():
                    await self._room.acquire()  # the next message is read when there is room
                    carried = asyncio.create_task(
                        self._guarded({"id": message.id}, self._carry_out(message)), name="websocket request"
                    )
                    self._requests.add(carried)
                    carried.add_done_callback(self._requests.discard)
                case _:
                    assert_never(message)
        except ValidationError as error:
            field, wrong = first_mistake(error)
            await self._tell_problem({"id": id}, InvalidRequest(f"{field}: {wrong}", field=field))
        except SagalineError as problem:
            await self._tell_problem({"id": id}, problem)

    # Events

    async def _subscribe(self, message: SubscribeMessage) -> None:
        if message.id in self._subscriptions:
            raise InvalidRequest(f"there is a subscription {message.id!r}; give this one another id", field="id")
        if len(self._subscriptions) >= _SUBSCRIPTIONS_MAX:
            raise InvalidRequest(
                f"this connection has {_SUBSCRIPTIONS_MAX} subscriptions, the limit; end one, or put several values "
                "into one filter",
                field="id",
            )
        where = filter_of({name: getattr(message.filter, name) for name in FILTERS})
        with ExitStack() as place:
            if self._subscriptions:  # the first one has the place of the connection
                place.enter_context(self._streams.one(self._allowance))
            start = await after_of(self._client, message.after)
            await self._tell({"id": message.id, "answer": {"cursor": self._texts.cursor(start)}})
            following = asyncio.create_task(
                self._guarded({"subscription": message.id}, self._follow(message.id, start, where)),
                name="websocket subscription",
            )
            taken = place.pop_all()
            following.add_done_callback(lambda _: taken.close())
            self._subscriptions[message.id] = following

    async def _unsubscribe(self, message: UnsubscribeMessage) -> None:
        follows = self._subscriptions.pop(message.subscription, None)
        if follows is None:
            raise InvalidRequest(f"there is no subscription {message.subscription[:64]!r}", field="subscription")
        follows.cancel()
        await asyncio.gather(follows, return_exceptions=True)
        await self._tell({"id": message.id, "answer": {}})

    async def _follow(self, id: str, after: Positions, where: EventFilter) -> None:
        changes = self._client.changes
        while not changes.is_stopping:
            try:
                page = await changes.read(after, where, limit=_PAGE, wait=self._heartbeat)
            except TransientError:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            except SagalineError:
                self._subscriptions.pop(id, None)
                raise
            moved, after = page.positions != after, page.positions
            name = to_json(id).decode()
            for each in page.events:
                await self._write(f'{{"subscription":{name},"event":{self._texts.event(each)}}}')
            if moved and not page.events:
                await self._tell({"subscription": id, "cursor": self._texts.cursor(after)})

    # Requests

    async def _carry_out(self, message: ActMessage | PublishMessage) -> None:
        try:
            answer = await (self._act(message) if isinstance(message, ActMessage) else self._publish(message))
            await self._tell({"id": message.id, "answer": answer})
        except NotYetDecided as later:
            await self._tell({"id": message.id, "answer": {"decided": False, "request_id": later.request_id}})
        finally:
            self._room.release()

    async def _act(self, message: ActMessage) -> dict[str, Any]:
        self._principal.check(access_of(message.act))
        message = signed(self._principal, message)
        on = OnStep(message.step, message.value)
        if message.if_match is not None:
            on = replace(on, expected=await expected_by(self._client, message.instance, message.if_match, "if_match"))
        acted = await self._client.act(
            message.instance,
            message.act,
            by=caller_of(self._websocket, message.by),
            reason=message.reason,
            on=on,
            request_id=message.request_id,
        )
        return {
            "decided": True,
            "changed": acted.changed,
            "status": acted.status.value,
            "revision": acted.revision,
            "trace_id": acted.trace_id,
        }

    async def _publish(self, message: PublishMessage) -> dict[str, Any]:
        self._principal.check(Permission.START)
        _log.info("request", method="WS", path=f"/v1/events/{message.event}"[:1024], by=self._principal.name)
        id = await self._client.publish(message.event, message.body, key=message.key, id=message.event_id)
        return {"decided": True, "event_id": id}

    # Writing

    async def _guarded(self, about: dict[str, Any], work: Coroutine[Any, Any, None]) -> None:
        """Carries out the work of one message: whatever fails in it is told, and harms no other."""
        try:
            await work
        except WebSocketDisconnect:
            return
        except SagalineError as error:
            await self._tell_problem(about, error)
        except Exception:
            _log.exception("a message of a websocket failed")
            await self._tell_problem(about, SagalineError("the server failed"))

    async def _tell_problem(self, about: dict[str, Any], error: SagalineError) -> None:
        head = to_json(about).decode()[:-1]
        await self._write(f'{head},"problem":{bytes(problem_of(error).body).decode()}}}')

    async def _tell(self, message: dict[str, Any]) -> None:
        await self._write(to_json(message).decode())

    async def _write(self, text: str) -> None:
        async with self._writing:
            try:
                await self._websocket.send_text(text)
            except RuntimeError as error:  # uvicorn has closed it
                raise WebSocketDisconnect(1006) from error
