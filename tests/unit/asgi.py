"""Streams and WebSockets against an ASGI application in this process: httpx would wait for the end of a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message

__all__ = ["Closed", "Sent", "Socket", "Stream", "connected", "streaming"]

SECONDS = 10.0


class Sent(NamedTuple):
    """One event of a stream; ``kind`` is empty for an unnamed one, ``:`` for a comment."""

    kind: str
    id: str
    data: Any


class Stream:
    """A reader of Server-Sent Events. It takes from the application only what it is asked for."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = asyncio.Event()
        self._messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._gone = asyncio.Event()
        self._text = ""

    async def receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        await self._messages.put(message)

    def leave(self) -> None:
        self._gone.set()

    async def next(self) -> Sent | None:
        """The next event; None: the stream has ended."""
        async with asyncio.timeout(SECONDS):
            while "\n\n" not in self._text:
                message = await self._messages.get()
                self._text += message["body"].decode()
                if not message.get("more_body", False):
                    self.ended.set()
                    if "\n\n" not in self._text:
                        return None
        block, _, self._text = self._text.partition("\n\n")
        if block.startswith(":"):
            return Sent(":", "", block[1:].strip())
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        return Sent(fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"]))

    async def event(self) -> Sent:
        """The next event that is neither a comment nor a cursor."""
        while (found := await self.next()) is None or found.kind in (":", "cursor"):
            assert found is not None, "the stream has ended"
        return found

    async def body(self) -> Any:
        """The whole answer, of a request that was not answered by a stream."""
        async with asyncio.timeout(SECONDS):
            return json.loads((await self._messages.get())["body"])


@asynccontextmanager
async def streaming(app: ASGIApp, target: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Stream]:
    """Opens ``target``, a path with its query, and leaves it at the end of the block."""
    stream = Stream()
    scope = _scope(target, headers) | {"type": "http", "method": "GET", "scheme": "http"}
    runs = asyncio.create_task(app(scope, stream.receive, stream.send))  # type: ignore[arg-type]  # a coroutine
    try:
        yield stream
    finally:
        stream.leave()
        runs.cancel()
        await asyncio.gather(runs, return_exceptions=True)


def _scope(target: str, headers: Mapping[str, str] | None) -> dict[str, Any]:
    path, _, query = target.partition("?")
    given = {"host": "localhost", **(headers or {})}
    return {
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }


class Closed(Exception):
    """The server has closed the connection, or refused it."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


class Socket:
    """A client of a WebSocket. It takes from the application only what it is asked for."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[Message] = asyncio.Queue()
        self._messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self.receive = self._given.get
        self.send = self._messages.put
        self.leave = lambda: self._given.put_nowait({"type": "websocket.disconnect", "code": 1000})

    def say(self, **message: Any) -> None:
        self.say_text(json.dumps(message))

    def say_text(self, text: str) -> None:
        self._given.put_nowait({"type": "websocket.receive", "text": text})

    async def next(self) -> Any:
        """The next message. Raises Closed."""
        async with asyncio.timeout(SECONDS):
            message = await self._messages.get()
            if message["type"] == "websocket.http.response.start":
                body = (await self._messages.get())["body"]
                raise Closed(message["status"], json.loads(body))
        if message["type"] == "websocket.close":
            raise Closed(message["code"], None)
        return json.loads(message["text"]) if message["type"] == "websocket.send" else message["type"]

    async def answer(self, **message: Any) -> Any:
        """The answer or the problem of a message; events in between are left out."""
        self.say(**message)
        while (found := await self.next()).get("id") != message.get("id"):
            pass
        return found.get("answer", found.get("problem"))

    async def event(self, subscription: str) -> Any:
        """The next event of a subscription."""
        while "event" not in (found := await self.next()):
            pass
        assert found["subscription"] == subscription
        return found["event"]


@asynccontextmanager
async def connected(
    app: ASGIApp, target: str = "/v1/ws", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Socket]:
    """Opens a WebSocket. Raises Closed: it was refused."""
    socket = Socket()
    more = {"type": "websocket", "scheme": "ws", "subprotocols": [], "extensions": {"websocket.http.response": {}}}
    socket._given.put_nowait({"type": "websocket.connect"})
    runs = asyncio.create_task(app(_scope(target, headers) | more, socket.receive, socket.send))  # type: ignore[arg-type]
    try:
        assert await socket.next() == "websocket.accept"
        yield socket
    finally:
        socket.leave()
        runs.cancel()
        await asyncio.gather(runs, return_exceptions=True)
