"""No connection stays open that aiokafka itself loses: when it is collected, that would be a warning, so an error."""

from __future__ import annotations

import asyncio
import gc

import pytest

from sagaline.orchestrator.adapters.kafka_log.driver import Admin, Client, require_sound_driver

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
async def lost() -> list[str]:
    """What aiokafka tells the event loop: that a connection was collected which nobody had closed."""
    told: list[str] = []
    gc.freeze()  # the collections below look only at what comes from now on
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["message"]))
    return told


async def test_a_start_that_is_cancelled_at_any_moment_closes_its_connection(
    kafka_bootstrap: str, lost: list[str]
) -> None:
    require_sound_driver()
    cancelled = 0
    for moment in range(30):
        admin = Admin(bootstrap_servers=kafka_bootstrap)
        start = asyncio.ensure_future(admin.start())
        for _ in range(moment):
            await asyncio.sleep(0.0002)
        start.cancel()
        await asyncio.wait({start})
        cancelled += start.cancelled()
        await admin.close()
        del start, admin
        gc.collect()
    assert cancelled
    assert lost == []


async def test_a_connection_that_is_ready_only_after_its_client_was_closed_is_closed(
    kafka_bootstrap: str, lost: list[str]
) -> None:
    require_sound_driver()
    for moment in range(12):
        client = Client(bootstrap_servers=kafka_bootstrap)
        await client.bootstrap()
        node = next(iter(client.cluster.brokers())).nodeId
        ready = asyncio.ensure_future(client.ready(node))
        for _ in range(moment):
            await asyncio.sleep(0.0002)
        await client.close()
        await asyncio.wait({ready})
        del client, ready
        gc.collect()
    assert lost == []
