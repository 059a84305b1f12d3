"""kill -9 of the engine in the middle of checkouts on a real broker: every order ends, each charge is made once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from collections import Counter
from pathlib import Path

import pytest

from sagaline.orchestrator.codec.documents import decode_document
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.inputs import JsonObject, Start
from sagaline.orchestrator.ports.log import Tail
from sagaline.orchestrator.ports.topics import POSITION_KEY
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers.examples.ledger import Ledger

from .processes import ENGINE, WORKERS, saga
from .support import read_committed

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

PARTITIONS = 2
ROUNDS = 8 if "SAGALINE_SOAK" in os.environ else 3
ORDERS = 20
SEED = 20_261_123


def order(number: int) -> tuple[str, JsonObject]:
    """Every third order is one that fails at the bank, so that undos are on their way too."""
    customer = "declined" if number % 3 == 0 else "flaky" if number % 5 == 0 else "customer"
    key = f"A-{number}"
    lines: list[JsonObject] = [{"sku": "tea", "quantity": 1}]
    return key, {"order": {"id": key, "customer": customer, "lines": lines, "total_cents": 1_000}}  # type: ignore[dict-item]  # a list of objects is JSON


async def start_orders(base: Base, numbers: range) -> None:
    records = []
    for number in numbers:
        key, value = order(number)
        start = Start(id=uuid.uuid4().hex, definition=checkout.name, key=key, input=value)
        records.append(encode_request(base.topics.inputs, start, source="/test", now_ms=0))
    await base.log.append(records)


async def decisions(tail: Tail, count: int) -> None:
    """Returns when so many more decisions are committed."""
    async with asyncio.timeout(60):
        while count > 0:
            count -= len(await tail.poll(max_records=count, timeout=1.0))


async def all_ended(base: Base, count: int) -> dict[str, Document]:
    """The final documents of so many instances; after three minutes it fails and names those that have not ended."""
    found: dict[str, Document] = {}
    tail = await base.log.tail([base.topics.state], "earliest")
    try:
        async with asyncio.timeout(180):
            while len([d for d in found.values() if d.status.is_final]) < count:
                for record in await tail.poll(max_records=1_000, timeout=1.0):
                    if record.key != POSITION_KEY and record.value is not None:
                        document = decode_document(record.value)
                        found[document.id] = document
    except TimeoutError:
        still = [f"{d.id} {d.status} {d.steps} {d.timers}" for d in found.values() if not d.status.is_final]
        pytest.fail(f"{len(found)} of {count} began, and these have not ended:\n" + "\n".join(still))
    finally:
        await tail.close()
    return found


async def test_every_order_ends_and_is_charged_once_though_the_engine_is_killed_in_the_middle(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    settings = Settings(
        log=f"kafka://{kafka_bootstrap}",
        namespace=f"kill{uuid.uuid4().hex[:8]}",
        partitions=PARTITIONS,
        development=True,
    )
    chance = random.Random(SEED)
    async with open_base(settings) as base:
        await prepare_topics(base, checkout.queues)
        async with saga(WORKERS, settings, tmp_path) as workers:
            await workers.ready()
            for turn in range(ROUNDS):
                async with saga(ENGINE, settings, tmp_path) as engine:
                    await engine.ready()
                    tail = await base.log.tail([base.topics.history], "latest")
                    await start_orders(base, range(turn * ORDERS, (turn + 1) * ORDERS))
                    await decisions(tail, chance.randint(1, ORDERS * 4))
                    await tail.close()
                    await engine.kill()
            async with saga(ENGINE, settings, tmp_path) as engine:
                documents = await all_ended(base, ROUNDS * ORDERS)
                assert await engine.stop() == 0, engine.output
            assert await workers.stop() == 0, workers.output
    ended = {document.key: document.status for document in documents.values()}
    completed = {key for key, status in ended.items() if status is Status.COMPLETED}
    declined = {order(number)[0] for number in range(0, ROUNDS * ORDERS, 3)}
    assert set(ended.values()) == {Status.COMPLETED, Status.COMPENSATED}
    assert not declined & completed
    assert len(completed) > ORDERS, "a carrier that answers late on a busy machine is undone, but not most of them"
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.done_twice() == []
    assert ledger.open_charges() == []
    charged = {id for id, books in ledger.orders().items() if books.charges - books.refunds}
    assert charged == completed
    await asyncio.to_thread(check_with_another_client, kafka_bootstrap, settings)


def check_with_another_client(bootstrap: str, settings: Settings) -> None:
    """librdkafka, read_committed, over all topics: each command once, and a position that names its commit."""
    published: Counter[tuple[str, bytes | None, bytes | None]] = Counter()
    sent: Counter[str] = Counter()
    for partition in range(settings.partitions):
        for queue in checkout.queues:
            for seen in read_committed(bootstrap, f"{settings.namespace}.commands.{queue}", partition):
                published[queue, seen.key, seen.value] += 1
        for seen in read_committed(bootstrap, f"{settings.namespace}.history", partition):
            record = json.loads(seen.value or b"{}")
            sent.update(command["id"] for command in record["sent"])
        state = read_committed(bootstrap, f"{settings.namespace}.state", partition)
        marks = [seen for seen in state if seen.key == POSITION_KEY]
        assert marks
        assert json.loads(marks[-1].value or b"{}")["offset"] > 0
    assert [name for name, count in sent.items() if count > 1] == []
    assert sum(published.values()) == sum(sent.values())
