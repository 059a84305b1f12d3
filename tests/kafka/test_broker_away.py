"""The broker is away while checkouts run: engine and workers wait, and every order ends afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import open_base, prepare_topics
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers.examples.ledger import Ledger

from .processes import ENGINE, WORKERS, saga
from .test_engine_killed import all_ended, check_with_another_client, decisions, start_orders

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

AWAY_SECONDS = 30
"""Longer than any client of the log is silent (ten seconds) and than a member keeps its partitions (six)."""
ORDERS = 40


async def test_orders_go_on_after_the_broker_was_killed_and_away_for_longer_than_any_deadline(
    breakable_broker: Any, tmp_path: Path
) -> None:
    settings = Settings(
        log=f"kafka://{breakable_broker.address}",
        namespace=f"away{uuid.uuid4().hex[:8]}",
        partitions=2,
        development=True,
    )
    async with open_base(settings) as base:
        await prepare_topics(base, checkout.queues)
        async with saga(WORKERS, settings, tmp_path) as workers, saga(ENGINE, settings, tmp_path) as engine:
            await asyncio.gather(workers.ready(), engine.ready())
            tail = await base.log.tail([base.topics.history], "latest")
            await start_orders(base, range(ORDERS))
            await decisions(tail, ORDERS)
            await tail.close()
            await asyncio.to_thread(breakable_broker.kill)
            await asyncio.sleep(AWAY_SECONDS)
            await asyncio.to_thread(breakable_broker.start)
            documents = await all_ended(base, ORDERS)
            assert await engine.stop() == 0, engine.output
            assert await workers.stop() == 0, workers.output
    statuses = Counter(document.status.value for document in documents.values())
    assert sum(statuses.values()) == ORDERS
    assert set(statuses) <= {"completed", "compensated"}
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.done_twice() == []
    assert ledger.open_charges() == []
    await asyncio.to_thread(check_with_another_client, breakable_broker.address, settings)
