"""Streams and WebSockets against an ASGI application in this process: httpx would wait for the end of a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message

__all__ = ["Sent", "Stream", "streaming"]

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
    path, _, query = target.partition("?")
    stream = Stream()
    given = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    runs = asyncio.create_task(app(scope, stream.receive, stream.send))  # type: ignore[arg-type]  # a coroutine
    try:
        yield stream
    finally:
        stream.leave()
        runs.cancel()
        await asyncio.gather(runs, return_exceptions=True)
