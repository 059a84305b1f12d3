"""Methods that paths have besides their own: HEAD wherever GET is, OPTIONS everywhere; ``Allow`` with all of them.

A path without parameters has its own methods only, as in OpenAPI: ``POST /v1/events/stream`` publishes no event.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import Pattern
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Allowed", "Head"]


class Allowed:
    """The methods of each path, for ``Allow`` (RFC 9110, section 10.2.1). Routers answer with those of one route."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._known: list[tuple[Pattern[str], frozenset[str]]] = []
        self._fixed: dict[str, frozenset[str]] = {}
        for route in routes:
            methods: set[str] | None = getattr(route, "methods", None)
            path: str = getattr(route, "path", "")
            if methods and "{" in path:
                self._known.append((getattr(route, "path_regex"), frozenset(methods)))  # noqa: B009  # of two classes
            elif methods:
                self._fixed[path] = self._fixed.get(path, frozenset()) | methods

    def at(self, path: str) -> str:
        """``GET, HEAD, OPTIONS`` and the like; empty: there is nothing at this path."""
        found = set(self._fixed.get(path, ()))
        if not found:
            found = {method for shape, methods in self._known if shape.match(path) for method in methods}
        if found:
            found |= {"OPTIONS"} | ({"HEAD"} if "GET" in found else set())
        return ", ".join(sorted(found))

    def check(self, scope: Scope) -> None:
        """Raises HTTPException (405): the path of a request has no parameters, and not this method."""
        fixed = self._fixed.get(scope["path"])
        if scope["type"] == "http" and fixed is not None and scope["method"] not in fixed:
            raise HTTPException(405)


class Head:
    """Answers HEAD with what GET would be answered, without the body; a stream ends with its head."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        inner: dict[str, Any] = {**scope, "method": "GET"}

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await self._app(inner, receive, headed)
        finally:
            scope["route"] = inner.get("route")
