"""Authentication: bearer tokens, compared in constant time; without tokens only requests from this machine.

Every path except those in ``OPEN`` needs a token. Without tokens the server listens on loopback only (``serving.py``),
and requests with another ``Host`` are rejected: this prevents DNS rebinding by a web page. A browser marks requests of
pages of another origin (``Origin``, ``Sec-Fetch-Site``); such requests cannot read anything, as no CORS header allows
it, and cannot change anything, as they are rejected here.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..orchestrator.tracing import trace_id_of
from .problems import problem

__all__ = ["OPEN", "Guard", "is_loopback"]

OPEN = frozenset({"/livez", "/readyz", "/openapi.json"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """True when a host, by name or address, is certainly this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


class Guard:
    """Accepts a request, or answers 401 or 403."""

    def __init__(self, app: ASGIApp, tokens: Sequence[str], *, anywhere: bool = False) -> None:
        """``anywhere``: the paths of ``OPEN`` are for other machines also without tokens."""
        self._app, self._opens = app, anywhere or bool(tokens)
        self._digests = [_digest(token.encode()) for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # No other protocol is served yet; an unguarded one is rejected.
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http" or (scope["path"] in OPEN and self._opens):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        trace_id = trace_id_of(getattr(request.state, "traceparent", None))
        if self._digests:
            if not self._knows(request):
                text = "this server requires a token; send the header: Authorization: Bearer <token>"
                answer = problem("unauthorized", text, trace_id=trace_id, headers={"WWW-Authenticate": "Bearer"})
                await answer(scope, receive, send)
                return
        elif not is_loopback(_host(request)):
            text = "without an API token only localhost and 127.0.0.1 are served; set an API token"
            await problem("forbidden-host", text, trace_id=trace_id)(scope, receive, send)
            return
        if request.method not in _SAFE and _of_another_origin(request):
            text = "requests from pages of another origin are rejected; use a page of this server, or a program"
            await problem("foreign-origin", text, trace_id=trace_id)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        digest = _digest(token.strip().encode("latin-1", errors="replace"))
        # Every token is compared, so that the time taken does not reveal which one was similar.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _of_another_origin(request: Request) -> bool:
    """True when a browser says so; programs send neither header."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        return True
    return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _host(request: Request) -> str:
    host = request.headers.get("host", "")
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
