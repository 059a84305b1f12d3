"""An API whose read model has not followed the log yet is not ready, and never says that something is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.read_model import SqlReadModel
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.ports.read_model import InstanceFilter
from sagaline.orchestrator.runtime.projector import Projector

from .stack import Stack, order, running, stack

ITEM = "/v1/instances/order-checkout/A-1"
LISTS = ["/v1/instances", "/v1/overdue", "/v1/questions", "/v1/locks", "/v1/mailboxes", "/v1/tables"]
SINGLE = [ITEM, f"{ITEM}/history", f"{ITEM}/inspection", "/v1/locks/x", "/v1/mailboxes/x/y"]


@asynccontextmanager
async def beginning(up: Stack, folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Projector]]:
    """A second API on the same log with a read model of its own, whose projector does not run yet."""
    read_model = await SqlReadModel.open(f"sqlite:///{folder / 'second.db'}", namespace="t")
    projector = Projector(up.log, up.topics, read_model, SystemClock())
    client = Client(replace(up.parts, read_model=read_model, projector=projector))
    transport = httpx.ASGITransport(create_app(client, clock=SystemClock()))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
            yield api, projector
    finally:
        await read_model.close()


@pytest.mark.slow
async def test_until_it_has_followed_it_is_503_and_then_as_it_is(tmp_path: Path) -> None:
    async with stack(tmp_path) as up, beginning(up, tmp_path) as (api, projector):
        await up.client.start("order-checkout", order(), key="A-1")
        answers = await asyncio.gather(*map(api.get, ["/readyz", *LISTS, *SINGLE]))
        for answer in answers:
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), answer.url
            assert "not caught up with the log yet" in answer.json()["detail"]
        assert (await api.get("/livez")).status_code == 200
        async with running(projector.run()):
            await projector.followed(timeout=10)
            assert (await api.get(ITEM)).json()["key"] == "A-1"
            assert (await api.get(ITEM.replace("A-1", "A-2"))).status_code == 404
            for path in LISTS:
                assert (await api.get(path)).status_code == 200


async def test_an_instance_that_is_asked_for_while_it_follows_is_found(tmp_path: Path) -> None:
    """The request waits a moment rather than saying no."""
    async with stack(tmp_path) as up, beginning(up, tmp_path) as (api, projector):
        await up.client.start("order-checkout", order(), key="A-1")
        asked = asyncio.create_task(api.get(ITEM))
        await asyncio.sleep(0)
        async with running(projector.run()):
            assert (await asked).status_code == 200


async def test_pages_lose_nobody_who_changes_in_between(tmp_path: Path) -> None:
    async with stack(tmp_path) as up:
        keys = [f"A-{n}" for n in range(6)]
        for key in keys:
            await up.client.start("order-checkout", order(), key=key)
        found: list[str] = []
        cursor: str | None = None
        for turn in range(3):
            page = await up.client.list(InstanceFilter(definition="order-checkout"), limit=2, cursor=cursor)
            found += [each.key for each in page.documents]
            cursor = page.cursor
            await up.client.cancel(f"order-checkout/A-{turn}")
        assert cursor is None
        assert found == keys[::-1]


@pytest.mark.slow
async def test_what_was_started_elsewhere_just_now_is_found(tmp_path: Path) -> None:
    """A start at one API and a look at another, as behind a load balancer."""
    async with stack(tmp_path) as up, beginning(up, tmp_path) as (api, projector), running(projector.run()):
        await projector.followed(timeout=10)
        for n in range(10):
            await up.client.start("order-checkout", order(), key=f"A-{n}")
            assert (await api.get(ITEM.replace("A-1", f"A-{n}"))).status_code == 200
            assert (await api.get(f"{ITEM.replace('A-1', f'A-{n}')}/history")).status_code == 200
        assert (await api.get(ITEM.replace("A-1", "B-1"))).status_code == 404


@pytest.mark.slow
async def test_what_another_process_has_just_cleared_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """An idle projector notices it after some seconds; a look before a 404 does at once."""
    async with stack(tmp_path) as up, beginning(up, tmp_path) as (api, projector), running(projector.run()):
        await up.client.start("order-checkout", order(), key="A-1")
        await projector.caught_up(timeout=10)
        other = await SqlReadModel.open(f"sqlite:///{tmp_path / 'second.db'}", namespace="t")
        await other.clear()
        assert {(await api.get(path)).status_code for path in (ITEM, f"{ITEM}/history")} <= {503, 200}
        await other.close()
