"""An aggregator of many parts whose engine is replaced in between: the parts of both count, each once."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.client import Producer
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, engine, open_base, prepare_topics, running
from sagaline.sagas import Aggregator, Event, Gathered

PARTS, BEFORE = 200, 120


class Line(BaseModel):
    number: int
    cents: int


class Totals(BaseModel):
    cents: int = 0


class Invoiced(BaseModel):
    count: int
    cents: int


line, invoiced = Event("line", Line), Event("invoiced", Invoiced)
invoice = Aggregator(
    "invoice",
    line,
    key=lambda _: "I-1",
    part=lambda part: part.number,
    into=Totals,
    add=lambda totals, part: Totals(cents=totals.cents + part.cents),
    complete_when=lambda gathered: gathered.count == PARTS,
    timeout=timedelta(hours=1),
    emits=invoiced,
    result=lambda gathered: Invoiced(count=gathered.count, cents=_cents(gathered)),
)


def _cents(gathered: Gathered[Totals]) -> int:
    return gathered.state.cents


async def emitted(base: Base) -> list[dict[str, Any]]:
    """All results in the topic of events, from its beginning to its end, as soon as there is one."""
    tail = await base.log.tail([base.topics.events], "earliest")
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(30):
            while not found or any(
                tail.positions().get(place, 0) < end
                for place, end in (await base.log.end_offsets([base.topics.events])).items()
            ):
                new = await tail.poll(max_records=500, timeout=1.0)
                found += [json.loads(each.value or b"") for each in new if dict(each.headers)["ce_type"] == b"invoiced"]
        return found
    finally:
        await tail.close()


async def gathered_parts(base: Base, count: int) -> None:
    """Waits until an engine has decided so many parts of the invoice."""
    tail = await base.log.tail([base.topics.history], "earliest")
    decided = 0
    try:
        async with asyncio.timeout(30):
            while decided < count:
                decided += sum(
                    each.key == b"invoice/I-1" and dict(each.headers)["ce_outcome"] == b"applied"
                    for each in await tail.poll(max_records=500, timeout=1.0)
                )
    finally:
        await tail.close()


@pytest.mark.slow  # two engines on one file, one after the other
async def test_parts_before_between_and_after_two_engines_become_one_result(tmp_path: Path) -> None:
    settings = Settings(log=f"sqlite:///{tmp_path / 'log.db'}", partitions=2)
    registry = Registry([invoice])
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(open_base(settings))
        await prepare_topics(base, [])
        producer = await stack.enter_async_context(Producer(settings))

        async def publish(numbers: range) -> None:
            room = asyncio.Semaphore(20)

            async def one(number: int) -> None:
                async with room:
                    await producer.publish(line, "I-1", Line(number=number, cents=number))

            await asyncio.gather(*map(one, numbers))

        async with running(engine(base, registry).run(), "engine"):
            busy = asyncio.create_task(publish(range(BEFORE)))
            await gathered_parts(base, BEFORE // 3)
        await busy  # the engine was ended while they came
        await publish(range(BEFORE - 30, PARTS - 40))  # 30 of them twice, and nobody decides
        async with running(engine(base, registry).run(), "engine"):
            await publish(range(PARTS - 60, PARTS))  # 20 of them twice
            await emitted(base)
        assert await emitted(base) == [{"count": PARTS, "cents": sum(range(PARTS))}]
