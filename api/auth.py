"""The guard before all routes: a request proves who sends it; without authentication only this machine is served.

Every path that is not ``is_open`` needs a credential (``credentials.py``). Without authentication the server listens
on loopback only (``serving.py``), and requests with another ``Host`` are rejected: this prevents DNS rebinding by a web
page. A browser marks requests of pages of another origin (``Origin``, ``Sec-Fetch-Site``); such requests cannot read
anything, as no CORS header allows it, and cannot change anything, as they are rejected here.
"""

from __future__ import annotations

import asyncio

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..orchestrator.errors import SagalineError
from ..orchestrator.tracing import trace_id_of
from .credentials import Tokens
from .hosts import host_of, is_loopback
from .identity import Principal
from .problems import HttpProblem, problem_of

__all__ = ["Guard", "is_loopback", "is_open", "refuse"]

_OPEN = frozenset(
    {"/livez", "/readyz", "/openapi.json", "/docs", "/llms.txt", "/", "/sw.js", "/v1/login", "/v1/logout"}
)
_OPEN_FOLDER = "/dashboard/"
"""The files of the dashboard; what it shows comes from routes that are not open."""
_HOOKS = "/v1/hooks/"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_REASON_BYTES_MAX = 123
"""RFC 6455, section 5.5."""
_POLICY_VIOLATION = 1008
_ENDED = "the key of this connection has been revoked or has expired"
_CHECK_SECONDS = 1.0
_IDLE_CHECK_SECONDS = 15.0


def is_open(path: str, method: str = "GET") -> bool:
    """True: everybody may request this, without a credential. Its route declares ``needs("none")``."""
    if path.startswith(_HOOKS):  # what is delivered is verified by the route; the others change hooks
        return method == "POST" and "/" not in path.removeprefix(_HOOKS)
    return path in _OPEN or path.startswith(_OPEN_FOLDER)


def changes(connection: HTTPConnection) -> bool:
    """True: it may change something. A WebSocket may, and a browser opens one for any page."""
    return connection.scope["type"] == "websocket" or connection.scope["method"] not in _SAFE


async def refuse(error: SagalineError, scope: Scope, receive: Receive, send: Send, code: int) -> None:
    """Answers with the problem; a WebSocket whose server cannot do that is closed with ``code``."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": code, "reason": str(error)[:_REASON_BYTES_MAX]})
        return
    trace_id = trace_id_of(scope.get("state", {}).get("traceparent"))
    await problem_of(error, trace_id)(scope, receive, send)


class Guard:
    """Accepts a request or a WebSocket, with its ``Principal`` in the state of its scope, or answers 401 or 403."""

    def __init__(self, app: ASGIApp, credentials: Tokens, *, anywhere: bool = False) -> None:
        """``anywhere``: what ``is_open`` is for other machines also without authentication."""
        self._app, self._credentials = app, credentials
        self._opens = anywhere or credentials.required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            principal = await self._admitted(connection)
        except SagalineError as error:
            await refuse(error, scope, receive, send, _POLICY_VIOLATION)
            return
        scope.setdefault("state", {})["principal"] = principal
        if principal is None or principal.how == "local":
            await self._app(scope, receive, send)
            return
        watched = _Watched(self._credentials, principal, receive, send)
        is_socket = scope["type"] == "websocket"
        await self._app(scope, watched.receive if is_socket else receive, watched.send)

    async def _admitted(self, connection: HTTPConnection) -> Principal | None:
        """Who asks; None: nobody, at a path that is open to everybody.

        Raises:
            SagalineError: it is not accepted.
        """
        scope = connection.scope
        open_to_all = self._opens and is_open(scope["path"], scope.get("method", ""))
        if not open_to_all and not self._credentials.required and not is_loopback(host_of(connection)):
            text = "without an API token only localhost and 127.0.0.1 are served; set an API token"
            raise HttpProblem("forbidden-host", text)
        if changes(connection) and _of_another_origin(connection):
            text = "requests from pages of another origin are rejected; use a page of this server, or a program"
            raise HttpProblem("foreign-origin", text)
        return None if open_to_all else await self._credentials.identify(connection)


class _Watched:
    """The two ends of a connection whose credential may end while it is open: then the connection ends too."""

    def __init__(self, credentials: Tokens, principal: Principal, receive: Receive, send: Send) -> None:
        self._credentials, self._principal = credentials, principal
        self._receive, self._send = receive, send
        self._loop = asyncio.get_running_loop()
        self._checked, self._ended = self._loop.time(), False

    async def receive(self) -> Message:
        """Of a WebSocket. One that is idle is checked too."""
        coming = asyncio.ensure_future(self._receive())
        try:
            while not (await asyncio.wait({coming}, timeout=_IDLE_CHECK_SECONDS))[0] and await self._holds():
                pass
            if coming.done() and (coming.result()["type"] != "websocket.receive" or await self._holds()):
                return coming.result()
        finally:
            coming.cancel()
        await self._close({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": _ENDED})
        return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION, "reason": _ENDED}

    async def send(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "websocket.send" and not await self._holds():
            await self._close({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": _ENDED})
        elif message.get("more_body", False) and not await self._holds():
            await self._close({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def _close(self, message: Message) -> None:
        if not self._ended:
            self._ended = True
            await self._send(message)

    async def _holds(self) -> bool:
        if self._ended or self._loop.time() - self._checked < _CHECK_SECONDS:
            return not self._ended
        self._checked = self._loop.time()
        return await self._credentials.holds(self._principal)


def _of_another_origin(connection: HTTPConnection) -> bool:
    """True when a browser says so; programs send neither header."""
    origin = connection.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != connection.headers.get("host", ""):
        return True
    return connection.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
