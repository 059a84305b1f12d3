"""What a quota refuses is answered before its body is read and before a route is looked for: 429, with ``Retry-After``.

Never limited are paths that are open to everybody, ``/metrics``, and tokens of the settings: they are the way back in.
"""

from __future__ import annotations

from contextlib import nullcontext

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..orchestrator.messages.quotas import Counted
from .auth import is_open, refuse
from .identity import Permission, Principal
from .problems import HttpProblem
from .quotas import Allowance, Quotas, rate_headers

__all__ = ["Limited"]

_TRY_AGAIN_LATER = 1013
_UNLIMITED = "/metrics"
_STARTS = "/v1/sagas/"


class Limited:
    """Lets a request or a WebSocket through, with the ``Allowance`` of who asks in the state of its scope."""

    def __init__(self, app: ASGIApp, quotas: Quotas) -> None:
        self._app, self._quotas = app, quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        allowance = state["allowance"] = Allowance(self._quotas, _limited(scope))
        wanted = _wanted(scope)
        try:
            rates = allowance.admit(*wanted)
        except HttpProblem as problem:
            await refuse(problem, scope, receive, send, _TRY_AGAIN_LATER)
            return

        async def counted() -> Message:
            message = await receive()
            allowance.charge(len(message.get("body", b"")))
            return message

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                left = [(name.lower().encode(), text.encode()) for name, text in rate_headers(rates).items()]
                message = {**message, "headers": [*message.get("headers", ()), *left]}
            await send(message)

        with allowance.start() if Counted.STARTS in wanted else nullcontext():
            await self._app(scope, counted if Counted.BYTES in wanted else receive, told if rates else send)


def _limited(scope: Scope) -> str | None:
    """The name that quotas are counted for; None: for none, or of a delivery by its route, once it is verified."""
    principal: Principal | None = scope["state"]["principal"]
    path = scope["path"]
    if principal is None or principal.how == "token" or path == _UNLIMITED or is_open(path, scope.get("method", "")):
        return None
    return principal.name


def _wanted(scope: Scope) -> list[Counted]:
    wanted = [Counted.REQUESTS]
    if scope["type"] != "http":
        return wanted
    headers = dict(scope["headers"])
    if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        wanted.append(Counted.BYTES)
    principal: Principal | None = scope["state"]["principal"]
    may_start = principal is not None and Permission.START in principal.permissions
    if may_start and scope["method"] == "POST" and scope["path"].startswith(_STARTS):
        wanted += [Counted.STARTS, Counted.UNFINISHED]
    return wanted
