"""The API is killed again and again while readers of every transport follow the feed: each sees everything once."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from sagaline.orchestrator import wiring
from sagaline.orchestrator.client import Client
from sagaline.orchestrator.errors import TransientError
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.sagas.examples.order_checkout import checkout

from ..feed_readers import KINDS, Reader, differences, reading, written
from ..kafka.processes import saga
from ..unit.stack import order

CHECKOUT = "sagaline.sagas.examples.order_checkout:checkout"
SOAK = os.environ.get("SAGALINE_SOAK") == "1"
KILLS, BETWEEN_SECONDS, EACH = (20, 15, 100) if SOAK else (3, 1, 10)
WAITERS = 1_000 if SOAK else 100
NOTHING = "missed 0, doubled 0, reordered 0"


@asynccontextmanager
async def deciding(settings: Settings) -> AsyncIterator[tuple[wiring.Base, Client]]:
    """An engine and a client in this process."""
    registry = Registry([checkout])
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(wiring.open_base(settings))
        await wiring.prepare_topics(base, registry.queues)
        engine = wiring.engine(base, registry)
        await stack.enter_async_context(wiring.running(engine.run(), "engine"))
        yield base, await stack.enter_async_context(wiring.client(base, registry, engine))


async def cursor_of_now(url: str) -> str:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        answer = await http.get("/v1/events")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["cursor"])


async def starts(client: Client) -> None:
    """One instance after the other, some of which are cancelled."""
    number = 0
    while True:
        key = f"A-{number}"
        number += 1
        try:
            await client.start("order-checkout", order(key), key=key)
            if number % 5 == 0:
                await client.cancel(f"order-checkout/{key}")
        except TransientError:
            continue
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def until_all_have(readers: list[Reader], count: int) -> None:
    """Every reader has seen so many events; a test that waits for more than there are says how many they have."""
    try:
        async with asyncio.timeout(300 if SOAK else 40):
            while any(len(each.seen) < count for each in readers):  # noqa: ASYNC110  # of other processes
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"not {count} events, but {[len(each.seen) for each in readers]}")


@pytest.mark.slow
@pytest.mark.timeout(1_800 if SOAK else 300)
@pytest.mark.long
async def test_nothing_is_missed_doubled_or_reordered_while_the_api_is_killed(tmp_path: Path) -> None:
    settings = Settings(log=f"sqlite:///{tmp_path / 'log.db'}", development=True)
    port = free_port()
    url, api = f"http://127.0.0.1:{port}", ("api", CHECKOUT, "--port", str(port))
    async with deciding(settings) as (base, client), asyncio.timeout(1_700 if SOAK else 280):
        async with saga(api, settings, tmp_path) as process:
            await process.ready()
            cursor = await cursor_of_now(url)
            readers = [kind(url, cursor) for kind in KINDS.values() for _ in range(EACH)]
            await process.kill()
        async with reading(readers), wiring.running(starts(client), "starts") as busy:
            for _ in range(KILLS):
                async with saga(api, settings, tmp_path) as process:
                    await process.ready()
                    await until_all_have(readers, 1 + min(len(each.seen) for each in readers))
                    await asyncio.sleep(BETWEEN_SECONDS)
                    await process.kill()
            assert not busy.done()
            busy.cancel()
            await asyncio.wait([busy])
            expected = await written(base.log, base.topics.history)
            async with saga(api, settings, tmp_path) as process:
                await process.ready()
                await until_all_have(readers, sum(map(len, expected.values())))
        found = [differences(each, expected) for each in readers]
        assert found == [NOTHING] * len(readers)
        assert all(each.begun > KILLS for each in readers)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.long
async def test_many_requests_wait_at_once_and_one_event_answers_them_all(tmp_path: Path) -> None:
    settings = Settings(log=f"sqlite:///{tmp_path / 'log.db'}", development=True)
    port = free_port()
    url, api = f"http://127.0.0.1:{port}", ("api", CHECKOUT, "--port", str(port))
    limits = httpx.Limits(max_connections=WAITERS, max_keepalive_connections=WAITERS)
    async with deciding(settings) as (_, client), saga(api, settings, tmp_path) as process, asyncio.timeout(280):
        await process.ready()
        cursor = await cursor_of_now(url)
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
            query = {"after": cursor, "wait": "60", "type": "completed"}
            others = [asyncio.create_task(http.get("/v1/events", params=query)) for _ in range(WAITERS // 2)]
            query = {"after": cursor, "wait": "60", "type": "compensating"}
            ours = [asyncio.create_task(http.get("/v1/events", params=query)) for _ in range(WAITERS // 2)]
            await client.start("order-checkout", order("A-1"), key="A-1")
            await asyncio.sleep(BETWEEN_SECONDS)
            await client.cancel("order-checkout/A-1")
            for answer in await asyncio.gather(*ours):
                assert [each["subject"] for each in answer.json()["events"]] == ["order-checkout/A-1"]
            assert not any(each.done() for each in others)
            assert await process.stop() == 0
            assert {len(each.json()["events"]) for each in await asyncio.gather(*others)} == {0}
