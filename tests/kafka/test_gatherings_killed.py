"""kill -9 of the engine between the parts of an aggregator and a resequencer; ended instances are archived once."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.entity_messages import publication
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_subscriptions, prepare_topics

from .gathered import PARTS, raw, totals
from .processes import Crew
from .support import read_committed

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

KEYS = tuple(f"k{number}" for number in range(4))
SEED = 20_261_129
WORKER = ("worker", "tests.kafka.gathered:worker")
CREW = {
    "engine": ("run", "tests.kafka.gathered:totals", "tests.kafka.gathered:sorting"),
    "first": WORKER,
    "second": WORKER,
}


async def publish(base: Base, parts: Iterable[tuple[str, int]]) -> None:
    events = [publication(raw, key, {"key": key, "number": at}, id=f"{key}-{at}") for key, at in parts]
    inputs = base.topics.inputs
    await base.log.append(
        [encode_entity_message(inputs, each, source="/test", now_ms=0, traceparent=None) for each in events]
    )


class Reader:
    """Reads whole topics by another client library."""

    def __init__(self, bootstrap: str, settings: Settings) -> None:
        self._bootstrap, self._settings = bootstrap, settings

    def bodies(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        """The id and the body of each record."""
        found = list[tuple[str, dict[str, Any]]]()
        for partition in range(self._settings.partitions):
            seen = read_committed(self._bootstrap, f"{self._settings.namespace}.{topic}", partition)
            found += [((each.id or b"").decode(), json.loads(each.value or b"{}")) for each in seen]
        return found

    async def until(self, topic: str, count: int, **fields: object) -> list[tuple[str, dict[str, Any]]]:
        """Those that have these fields, as soon as there are so many."""
        async with asyncio.timeout(120):
            while True:
                found = await asyncio.to_thread(self.bodies, topic)
                found = [each for each in found if fields.keys() <= each[1].keys()]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.5)


async def test_a_killed_engine_loses_and_doubles_no_part_and_archives_each_instance_once(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    settings = Settings(
        log=f"kafka://{kafka_bootstrap}", namespace=f"kill{uuid.uuid4().hex[:8]}", partitions=2, development=True
    )
    parts = [(key, number) for key in KEYS for number in range(1, PARTS + 1)]
    random.Random(SEED).shuffle(parts)
    reader, half = Reader(kafka_bootstrap, settings), len(parts) // 2
    async with open_base(settings) as base:
        await prepare_topics(base, ())
        await prepare_subscriptions(base, [("parting", None)])
        async with Crew(CREW, settings, tmp_path, {}) as crew:
            await publish(base, parts[:half])
            await reader.until("events", 1, **dict.fromkeys(("key", "number")))
            await crew.kill("engine")
            await publish(base, parts[half:])
            await reader.until("archive", len(KEYS))
            sums = await reader.until("events", len(KEYS), total=...)
            await reader.until("events", len(parts) * 4)  # as it came, as a part twice, and in its order
            await crew.stop()
        archive = await asyncio.to_thread(reader.bodies, "archive")
    assert sorted((body["key"], body["count"], body["total"]) for _, body in sums) == [
        (key, PARTS, sum(range(1, PARTS + 1))) for key in KEYS
    ]
    archived, last = Counter(id for id, _ in archive), {body["id"]: body for _, body in archive}
    assert set(archived.values()) == {1}
    assert {id: body["status"] for id, body in last.items()} == {f"{totals.name}/{key}": "completed" for key in KEYS}
    ordered = defaultdict(list)
    for id, body in await asyncio.to_thread(reader.bodies, "events"):
        if "sorting/" in id:
            ordered[body["key"]].append(body["number"])
    assert ordered == {key: list(range(1, PARTS + 1)) for key in KEYS}
