"""HEAD is wherever GET is, OPTIONS is everywhere, and a response that may be repeated says when."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from sagaline.api.problems import KINDS, problem

from .stack import stack
from .test_api_instances import http
from .test_api_problems import ITEM, START, told

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with stack(tmp_path_factory.mktemp("api"), engine=False) as up, http(up) as client:
        yield client


async def test_options_says_what_is_possible(api: httpx.AsyncClient) -> None:
    for path, methods in (
        ("/v1/tables/carriers", "GET, HEAD, OPTIONS, PUT"),
        (START, "OPTIONS, POST"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ):
        answer = await api.options(path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, methods, b"")
    told(await api.options("/v1/nothing"), 404, "unknown-path")


async def test_a_path_without_parameters_has_its_own_methods_only(api: httpx.AsyncClient) -> None:
    for method, path, methods in (
        ("POST", "/v1/events/stream", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/dead/bulk", "OPTIONS, POST"),
    ):
        assert (await api.options(path)).headers["allow"] == methods
        answer = await api.request(method, path)
        told(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == methods


@pytest.mark.parametrize("path", ["/livez", "/v1/instances", "/v1/definitions", "/openapi.json", "/v1/events", ITEM])
async def test_head_is_get_without_its_body(api: httpx.AsyncClient, path: str) -> None:
    shown, headed = await api.get(path), await api.head(path)
    assert (headed.status_code, headed.content) == (shown.status_code, b"")
    for name in ("content-type", "content-length", "cache-control"):
        assert headed.headers[name] == shown.headers[name]


async def test_head_of_a_stream_ends(api: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20):
        answer = await api.head("/v1/events/stream")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.status in (429, 503)])
async def test_what_may_be_repeated_says_when(kind: str) -> None:
    assert int(problem(kind, "later").headers["retry-after"]) >= 1


async def test_docs_show_every_route_without_scripts_and_other_hosts(api: httpx.AsyncClient) -> None:
    page, document = await api.get("/docs"), (await api.get("/openapi.json")).json()
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"<code>{method.upper()} {path}</code>" in page.text
            assert f'id="{operation["operationId"]}"' in page.text
    assert re.findall(r"<(?:script|img|link|iframe)|(?:src|href)=.http", page.text) == []
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")


async def test_a_segment_that_is_too_long_is_422(api: httpx.AsyncClient) -> None:
    assert (await api.get(f"/v1/locks/{'%C3%A4' * 1_000}")).status_code == 200
    told(await api.get(f"/v1/locks/{'x' * 1_001}"), 422, "invalid-request", "name")
