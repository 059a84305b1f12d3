"""Events from outside: by the client and over HTTP, to those who wait and those who listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.errors import InvalidRequest, UnknownEvent, UnknownInstance
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Document
from sagaline.sagas.examples.order_fulfilment import OrderPaid, OrderPlaced, order_fulfilment, order_paid, order_placed

from .stack import Stack, stack

PLACED: dict[str, Any] = {"order_id": "O-7", "skus": ["book"]}
PAID: dict[str, Any] = {"order_id": "O-7", "amount_cents": 900}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path, registry=Registry([order_fulfilment])) as running_stack:
        yield running_stack


@pytest.fixture
async def api(up: Stack) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(up.client, clock=SystemClock())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def seen(client: Client, revision: int) -> Document:
    """The fulfilment, once it has come so far."""
    async with asyncio.timeout(10):
        while True:
            try:
                document = await client.get("order-fulfilment/O-7")
            except UnknownInstance:
                document = None
            if document is not None and document.revision >= revision:
                return document
            await asyncio.sleep(0.02)


async def test_an_event_comes_to_a_process_manager_and_one_of_the_same_id_comes_once(up: Stack) -> None:
    """Also when it came before the one that begins the process."""
    client = up.client
    assert await client.publish(order_paid, OrderPaid(**PAID), key="O-7", id="pay-81") == "pay-81"
    await client.publish(order_placed, OrderPlaced(**PLACED), key="O-7")
    document = await seen(client, 2)
    await client.publish("order-paid", {**PAID, "amount_cents": 1}, key="O-7", id="pay-81")
    await client.publish("order-called-off", {"order_id": "O-7", "reason": "late"}, key="O-7")
    after = await seen(client, document.revision + 1)
    assert (document.state["paid_cents"], after.state["paid_cents"]) == (900, 900)
    assert after.cause is not None
    assert after.cause.message == "called off: late"


async def test_what_is_no_event_is_refused_before_it_is_written(up: Stack) -> None:
    """Each refusal names the field."""
    with pytest.raises(UnknownEvent, match="there is no event 'order-lost'; there are: order-called-off, order-paid"):
        await up.client.publish("order-lost", {}, key="O-7")
    for body, key, id, field in [
        ({**PAID, "amount_cents": -1}, "O-7", None, "body.amount_cents"),
        ({**PAID, "tip": 1}, "O-7", None, "body.tip"),
        (PAID, "", None, "key"),
        (PAID, "O-7", "", "id"),
        (PAID, "O-7", "x" * 257, "id"),
    ]:
        with pytest.raises(InvalidRequest) as refused:
            await up.client.publish("order-paid", body, key=key, id=id)
        assert refused.value.field == field


async def test_an_event_over_http_is_202_with_its_id(up: Stack, api: httpx.AsyncClient) -> None:
    """It begins a process."""
    answer = await api.post("/v1/events/order-placed", json={"key": "O-7", "id": "e-1", "body": PLACED})
    assert (answer.status_code, answer.json()) == (202, {"id": "e-1", "event": "order-placed", "key": "O-7"})
    assert (await seen(up.client, 1)).managed is not None


async def test_a_wrong_event_over_http_is_told_what_is_wrong(api: httpx.AsyncClient) -> None:
    """404 for an event that nobody knows, 422 for a body that does not fit."""
    unknown = await api.post("/v1/events/nothing", json={"key": "O-7", "body": {}})
    assert (unknown.status_code, unknown.json()["type"].rpartition(":")[2]) == (404, "unknown-event")
    wrong = await api.post("/v1/events/order-paid", json={"key": "O-7", "body": {"order_id": "O-7"}})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "body.amount_cents")
