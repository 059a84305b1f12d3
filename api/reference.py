"""``/docs``: the OpenAPI document as one page for people, without scripts and without other hosts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from .identity import needs

__all__ = ["reference_router"]

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font: 0.9em ui-monospace, monospace; overflow-wrap: anywhere; }
summary { padding: 0.3rem 0; cursor: pointer; }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid; padding: 0.3rem 0.6rem 0.3rem 0; text-align: left; vertical-align: top; }
pre { overflow-x: auto; }
"""
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)


def reference_router(document: Callable[[], dict[str, Any]]) -> APIRouter:
    """``document``: makes the OpenAPI document."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    @needs("none")
    async def get_docs() -> Response:
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
        return HTMLResponse("".join(_page(document())), headers=headers)

    return router


def _page(document: dict[str, Any]) -> Iterator[str]:
    title = escape(f"{document['info']['title']} REST API")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<main><h1>{title}</h1><p>For programs: <a href='/openapi.json'>/openapi.json</a>.</p>"
    tags: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation.get("tags", ["other"])[0], []).append((method.upper(), path, operation))
    for tag, found in tags.items():
        yield f"<h2>{escape(tag)}</h2>"
        for method, path, operation in found:
            yield from _operation(method, path, operation)
    yield "</main></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    id = escape(operation["operationId"])
    yield f'<details id="{id}"><summary><code>{method} {escape(path)}</code> {escape(operation["summary"])}</summary>'
    yield f"<p>{escape(operation.get('description', ''))} Permission: {escape(operation['x-permission'])}.</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>what it is</th></tr>"
        for each in parameters:
            name, place, text = (escape(each.get(part, "")) for part in ("name", "in", "description"))
            yield f"<tr><td><code>{name}</code></td><td>{place}</td><td>{text} {_bounds(each['schema'])}</td></tr>"
        yield "</table>"
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, <code>{escape(media)}</code>:</p><pre><code>{_json(content.get('example'))}</code></pre>"
    yield "<table><tr><th>status</th><th>what it means</th></tr>"
    for status, response in operation["responses"].items():
        yield f"<tr><td>{status}</td><td>{escape(response['description'])}</td></tr>"
    yield "</table></details>"


def _bounds(schema: dict[str, Any]) -> str:
    known = {name: value for name, value in schema.items() if name not in ("title", "description", "type")}
    return f"<code>{_json(known)}</code>" if known else ""


def _json(value: object) -> str:
    return escape(json.dumps(value, ensure_ascii=False, indent=1))
