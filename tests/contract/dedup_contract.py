"""What a subscription drops as a duplicate, on any log."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sagaline.workers import Dedup, Message, Worker

from .subscription_contract import QUICK, Shipped, SubscriptionWorld, counted, shipped, until

__all__ = ["DedupContract"]


class DedupContract:
    async def test_a_duplicate_is_dropped_also_by_the_next_owner(self, world: SubscriptionWorld) -> None:
        def worker(seen: list[int]) -> Worker:
            declared = Worker("w")

            @declared.subscribes(shipped, dedup=Dedup(within=timedelta(hours=1)))
            async def handle(event: Shipped, message: Message) -> None:
                seen.append(event.number)
                message.publish(counted, "all", event)

            return declared

        first: list[int] = []
        await world.publish(("a", 1), ("a", 2), ("a", 1), ("a", 1), ("a", 3))
        async with world.running(worker(first)):
            await until(lambda: 3 in first)
        assert first == [1, 2, 3]
        await world.publish(("a", 2), ("a", 4))
        second: list[int] = []
        async with world.running(worker(second)):
            await until(lambda: 4 in second)
        assert second == [4]
        assert len(await world.all_of(world.topics.inputs)) == 4, "a duplicate publishes nothing"

    async def test_copies_that_wait_for_the_outcome_of_the_first_leave_the_handlers_to_others(
        self, world: SubscriptionWorld
    ) -> None:
        seen: list[int] = []
        gate = asyncio.Event()
        worker = Worker("w", concurrency=2)

        @worker.subscribes(shipped, dedup=Dedup(within=timedelta(hours=1), by="number"))
        async def handle(event: Shipped) -> None:
            seen.append(event.number)
            if event.number == 1:
                await gate.wait()

        await world.publish(*((key, 1) for key in "acegikmo"))  # of one partition, as all keys here
        async with world.running(worker):
            await until(lambda: seen == [1])
            await world.publish(("q", 2), ("s", 1))
            await until(lambda: seen == [1, 2])
            gate.set()
            await world.publish(("u", 3))
            await until(lambda: seen == [1, 2, 3])

    async def test_a_copy_that_waited_is_not_begun_when_the_worker_stops(self, world: SubscriptionWorld) -> None:
        tried: list[str] = []
        gate = asyncio.Event()
        worker = Worker("w")

        @worker.subscribes(shipped, dedup=Dedup(within=timedelta(hours=1), by="number"))
        async def handle(event: Shipped, message: Message) -> None:
            tried.append((message.key or b"").decode())
            if event.number == 1:
                await gate.wait()
                raise ConnectionError("not now")

        await world.publish(("a", 1), ("c", 1))
        async with world.running(worker) as (runtime, run):
            await until(lambda: tried == ["a"])
            await world.publish(("e", 2))
            await until(lambda: tried == ["a", "e"])
            runtime.stop()
            gate.set()
            await run
        assert tried == ["a", "e"]

    async def test_a_message_whose_first_attempts_fail_is_no_duplicate_of_itself(
        self, world: SubscriptionWorld
    ) -> None:
        tried: list[int] = []
        worker = Worker("w")

        @worker.subscribes(shipped, retry=QUICK, dedup=Dedup(within=timedelta(hours=1), by="number"))
        async def handle(event: Shipped, message: Message) -> None:
            tried.append(event.number)
            if event.number == 1 and message.attempt < 3:
                raise ConnectionError("not yet")

        await world.publish(("a", 1), ("a", 1), ("a", 2))
        async with world.engine(), world.running(worker):
            await until(lambda: 2 in tried)
        assert tried == [1, 1, 1, 2]
