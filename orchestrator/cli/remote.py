"""One request to the REST API: its JSON, or one sentence. Problem documents (RFC 9457) say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from .errors import Failure, Mistake, Unreachable
from .options import Remote

__all__ = ["Json", "request", "tagged"]

Json = dict[str, Any]

_TIMEOUT = httpx.Timeout(35.0, connect=5.0)


def request(
    remote: Remote,
    method: str,
    path: str,
    *,
    body: object = None,
    query: Mapping[str, Any] | None = None,
    if_match: str | None = None,
) -> tuple[int, Json]:
    """The status and JSON of a response below 400. ``if_match``: see ``tagged``.

    Raises:
        Mistake: the address is not valid.
        Unreachable: nothing answers there in time, or the API cannot reach its log.
        Failure: the API rejected the request; the message is the problem document's detail.
    """
    response = _response(remote, method, path, body=body, query=query, if_match=if_match)
    return response.status_code, _json(remote, response)


def tagged(remote: Remote, path: str) -> tuple[str, Json]:
    """The ``ETag`` and the JSON of what is at a path. Raises as ``request``."""
    response = _response(remote, "GET", path)
    return response.headers.get("ETag", ""), _json(remote, response)


def _response(
    remote: Remote,
    method: str,
    path: str,
    *,
    body: object = None,
    query: Mapping[str, Any] | None = None,
    if_match: str | None = None,
) -> httpx.Response:
    headers = {"Accept": "application/json", **({"If-Match": if_match} if if_match is not None else {})}
    if remote.token:
        headers["Authorization"] = f"Bearer {remote.token}"
    given = {name: value for name, value in (query or {}).items() if value is not None}
    try:
        with httpx.Client(base_url=remote.url, headers=headers, timeout=_TIMEOUT) as client:
            return client.request(method, path, params=given, json=body)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Mistake(f"{remote.url!r} is not an address ({error}); give --url http://host:port") from error
    except UnicodeEncodeError as error:
        if remote.token and not remote.token.isascii():
            raise Mistake(
                "the token has characters that are not allowed in a header; correct SAGALINE_API_TOKEN"
            ) from error
        raise Mistake(f"{error.object[:100]!r} is not UTF-8; give it in UTF-8") from error
    except httpx.ConnectError as error:
        raise Unreachable(
            f"nothing answers at {remote.url}: run `saga api` or `saga demo`, or give --url or SAGALINE_URL"
        ) from error
    except httpx.TimeoutException as error:
        raise Unreachable(
            f"{remote.url} did not answer in time; check its log, then try again (a repeated start does no harm)"
        ) from error
    except httpx.HTTPError as error:
        raise Unreachable(f"{remote.url} closed the connection: {type(error).__name__}; is that the API?") from error


def _json(remote: Remote, response: httpx.Response) -> Json:
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code >= 400:
        text = _problem(remote, response.status_code, body if isinstance(body, dict) else {})
        raise (Unreachable if response.status_code in (502, 503, 504) else Failure)(text)
    if not isinstance(body, dict):
        raise Failure(f"{remote.url} answered {response.status_code} without JSON; is that the API of Sagaline?")
    return body


def _problem(remote: Remote, status: int, body: Json) -> str:
    detail = str(body.get("detail") or body.get("title") or "")
    field = body.get("field")
    if field and str(field) not in detail:
        detail = f"{field}: {detail}"
    if status == httpx.codes.UNAUTHORIZED:
        wrong = "does not know the given token" if remote.token else "requires a bearer token"
        return f"{remote.url} {wrong}; give one of its SAGALINE_API_TOKENS by SAGALINE_API_TOKEN"
    if not detail:
        return f"{remote.url} answered {status} without a reason; is that the API of Sagaline?"
    return detail
