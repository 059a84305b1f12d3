"""SIGTERM to an API whose requests wait for their decision: each is answered at once, none is lost."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.orchestrator.settings import Settings

from ..kafka.processes import ENGINE, SagaProcess, saga
from .stack import order

pytestmark = pytest.mark.slow

API = ("api", "sagaline.sagas.examples.order_checkout:checkout", "--port", "0")
AT_ONCE_SECONDS = 3.0


@asynccontextmanager
async def serving_api(folder: Path) -> AsyncIterator[tuple[SagaProcess, httpx.AsyncClient]]:
    """``saga api`` as a process of its own, without an engine: nothing is decided."""
    settings = Settings(log=f"sqlite:///{folder / 'log.db'}")
    async with saga(API, settings, folder) as process:
        await process.ready()
        found = re.search(r"answering at (\S+?);", process.output)
        assert found, process.output
        async with httpx.AsyncClient(base_url=found[1], timeout=30) as http:
            yield process, http


async def waiting(process: SagaProcess, requests: list[Any]) -> tuple[list[httpx.Response], float]:
    """What these requests get when the process is stopped while they wait, and how long after the signal."""
    tasks = [asyncio.create_task(request) for request in requests]
    await asyncio.sleep(1.0)
    assert not any(task.done() for task in tasks)
    signalled = time.monotonic()
    stopped = asyncio.create_task(process.stop())
    answers = await asyncio.gather(*tasks)
    took = time.monotonic() - signalled
    assert await stopped == 0, process.output
    return answers, took


@pytest.mark.long
async def test_starts_and_acts_that_wait_are_accepted_at_once_when_the_api_stops(tmp_path: Path) -> None:
    async with serving_api(tmp_path) as (process, http):
        starts = [
            http.post("/v1/sagas/order-checkout?wait=20", json={"key": f"A-{number}", "input": order()})
            for number in range(5)
        ]
        acts = [http.post(f"/v1/instances/order-checkout/A-0/{act}?wait=20", json={}) for act in ("pause", "resume")]
        answers, took = await waiting(process, [*starts, *acts])
    assert [answer.status_code for answer in answers] == [202] * 7, [answer.text for answer in answers]
    assert [answer.headers["location"] for answer in answers] == [
        f"/v1/instances/order-checkout/A-{number}" for number in (0, 1, 2, 3, 4, 0, 0)
    ]
    assert took < AT_ONCE_SECONDS
    settings = Settings(log=f"sqlite:///{tmp_path / 'log.db'}")
    async with saga(ENGINE, settings, tmp_path) as engine, serving_api(tmp_path) as (_, http):
        await engine.ready()
        for answer in answers[:5]:  # what was accepted happens
            shown = await http.post(
                "/v1/sagas/order-checkout?wait=10", json={"key": answer.headers["location"][-3:], "input": order()}
            )
            assert shown.status_code == 200, shown.text
