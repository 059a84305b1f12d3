"""Subscriptions under crashes and faults of the log: each group gets each event in order per key, and ends unparked."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline import Retry
from sagaline.sagas import Event
from sagaline.testing import World
from sagaline.workers import Message, Worker

KEYS = ("a", "b", "c", "d")
EVENTS = 6
PATIENT = Retry(max_attempts=1_000, first_delay=timedelta(seconds=1), max_delay=timedelta(seconds=20))


class Counted(BaseModel):
    number: int


counted = Event("counted", Counted)


class Played:
    """A world with two groups whose handlers fail now and then."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seen: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.world = World(workers=self._workers, seed=seed, engines=2)

    def _workers(self, inbox: Any) -> list[Worker]:
        worker = Worker("reader")

        async def handle(event: Counted, message: Message) -> None:
            if self.random.random() < 0.3:
                raise ConnectionError("not now")
            self.seen[message.group, (message.key or b"").decode()].append(event.number)

        worker.subscribes(counted, group="one", retry=PATIENT)(handle)
        worker.subscribes(counted, group="two", retry=PATIENT, delivery="exactly_once")(handle)
        second = Worker("another")
        second.subscribes(counted, group="one", retry=PATIENT)(handle)
        return [worker, second]

    def play(self) -> None:
        for number in range(EVENTS):
            for key in KEYS:
                self.world.publish(counted, Counted(number=number), key=key)
            self.world.advance(seconds=self.random.random() * 10)
            if self.random.random() < 0.5:
                self.world.crash(self.random.choice(("reader", "another", "engine-0", "engine", "")))
        self.world.advance(minutes=30)

    def parked(self) -> list[bytes]:
        """Keys that still have a marker."""
        found: dict[tuple[str, int, bytes], bytes | None] = {}
        for topic, partitions in self.world.broker.snapshot().items():
            if ".parked." in topic:
                for number, records in enumerate(partitions):
                    for record in records:
                        found[topic, number, record.key or b""] = record.value
        return [key for (_, _, key), value in found.items() if value is not None and key.startswith(b"key/")]


@pytest.mark.parametrize("seeds", [range(start, start + 10) for start in range(0, 40, 10)], ids=str)
def test_nothing_is_lost_or_out_of_order(seeds: range) -> None:
    for seed in seeds:
        played = Played(seed)
        with played.world:
            played.play()
            assert set(played.seen) == {(group, key) for group in ("one", "two") for key in KEYS}, f"seed {seed}"
            for (group, key), numbers in played.seen.items():
                first = list(dict.fromkeys(numbers))
                assert first == list(range(EVENTS)), f"seed {seed}: {group} got {numbers} of {key}"
            assert played.parked() == [], f"seed {seed}"
