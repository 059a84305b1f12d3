"""kill -9 of subscribers and of the engine on a real broker: each group gets what its ``delivery`` promises."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sagaline.orchestrator.codec.entities import decode_entity, encode_entity_message
from sagaline.orchestrator.messages.entities import Parcel, ParcelStatus
from sagaline.orchestrator.messages.entity_messages import publication
from sagaline.orchestrator.messages.parcels import Redrive
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import Base, open_base, prepare_topics

from .killed_workers import LINES, SEED, counted, lines
from .processes import Crew
from .support import read_committed

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

PARTITIONS = 2
KEYS = tuple(f"k{number}" for number in range(16))
VICTIMS = (("first",), ("engine", "second"), ("first", "second"))
EACH, LAST = 15, 40
"""Events of a key before each kill, and after the last one, when the group has its new owners."""
KILLED = len(VICTIMS) * EACH
NUMBERS = range(KILLED + LAST)
WORKER = ("worker", "tests.kafka.killed_workers:worker")
CREW = {"engine": ("run",), "first": WORKER, "second": WORKER}


async def publish(base: Base, numbers: Sequence[int]) -> None:
    """Events of all keys, by way of the engine."""
    records: list[Outgoing] = []
    for number in numbers:
        for key in KEYS:
            event = publication(counted, key, {"key": key, "number": number}, id=f"{key}-{number}")
            records.append(encode_entity_message(base.topics.inputs, event, source="/test", now_ms=0, traceparent=None))
    await base.log.append(records)


async def until(fulfilled: Callable[[], bool], what: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(120):
            while not fulfilled():  # noqa: ASYNC110  # other processes work
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"it did not come to that within two minutes: {what()}")


async def redrive_parked_keys(base: Base) -> None:
    """What an operator does with a message that three killed processes had at work. Never returns."""
    tail = await base.log.tail([base.topics.state], "earliest")
    while True:
        for record in await tail.poll(max_records=1_000, timeout=1.0):
            if record.value is None or record.key is None or not record.key.startswith(b"@parcel/"):
                continue
            parcel = decode_entity(record.value)
            if isinstance(parcel, Parcel) and parcel.status is ParcelStatus.PARKED:
                request = Redrive(id=f"{parcel.id}-{parcel.revision}", instance=parcel.id)
                await base.log.append(
                    [encode_entity_message(base.topics.inputs, request, source="/test", now_ms=0, traceparent=None)]
                )


class Copies:
    """How many different copies are published, seen as they come."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    async def follow(self, base: Base) -> None:
        """Never returns."""
        tail = await base.log.tail([base.topics.events], "earliest")
        while True:
            for record in await tail.poll(max_records=1_000, timeout=1.0):
                body = json.loads(record.value or b"")
                if "copy_of" in body:
                    self.seen.add((body["key"], body["copy_of"]))


async def test_killed_subscribers_keep_what_each_delivery_promises(kafka_bootstrap: str, tmp_path: Path) -> None:
    settings = Settings(
        log=f"kafka://{kafka_bootstrap}",
        namespace=f"kill{uuid.uuid4().hex[:8]}",
        partitions=PARTITIONS,
        development=True,
    )
    path, chance, copies = tmp_path / "lines", random.Random(SEED), Copies()
    wanted = {(key, number) for key in KEYS for number in NUMBERS}
    last = {(key, number) for key, number in wanted if number >= KILLED}

    def handled() -> set[tuple[str, int]]:
        return set(lines(path, "least"))

    def missing() -> dict[str, list[tuple[str, int]]]:
        found = {"exactly": wanted - copies.seen, "least": wanted - handled(), "most": last - {*lines(path, "most")}}
        return {group: sorted(those)[:50] for group, those in found.items()}

    async with open_base(settings) as base:
        await prepare_topics(base, ())
        following = [asyncio.create_task(each) for each in (redrive_parked_keys(base), copies.follow(base))]
        async with Crew(CREW, settings, tmp_path, {LINES: str(path)}) as crew:
            for turn, victims in enumerate(VICTIMS):
                await publish(base, NUMBERS[turn * EACH : (turn + 1) * EACH])
                more = len(handled()) + chance.randint(1, EACH * len(KEYS) // 2)
                await until(lambda more=more: len(handled()) >= more, handled)  # type: ignore[misc]
                await crew.kill(*victims)
            before = len(handled())
            await until(lambda: len(handled()) > before, handled)
            await publish(base, NUMBERS[KILLED:])
            await until(lambda: not any(missing().values()), missing)
            await crew.stop()
        for each in following:
            each.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    assert in_order(dict.fromkeys(lines(path, "least"))) == {key: [*NUMBERS] for key in KEYS}
    most = lines(path, "most")
    assert [each for each, count in Counter(most).items() if count > 1] == []
    assert all(numbers == sorted(numbers) for numbers in in_order(most).values())
    sources, published = await asyncio.to_thread(events, kafka_bootstrap, settings)
    assert in_order(sources) == in_order(published) == {key: [*NUMBERS] for key in KEYS}


def in_order(pairs: Sequence[tuple[str, int]] | dict[tuple[str, int], None]) -> dict[str, list[int]]:
    """The numbers of each key."""
    found: dict[str, list[int]] = defaultdict(list)
    for key, number in pairs:
        found[key].append(number)
    return found


def events(bootstrap: str, settings: Settings) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The events that were published, and their copies, as another client library reads them."""
    found: dict[bool, list[tuple[str, int]]] = {False: [], True: []}
    for partition in range(settings.partitions):
        for seen in read_committed(bootstrap, f"{settings.namespace}.events", partition):
            body = json.loads(seen.value or b"")
            is_copy = "copy_of" in body
            found[is_copy].append((body["key"], body["copy_of" if is_copy else "number"]))
    return found[False], found[True]
