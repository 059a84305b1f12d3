"""``saga mcp``: an assistant can look, and acts only when it is allowed to."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import mcp
import pytest

from sagaline.api import create_app
from sagaline.client import RestClient
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.cli.mcp_server import build_server

from .stack import order, stack

ITEM = "order-checkout/A-1"


@asynccontextmanager
async def assisted(folder: Path, *, allow_acts: bool) -> AsyncIterator[mcp.Client]:
    async with stack(folder) as up:
        transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
        await up.client.start("order-checkout", order(), key="A-1")
        async with (
            RestClient("http://localhost", transport=transport) as api,
            mcp.Client(build_server(api, allow_acts=allow_acts)) as client,
        ):
            yield client


async def answer(client: mcp.Client, tool: str, **arguments: Any) -> Any:
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    return found.structured_content


async def test_every_tool_that_only_reads_answers(tmp_path: Path) -> None:
    async with assisted(tmp_path, allow_acts=False) as client:
        tools = (await client.list_tools()).tools
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        found = await answer(client, "find_instances", where={"key": "A-1"})
        assert [each["id"] for each in found["instances"]] == [ITEM]
        assert (await answer(client, "count_instances"))["count"] == 1
        assert (await answer(client, "show_instance", instance=ITEM))["key"] == "A-1"
        assert (await answer(client, "explain_instance", instance=ITEM))["id"] == ITEM
        assert (await answer(client, "history_of_instance", instance=ITEM, limit=1))["decisions"]
        [views] = [tool for tool in tools if tool.name == "list_view"]
        for what in views.input_schema["properties"]["what"]["enum"]:
            assert await answer(client, "list_view", what=what)
        called = {"find_instances", "count_instances", "show_instance", "explain_instance", "history_of_instance"}
        assert {tool.name for tool in tools} == {*called, "list_view"}


async def test_acts_are_rehearsed_first_and_then_carried_out(tmp_path: Path) -> None:
    async with assisted(tmp_path, allow_acts=True) as client:
        pause = {"instance": ITEM, "act": "pause", "reason": "stocktaking", "id": "p-1"}
        assert (await answer(client, "act_on_instance", **pause))["dry_run"]
        assert not (await answer(client, "show_instance", instance=ITEM))["paused"]
        assert (await answer(client, "act_on_instance", **pause, dry_run=False))["changed"]
        assert (await answer(client, "show_instance", instance=ITEM))["paused"]
        resume = {"instance": ITEM, "act": "resume", "reason": "done", "dry_run": False}
        assert (await answer(client, "act_on_instance", **resume, id="p-2"))["changed"]
        await answer(client, "act_on_instance", **pause, dry_run=False)
        assert not (await answer(client, "show_instance", instance=ITEM))["paused"], "an act of this id was done"
        started = await answer(client, "start_instance", definition="order-checkout", input=order(), key="A-2")
        assert started["created"]


async def test_a_refusal_is_a_sentence_for_the_assistant(tmp_path: Path) -> None:
    async with assisted(tmp_path, allow_acts=False) as client:
        missing = await client.call_tool("show_instance", {"instance": "order-checkout/none"})
        assert missing.is_error
        assert "there is no instance 'order-checkout/none'" in str(missing.content)
        denied = await client.call_tool(
            "act_on_instance", {"instance": ITEM, "act": "cancel", "reason": "none", "id": "c"}
        )
        assert denied.is_error


async def test_language_models_are_told_every_route(tmp_path: Path) -> None:
    async with stack(tmp_path) as up:
        app = create_app(up.client, clock=SystemClock())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as api:
            page = await api.get("/llms.txt")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    routes = [f"`{method.upper()} {path}`" for path, methods in app.openapi()["paths"].items() for method in methods]
    assert [route for route in routes if page.text.count(f"- {route}: ") != 1] == []


@pytest.mark.slow
async def test_the_command_serves_over_stdio() -> None:
    """It answers while no API does; each call says then what to do. The deadline of a call is 5 s."""
    saga = Path(sys.executable).with_name("saga")
    started = mcp.StdioServerParameters(command=str(saga), args=["mcp", "--url", "http://127.0.0.1:1"])
    async with mcp.Client(started) as client:
        assert len((await client.list_tools()).tools) == 6
        found = await client.call_tool("count_instances", {})
    assert found.is_error
    assert "check that `saga api` runs" in str(found.content)
