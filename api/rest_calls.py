"""One request to the REST API: repeated while nothing answers, and its error as an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from ..orchestrator.adapters.clock import SystemClock
from ..orchestrator.errors import ConfigurationError, SagalineError, TransientError
from .problems import Problem

__all__ = ["ApiProblem", "ApiUnreachable", "RestCalls"]

V = TypeVar("V", bound=BaseModel)

_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_CONNECT_SECONDS = 5.0
_SLACK_SECONDS = 5.0
_CLOCK = SystemClock()


class ApiProblem(SagalineError):
    """The API refused the request. ``problem`` says why, ``kind`` is its stable name such as ``start-conflict``."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.kind = problem.type.rpartition(":")[2]


class ApiUnreachable(TransientError):
    """Nothing answered within the deadline, or the API could not reach its log. Repeat it with the same ids."""


class RestCalls:
    """Requests to one API. Safe for concurrent use by tasks of one event loop."""

    def __init__(
        self, url: str, token: str | None, deadline: timedelta, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            known = httpx.URL(url)
            self._http = httpx.AsyncClient(base_url=known, headers=headers, transport=transport)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ConfigurationError(f"the address or the token cannot be sent ({error}); correct it") from error
        if known.scheme not in ("http", "https") or not known.host:
            raise ConfigurationError(f"{url[:200]!r} is not the address of an API; give http://host:port")
        self._deadline = deadline.total_seconds()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: BaseModel | None = None,
        wait: timedelta = timedelta(0),
    ) -> httpx.Response:
        """The response below 400. While nothing answers, or 429, 502, 503 or 504, the request is repeated until the
        deadline has passed. ``wait`` is how long the API may take to answer; a write needs an id to be repeated safely.

        Raises:
            ApiProblem: the API refused it.
            ApiUnreachable: the deadline has passed.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None and value != []}
        if wait:
            given["wait"] = f"{wait.total_seconds():g}"
        content = None if body is None else body.model_dump_json(exclude_unset=True, by_alias=True).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        limits = httpx.Timeout(wait.total_seconds() + _SLACK_SECONDS, connect=_CONNECT_SECONDS)
        loop = asyncio.get_running_loop()
        ends, pause = loop.time() + self._deadline, _FIRST_PAUSE
        while True:
            after = 0.0
            try:
                response = await self._http.request(
                    method, path, params=given, content=content, headers=headers, timeout=limits
                )
            except httpx.TransportError as error:
                why = f"nothing answers at {self._http.base_url} ({type(error).__name__}): check that `saga api` runs"
            else:
                if response.status_code < 400:
                    return response
                found = _problem(response)
                if response.status_code not in _AGAIN:
                    raise ApiProblem(found)
                why, after = found.detail, _seconds(response)
            pause = max(after, pause * _spread())
            if loop.time() + pause > ends:
                raise ApiUnreachable(why)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def read(self, model: type[V], path: str, **query: Any) -> V:
        """What a GET answers. Errors as ``ask``."""
        return self.parsed(model, await self.ask("GET", path, query=query))

    def parsed(self, model: type[V], response: httpx.Response) -> V:
        """The body as a model.

        Raises:
            ApiProblem: it is something else: the address is not that of this release's API.
        """
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise ApiProblem(
                _unknown(response, f"the answer is no {model.__name__} ({error.error_count()} fields are wrong)")
            ) from error


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return _unknown(response, f"{response.status_code} without a problem document")


def _unknown(response: httpx.Response, what: str) -> Problem:
    detail = f"{what}: is {response.request.url} the API of a release that this client knows?"
    return Problem(
        type="urn:sagaline:problem:not-this-api", title="Not this API", status=response.status_code, detail=detail
    )


def _spread() -> float:
    """From 0.5 to 1, so that many clients do not come back at the same time."""
    return 0.5 + int(_CLOCK.new_id()[:8], 16) / 2**33


def _seconds(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers["Retry-After"]), 0.0), 60.0)
    except (KeyError, ValueError):
        return 0.0
