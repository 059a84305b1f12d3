"""Subscriptions under crashes and faults of the log: each group gets each event in order per key, and ends unparked."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline import Rejected, Retry
from sagaline.sagas import Event
from sagaline.testing import World
from sagaline.workers import Dedup, Message, Worker

WHERE = {"headers": {"prefix": {"subject": "wanted"}}, "body": lambda event: event.number < 10}
HOUR = timedelta(hours=1)
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
@pytest.mark.long
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


@pytest.mark.parametrize("where", WHERE)
def test_what_a_filter_does_not_take_never_expires_and_waits_behind_no_parked_key(where: str) -> None:
    """One handler is slow, so that all others are late; then it fails, and its key waits."""
    tried: list[int] = []

    def workers(inbox: Any) -> list[Worker]:
        worker = Worker("reader", concurrency=1)
        expires, patience = timedelta(seconds=5), Retry(max_attempts=2, first_delay=HOUR, max_delay=HOUR)

        @worker.subscribes(counted, where=WHERE[where], expires_after=expires, retry=patience)
        async def slow(event: Counted) -> None:
            tried.append(event.number)
            await asyncio.sleep(30)
            raise ConnectionError("not now")

        return [worker]

    with World(workers=workers) as world:
        world.publish(counted, Counted(number=1), key="wanted")
        for number in range(10, 20):
            world.publish(counted, Counted(number=number), key=f"other-{number}")
        world.advance(seconds=60)
        for number in range(20, 25):
            world.publish(counted, Counted(number=number), key="wanted" if where == "body" else "other")
        world.advance(seconds=60)
        topics = world.broker.snapshot()
    assert tried == [1]
    assert not any(topics[world.topics.dead])
    posted = [each for part in topics[world.topics.inputs] for each in part if is_posted(each.headers)]
    assert len(posted) == 1


def is_posted(headers: Any) -> bool:
    return dict(headers).get("ce_type") == b"sagaline.entity.posted"


def test_a_retried_message_is_judged_by_its_own_age() -> None:
    """Its copy was handled while it waited for its retry: it is a duplicate, however late the retry is."""
    tried: list[tuple[int, int]] = []

    def workers(inbox: Any) -> list[Worker]:
        worker = Worker("reader")
        window, patience = timedelta(seconds=10), Retry(max_attempts=5, first_delay=timedelta(seconds=30))

        @worker.subscribes(counted, order="none", dedup=Dedup(within=window, by="number"), retry=patience)
        async def handle(event: Counted, message: Message) -> None:
            tried.append((event.number, message.attempt))
            if len(tried) == 1:
                raise ConnectionError("not now")

        return [worker]

    with World(workers=workers) as world:
        world.publish(counted, Counted(number=1), key="k")
        world.advance(seconds=1)
        world.publish(counted, Counted(number=1), key="k")
        world.advance(seconds=60)
    assert tried == [(1, 1), (1, 1)]


def test_the_copy_of_a_message_that_became_a_dead_letter_is_no_duplicate() -> None:
    """Nor is the message itself when it is redriven: it was never handled."""
    tried: list[int] = []

    def workers(inbox: Any) -> list[Worker]:
        worker = Worker("reader")

        @worker.subscribes(counted, dedup=Dedup(within=timedelta(hours=1), by="number"))
        async def handle(event: Counted) -> None:
            tried.append(event.number)
            if len(tried) == 1:
                raise Rejected("not known yet", code="unknown")

        return [worker]

    with World(workers=workers) as world:
        for _ in range(3):
            world.publish(counted, Counted(number=1), key="k")
            world.advance(seconds=1)
    assert tried == [1, 1]
