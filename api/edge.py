"""The outermost layer of every request, plain ASGI: the raw path, one span, one log line, no internals in errors.

- Routing sees the path before percent-decoding; see ``paths.py``.
- The server span continues the caller's ``traceparent``; ``traceresponse`` returns the trace id.
- An unexpected error becomes a problem without a stack trace, and is logged with one.
"""

from __future__ import annotations

import asyncio

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..orchestrator.ports.clock import Clock
from ..orchestrator.tracing import Span, SpanKind, Tracing, trace_id_of
from .identity import Principal
from .paths import sent_path
from .problems import problem

__all__ = ["Edge"]

_log = structlog.get_logger("sagaline.api")

_CLIENT_GONE = 499
_QUOTA_EXCEEDED = 429
_OTHER = "_OTHER"
"""A method that nobody knows, in the words of the semantic conventions."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, tracing: Tracing, clock: Clock) -> None:
        self._app, self._tracing, self._clock = app, tracing, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope["path"] = sent_path(scope.get("raw_path"), scope["path"])
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        span = self._span(scope)
        scope.setdefault("state", {})["traceparent"] = span.traceparent
        body = _Body(scope, receive)
        answer = _Answer(send, span.traceparent, body)
        began = asyncio.get_running_loop().time()
        error: str | None = None
        try:
            with structlog.contextvars.bound_contextvars(trace_id=trace_id_of(span.traceparent)), span.active():
                error = await self._guarded(scope, body, answer)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            status = answer.status or _CLIENT_GONE
            _conclude(span, scope, status, error)
            if status != _QUOTA_EXCEEDED:  # these are logged together
                self._tell(scope, status, asyncio.get_running_loop().time() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        principal: Principal | None = scope["state"].get("principal")
        _log.info(
            "request",
            by=principal.name if principal is not None else "",
            method=scope["method"],
            path=scope["path"][:1024],
            status=status,
            ms=round(seconds * 1000, 1),
            trace_id=trace_id_of(scope["state"]["traceparent"]),
        )

    async def _guarded(self, scope: Scope, receive: Receive, answer: _Answer) -> str | None:
        """Always answers; returns the name of the error if the server failed."""
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            return None
        except Exception as error:
            _log.exception("a request failed", path=scope["path"][:1024])
            if answer.status is not None:
                raise
            text = "the server failed; its log has the cause under the trace id"
            await problem("internal", text, trace_id=trace_id_of(answer.traceparent))(scope, receive, answer)
            return type(error).__name__
        return None

    def _span(self, scope: Scope) -> Span:
        incoming = next((value for name, value in scope["headers"] if name == b"traceparent"), b"").decode("latin-1")
        parent = self._tracing.parent(incoming, self._clock.new_id)
        method = _method(scope)
        attributes: dict[str, str | int | bool] = {
            "http.request.method": method,
            "url.path": scope["path"][:1024],
            "url.scheme": scope["scheme"],
        }
        if method == _OTHER:
            attributes["http.request.method_original"] = scope["method"][:64]
        if scope.get("server") is not None:
            address, port = scope["server"]
            attributes |= {"server.address": address} | ({"server.port": port} if port is not None else {})
        return self._tracing.start(_name(method), parent, kind=SpanKind.SERVER, attributes=attributes)


def _conclude(span: Span, scope: Scope, status: int, error: str | None) -> None:
    """Ends the span of a request under the template of its route: a name with a key in it would be one for each."""
    route = getattr(scope.get("route"), "path", None)
    span.set({"http.response.status_code": status})
    if route is not None:
        span.set({"http.route": route})
        span.rename(f"{_name(_method(scope))} {route}")
    if error is not None or status >= 500:
        span.set({"error.type": error or str(status)})
    span.end("" if error is None and status >= 500 else error)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else _OTHER


def _name(method: str) -> str:
    return "HTTP" if method == _OTHER else method


class _Body:
    """A ``receive`` that knows whether the whole body has arrived: an earlier answer closes the connection, as
    otherwise the server would read the rest of an unwanted body.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        self.whole = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.whole = True
        return message


class _Answer:
    """A ``send`` that stores the status and adds the headers of every response."""

    def __init__(self, send: Send, traceparent: str | None, body: _Body) -> None:
        self._send, self.traceparent, self._body = send, traceparent, body
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = [(b"x-content-type-options", b"nosniff")]
            if all(name.lower() != b"cache-control" for name, _ in message.get("headers", ())):
                extra.append((b"cache-control", b"no-store"))
            if self.traceparent is not None:
                extra.append((b"traceresponse", self.traceparent.encode()))
            if not self._body.whole:
                extra.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await self._send(message)
