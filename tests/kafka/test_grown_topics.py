"""Topics are given more partitions while a saga runs: who runs keeps to the old number, who comes is refused."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from sagaline.orchestrator.errors import TopicMismatch
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import client, open_base, prepare_topics
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers.examples.ledger import Ledger

from .processes import ENGINE, WORKERS, saga
from .test_engine_killed import all_ended, order

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

MADE_WITH, GROWN_TO, ORDERS = 2, 3, 12


def _grow(address: str, namespace: str) -> None:
    """As an operator would, by another tool: ``kafka-topics --alter``."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    names = [f"{namespace}.{name}" for name in ("inputs", "state", "history")]
    for grown in admin.create_partitions([NewPartitions(name, GROWN_TO) for name in names]).values():
        grown.result(10)


async def test_no_key_starts_twice_though_topics_have_grown(kafka_bootstrap: str, tmp_path: Path) -> None:
    settings = Settings(
        log=f"kafka://{kafka_bootstrap}",
        namespace=f"grown{uuid.uuid4().hex[:8]}",
        partitions=MADE_WITH,
        development=True,
        read_model=f"sqlite:///{tmp_path}/read-model.db",
    )
    async with open_base(settings) as base:
        await prepare_topics(base, checkout.queues)
        async with (
            saga(WORKERS, settings, tmp_path) as workers,
            saga(ENGINE, settings, tmp_path) as engine,
            client(base, Registry([checkout])) as asking,
        ):
            await asyncio.gather(workers.ready(), engine.ready())
            orders = [order(number) for number in range(ORDERS)]
            for key, value in orders:
                assert (await asking.start(checkout, value, key=key)).created
            await asyncio.to_thread(_grow, kafka_bootstrap, settings.namespace)
            await asyncio.sleep(1)
            await base.log.partitions(f"{settings.namespace}.unknown")  # the client looks at the cluster again
            for key, value in orders:
                assert not (await asking.start(checkout, value, key=key)).created, f"{key} started twice"
            assert len(await all_ended(base, ORDERS)) == ORDERS
            for said in (MADE_WITH, GROWN_TO):
                async with open_base(settings.model_copy(update={"partitions": said})) as late:
                    with pytest.raises(TopicMismatch, match="fresh namespace"):
                        await prepare_topics(late, checkout.queues)
            assert await engine.stop() == 0, engine.output
            assert await workers.stop() == 0, workers.output
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.done_twice() == []
