"""What an event costs as its mailbox fills: events of one key against events with keys of their own, embedded log.

    python bench/publish.py
    python bench/publish.py --events 2000 --listener held

Events are published one hundred at a time; each hundred is over when the history has every decision about it.
``cpu_ratio`` is the processor time of the same hundred, one key to own keys, both in the same run. ``listener``:
``none``; ``aggregator``, which takes every event; ``held``: a resequencer whose first message never comes, so that it
holds all others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).parent))

import structlog
from pydantic import BaseModel

from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.entity_messages import publication
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, engine, open_base, prepare_topics, running, tune_interpreter
from sagaline.sagas import Aggregator, Event, Resequencer
from sagaline.sagas.process_manager import ProcessManager

HUNDRED = 100
TEXT = "x" * 200


class Part(BaseModel):
    key: str
    number: int
    text: str = TEXT


class Totals(BaseModel):
    count: int = 0


part_long = Event("part", Part, keep=timedelta(hours=1))
part_short = Event("part", Part, keep=timedelta(milliseconds=1))
done, ordered = Event("done", Totals), Event("ordered", Part)


def aggregator(of: Event[Part]) -> ProcessManager[BaseModel]:
    return Aggregator(
        "parts",
        of,
        key=lambda part: part.key,
        part=lambda part: part.number,
        into=Totals,
        add=lambda state, part: Totals(count=state.count + 1),
        complete_when=lambda gathered: False,
        timeout=timedelta(hours=1),
        emits=done,
        result=lambda gathered: gathered.state,
    )


def held(of: Event[Part]) -> ProcessManager[BaseModel]:
    return Resequencer("parts", of, key=lambda part: part.key, number=lambda part: part.number, emits=ordered)


Hundreds = list[tuple[float, float]]
LISTENERS = {"none": None, "aggregator": aggregator, "held": held}


async def hundreds(base: Base, event: Event[Part], events: int, *, one_key: bool, decisions: int) -> Hundreds:
    """Milliseconds per event of each hundred: of a clock, and of processor time."""
    tail = await base.log.tail([base.topics.history], "latest")
    took: list[tuple[float, float]] = []
    for first in range(0, events, HUNDRED):
        records = []
        for number in range(first, first + HUNDRED):
            key = "one" if one_key else f"own-{number}"
            body = Part(key=key, number=number + 2).model_dump()
            message = publication(event, key, body, id=f"{key}/{number}", source="/bench")
            records.append(
                encode_entity_message(
                    base.topics.inputs, message, source="/bench", now_ms=base.clock.now_ms(), traceparent=None
                )
            )
        began, cpu, seen = perf_counter(), process_time(), 0
        await base.log.append(records)
        while seen < HUNDRED * decisions:
            for each in await tail.poll(max_records=1_000, timeout=1.0):
                seen += b'"timer"' not in (each.value or b"")
            await asyncio.sleep(0)
        took.append(((perf_counter() - began) / HUNDRED * 1e3, (process_time() - cpu) / HUNDRED * 1e3))
    await tail.close()
    return took


async def case(folder: str, name: str, event: Event[Part], options: argparse.Namespace, *, one_key: bool) -> Hundreds:
    settings = Settings(
        log=f"sqlite:///{folder}/{name}.db", namespace=f"b-{name}", partitions=options.partitions, development=True
    )
    listener = LISTENERS[options.listener]
    async with open_base(settings) as base:
        await prepare_topics(base, [])
        part = engine(base, Registry([listener(event)] if listener is not None else []))
        async with running(part.run(), "engine"):
            await part.processes(1)
            tune_interpreter()
            decisions = 1 if listener is None else 2
            return await hundreds(base, event, options.events, one_key=one_key, decisions=decisions)


def rows(options: argparse.Namespace, own: Hundreds, one: Hundreds, keep: str) -> Iterator[dict[str, object]]:
    for at in sorted({0, len(one) // 2, len(one) - 1}):
        yield {
            "listener": options.listener,
            "keep": keep,
            "events": f"{at * HUNDRED}-{(at + 1) * HUNDRED}",
            "own_ms": round(own[at][0], 2),
            "one_ms": round(one[at][0], 2),
            "own_cpu_ms": round(own[at][1], 2),
            "one_cpu_ms": round(one[at][1], 2),
            "cpu_ratio": round(one[at][1] / own[at][1], 2),
        }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--listener", choices=sorted(LISTENERS), default="none")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for keep, event in (("1 ms", part_short), ("1 hour", part_long)):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            own = await case(folder, "own", event, options, one_key=False)
            one = await case(folder, "one", event, options, one_key=True)
        for row in rows(options, own, one, keep):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
