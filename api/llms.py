"""``/llms.txt``: what this API is, for language models: one line a route, from the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from .identity import needs
from .queries import only

__all__ = ["llms_router"]

_ABOUT = """\
# Sagaline

> Sagas and process managers on Kafka: business flows of several steps that are undone in order when one fails.

- [OpenAPI document](/openapi.json): every request and answer with its schema
- [AsyncAPI document](/v1/asyncapi): every topic, message and who sends or receives it

An instance is `definition/key`; in paths the key is one segment, fully percent-encoded. Errors are
`application/problem+json` and say what to do. An assistant with tools is served by `saga mcp`.
"""


def llms_router() -> APIRouter:
    """The route; open, like the OpenAPI document."""
    router = APIRouter(include_in_schema=False)

    @router.get("/llms.txt")
    @needs("none")
    async def llms(request: Request) -> Response:
        only(request)
        return Response(_text(request.app.openapi()), media_type="text/plain; charset=utf-8")

    return router


def _text(document: dict[str, Any]) -> str:
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            line = f"- `{method.upper()} {path}`: {operation['summary']}"
            sections.setdefault(next(iter(operation.get("tags", ["other"]))), []).append(line)
    return "\n".join(
        [_ABOUT, *(f"## {tag.capitalize()}\n\n" + "\n".join(lines) + "\n" for tag, lines in sections.items())]
    )
