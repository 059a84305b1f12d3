"""Two API nodes on a real broker, each with a read model of its own: a cursor of one continues on the other."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sagaline.api import create_app
from sagaline.orchestrator import wiring
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.sagas.examples.order_checkout import checkout
from tests.feed_readers import written
from tests.unit.stack import order

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(180)]

STARTS = 30


@asynccontextmanager
async def node(
    settings: Settings, *, engine: bool = False
) -> AsyncIterator[tuple[wiring.Base, Client, httpx.AsyncClient]]:
    registry = Registry([checkout])
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(wiring.open_base(settings))
        await wiring.prepare_topics(base, registry.queues)
        if engine:
            await stack.enter_async_context(wiring.running(wiring.engine(base, registry).run(), "engine"))
        client = await stack.enter_async_context(wiring.client(base, registry, serves=True))
        transport = httpx.ASGITransport(create_app(client, clock=SystemClock()))
        yield (
            base,
            client,
            await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://localhost")),
        )


async def pages(api: httpx.AsyncClient, cursor: str, until: int, limit: int = 7) -> list[tuple[str, str]]:
    """The events after a cursor, with the cursor after each, until there are so many."""
    found: list[tuple[str, str]] = []
    while len(found) < until:
        answer = await api.get("/v1/events", params={"after": cursor, "limit": limit, "wait": "30"})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["events"], f"{len(found)} of {until} events"
        found += [(each["id"], each["cursor"]) for each in page["events"]]
        cursor = page["cursor"]
    return found


async def test_a_cursor_of_one_node_continues_on_the_other_and_on_one_that_was_just_started(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    def settings(name: str) -> Settings:
        return Settings(
            log=f"kafka://{kafka_bootstrap}",
            namespace=f"f{namespace}",
            partitions=2,
            development=True,
            read_model=f"sqlite:///{tmp_path / name}.db",
        )

    namespace = uuid.uuid4().hex[:12]
    async with node(settings("one"), engine=True) as (base, client, one), node(settings("two")) as (_, _, two):
        cursor = (await one.get("/v1/events")).json()["cursor"]
        keys = [f"A-{number}" for number in range(STARTS)]
        for key in keys:
            await client.start("order-checkout", order(key), key=key)
        expected = await written(base.log, base.topics.history)
        count = sum(map(len, expected.values()))
        assert count == STARTS
        whole = await pages(one, cursor, count)
        for taken in (0, 1, 11, 29):
            ids = [id for id, _ in whole[:taken]]
            after = whole[taken - 1][1] if taken else cursor
            for api in (one, two):
                ids_after = [id for id, _ in await pages(api, after, count - taken)]
                for partition, places in expected.items():
                    assert [id for id in [*ids, *ids_after] if id.startswith(f"{partition}-")] == places
        async with node(settings("three")) as (_, _, three):
            rest = await pages(three, whole[4][1], count - 5)
            assert sorted([*(id for id, _ in whole[:5]), *(id for id, _ in rest)]) == sorted(
                id for places in expected.values() for id in places
            )
            waits = asyncio.create_task(pages(three, rest[-1][1], 1))
            await client.start("order-checkout", order("B-1"), key="B-1")
            assert len(await waits) == 1
