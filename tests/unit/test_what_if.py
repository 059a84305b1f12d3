"""What an act would do: decided as the engine would, in plain words, and nothing is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock

from .stack import order, stack

ITEM = "/v1/instances/order-checkout/A-1"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with stack(tmp_path) as up:
        await up.client.start("order-checkout", order(), key="A-1")
        transport = httpx.ASGITransport(create_app(up.client, clock=SystemClock()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def tried(api: httpx.AsyncClient, act: str, **body: Any) -> dict[str, Any]:
    answer = await api.post(f"{ITEM}/{act}?dry_run=true", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_would_happen_is_told_and_nothing_happens(api: httpx.AsyncClient) -> None:
    before = (await api.get(ITEM)).json()
    cancel = await tried(api, "cancel")
    assert (cancel["outcome"], cancel["status"], cancel["code"]) == ("applied", "compensating", None)
    assert cancel["summary"][0] == "the instance would go from running to compensating"
    assert cancel["summary"][-1] == "undone, in this order: reserve"
    assert {"what": "instance", "before": "running", "after": "compensating"} in cancel["changes"]
    pause = await tried(api, "pause")
    assert (pause["summary"], pause["commands"]) == (["the instance would be paused"], [])
    assert (await api.get(ITEM)).json() == before


async def test_commands_that_would_be_sent_are_named(api: httpx.AsyncClient) -> None:
    reply = {"reservation_id": "R-1"}
    skip = await tried(api, "skip", step="reserve", value=reply)
    assert {"step": "charge", "contract": "charge-card", "queue": "payment", "undo": False} in skip["commands"]
    assert "attempt 1 of step 'charge': charge-card would be sent to the queue payment" in skip["summary"]
    assert "step 'reserve' would go from sent to done" in skip["summary"]


async def test_a_denial_is_the_answer_and_not_an_error(api: httpx.AsyncClient) -> None:
    retry = await tried(api, "retry")
    assert (retry["outcome"], retry["status"]) == ("denied", "running")
    assert retry["summary"] == [f"it would be denied: {retry['reason']}"]
    resume = await tried(api, "resume")
    assert (resume["outcome"], resume["changes"]) == ("unchanged", [])


async def test_a_malformed_act_stays_an_error(api: httpx.AsyncClient) -> None:
    wrong = await api.post(f"{ITEM}/skip?dry_run=true", json={"value": {}})
    assert wrong.status_code == 422
    nobody = await api.post(f"{ITEM}x/pause?dry_run=true")
    assert nobody.status_code == 404
    assert (await api.post(f"{ITEM}/pause?dry_run=perhaps")).json()["field"] == "dry_run"
