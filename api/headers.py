"""The headers of responses, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["EVERYWHERE", "HEADERS", "undecided", "with_headers"]


def _text(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string", **schema}}


_TRACE = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
HEADERS = {
    "traceresponse": _text("the trace of the request (W3C)", pattern=_TRACE),
    "Cache-Control": _text("`no-store`, where nothing else is said"),
    "Location": _text("the path of what the request is about"),
    "ETag": _text("of what is shown: the same, the same value"),
    "Retry-After": {
        "description": "seconds after which the request may be repeated",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 60},
    },
    "WWW-Authenticate": _text("the scheme of the credential that is missing", enum=["Bearer", "Signature"]),
}
EVERYWHERE = ("traceresponse", "Cache-Control")
"""Every response has them."""


def undecided(model: type[BaseModel], *names: str) -> dict[int | str, dict[str, Any]]:
    """The response to a request that is in the log, and whose decision was not seen within the wait."""
    described = {"model": model, "description": "Accepted; not decided within the wait"}
    return {202: {**described, **with_headers("Retry-After", *names)}}


def with_headers(*names: str) -> dict[str, Any]:
    """Headers of a response in the OpenAPI document, by their names."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}
