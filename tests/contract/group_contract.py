"""Laws of groups: engines that share out input partitions, and workers that share the records of their queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from sagaline.orchestrator.errors import TopicMismatch
from sagaline.orchestrator.ports.log import Log, Record, Standing, Subscription, TopicPartition
from sagaline.orchestrator.ports.topics import Topics

from .harness import PATIENCE_SECONDS, QUEUE, LogHarness, batch, out, read

__all__ = ["GroupContract"]


class GroupContract(LogHarness):
    # Engines

    async def test_the_first_member_is_given_every_partition(self, log: Log, topics: Topics) -> None:
        membership = await log.join(topics.inputs, topics.state, "engine")
        everything = frozenset(range(self.partitions))
        assert await self.assigned(membership, lambda found: found == everything) == everything

    async def test_an_unchanged_assignment_is_not_reported_again(self, log: Log, topics: Topics) -> None:
        membership = await self.member(log, topics)
        waiting = asyncio.create_task(membership.changed())
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        waiting.cancel()

    async def test_two_members_share_every_partition(self, log: Log, second_log: Log, topics: Topics) -> None:
        first = await self.member(log, topics)
        second = await second_log.join(topics.inputs, topics.state, f"{topics.namespace}.engine")

        def part(found: frozenset[int]) -> bool:
            return 0 < len(found) < self.partitions

        mine, theirs = await asyncio.gather(self.assigned(first, part), self.assigned(second, part))
        assert mine | theirs == frozenset(range(self.partitions))
        assert not mine & theirs

    async def test_a_member_that_leaves_hands_over_at_once(self, log: Log, second_log: Log, topics: Topics) -> None:
        first = await self.member(log, topics)
        second = await self.member(second_log, topics, lambda found: 0 < len(found) < self.partitions)
        async with asyncio.timeout(10):
            await first.leave()
            await first.leave()
        await self.assigned(second, lambda found: len(found) == self.partitions)
        assert (await second.take(0)).partition == 0

    async def test_it_is_seen_from_outside_who_has_a_partition_and_how_far_it_is_decided(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        group = f"{topics.namespace}.engine"

        async def has_status(owned: bool, offset: int) -> None:
            wanted = dict.fromkeys(range(self.partitions), Standing(owned, 0)) | {0: Standing(owned, offset)}
            found: Mapping[int, Standing] = {}
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while found != wanted:
                        found = await second_log.standing(topics.inputs, topics.state, group)
                        await asyncio.sleep(0.05)
            except TimeoutError:
                pytest.fail(f"it stands {found}, not {wanted}")

        await has_status(owned=False, offset=0)
        await self.fill(log, topics)
        membership = await self.member(log, topics)
        await has_status(owned=True, offset=0)
        owner = await membership.take(0)
        await owner.commit(batch({b"a/1": b"{}"}, offset=3))
        await has_status(owned=True, offset=3)
        await membership.leave()
        await has_status(owned=False, offset=3)

    async def test_how_a_topic_that_is_not_there_stands_is_no_answer(self, log: Log) -> None:
        with pytest.raises(TopicMismatch):
            await log.standing("nothing.inputs", "nothing.state", "nothing.engine")

    # Workers

    async def subscribers(self, *subscriptions: Subscription) -> list[frozenset[TopicPartition]]:
        """Waits until these members, all of one group, hold every partition of the queue, none of it twice."""

        def settled() -> bool:
            held = [partition for s in subscriptions for partition in s.assigned()]
            return all(s.assigned() for s in subscriptions) and sorted(p for _, p in held) == list(
                range(self.partitions)
            )

        async with asyncio.timeout(PATIENCE_SECONDS):
            while not settled():
                polled = await asyncio.gather(*(s.poll(max_records=1, timeout=0.05) for s in subscriptions))
                assert not any(polled), "nothing is appended before the group has settled"
        return [s.assigned() for s in subscriptions]

    async def test_it_is_seen_from_outside_whether_a_queue_is_read(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        queue = topics.commands(QUEUE)

        async def becomes(read: bool) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await second_log.is_read(queue, "readers") is not read:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        await becomes(read=False)
        subscription = await log.subscribe([queue], "readers")
        await self.subscribers(subscription)
        await becomes(read=True)
        await subscription.close()
        await becomes(read=False)
        with pytest.raises(TopicMismatch):
            await log.is_read("nothing.commands", "readers")

    async def test_it_is_seen_from_outside_how_far_a_group_is(self, log: Log, second_log: Log, topics: Topics) -> None:
        queue = topics.commands(QUEUE)
        places = [TopicPartition(queue, partition) for partition in range(self.partitions)]
        assert await second_log.consumed(queue, "readers") == dict.fromkeys(places, 0)
        await log.append([out(queue, b"k", b"v", 1) for _ in range(3)])
        subscription = await log.subscribe([queue], "readers")
        await read(subscription, 3)
        await subscription.commit({places[1]: 2})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await second_log.consumed(queue, "readers"))[places[1]] != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await second_log.consumed(queue, "readers"))[places[0]] == 0
        with pytest.raises(TopicMismatch):
            await log.consumed("nothing.commands", "readers")

    async def test_a_new_group_starts_at_the_earliest_record(self, log: Log, topics: Topics) -> None:
        queue = topics.commands(QUEUE)
        await log.append([out(queue, b"k", str(i).encode(), i % 2) for i in range(10)])
        subscription = await log.subscribe([queue], "workers")
        records = await read(subscription, 10)
        for partition in (0, 1):
            mine = [r.value for r in records if r.partition == partition]
            assert mine == [str(i).encode() for i in range(partition, 10, 2)]
        assert subscription.assigned() == {TopicPartition(queue, p) for p in range(self.partitions)}

    async def test_a_subscription_reads_several_topics(self, log: Log, topics: Topics) -> None:
        subscription = await log.subscribe([topics.commands(QUEUE), topics.history], "workers")
        await log.append([out(topics.commands(QUEUE), b"a", b"1"), out(topics.history, b"a", b"2")])
        assert {r.value for r in await read(subscription, 2)} == {b"1", b"2"}

    async def test_a_waiting_worker_wakes_when_something_is_appended(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        queue = topics.commands(QUEUE)
        subscription = await log.subscribe([queue], "workers")
        await self.subscribers(subscription)
        for writer in (log, second_log):
            waiting = asyncio.create_task(subscription.poll(max_records=10, timeout=PATIENCE_SECONDS))
            await asyncio.sleep(0)
            await writer.append([out(queue, b"k", b"now")])
            async with asyncio.timeout(PATIENCE_SECONDS / 2):
                assert [r.value for r in await waiting] == [b"now"]

    async def test_a_worker_with_nothing_to_read_polls_empty(self, log: Log, topics: Topics) -> None:
        subscription = await log.subscribe([topics.commands(QUEUE)], "workers")
        await self.subscribers(subscription)
        assert await subscription.poll(max_records=10, timeout=0.05) == []

    async def test_each_record_goes_to_one_member_of_a_group(self, log: Log, second_log: Log, topics: Topics) -> None:
        queue = topics.commands(QUEUE)
        first, second = await log.subscribe([queue], "workers"), await second_log.subscribe([queue], "workers")
        mine, theirs = await self.subscribers(first, second)
        await log.append([out(queue, b"k", b"%d.%d" % (p, i), p) for p in range(self.partitions) for i in range(3)])
        to_first, to_second = await asyncio.gather(read(first, 3 * len(mine)), read(second, 3 * len(theirs)))
        values = [r.value for r in to_first + to_second]
        assert len(values) == len(set(values)) == 3 * self.partitions
        assert {TopicPartition(r.topic, r.partition) for r in to_first} == mine

    async def test_every_group_gets_every_record(self, log: Log, second_log: Log, topics: Topics) -> None:
        queue = topics.commands(QUEUE)
        groups = [await log.subscribe([queue], "workers"), await second_log.subscribe([queue], "audit")]
        await log.append([out(queue, b"k", str(i).encode(), i % 2) for i in range(10)])
        for records in await asyncio.gather(*(read(group, 10) for group in groups)):
            assert {r.value for r in records} == {str(i).encode() for i in range(10)}

    async def test_delivery_goes_on_at_the_committed_position(self, log: Log, second_log: Log, topics: Topics) -> None:
        queue = topics.commands(QUEUE)
        await log.append([out(queue, b"k", str(i).encode(), 0) for i in range(5)])
        first = await log.subscribe([queue], "workers")
        records = await read(first, 5)
        await first.commit({TopicPartition(queue, 0): records[2].offset})
        await first.close()
        second = await second_log.subscribe([queue], "workers")
        assert await read(second, 3) == records[2:]

    async def test_what_was_never_committed_is_delivered_again(self, log: Log, topics: Topics) -> None:
        queue = topics.commands(QUEUE)
        await log.append([out(queue, b"k", b"work", 0)])
        first = await log.subscribe([queue], "workers")
        delivered: list[Record] = await read(first, 1)
        await first.close()
        assert await read(await log.subscribe([queue], "workers"), 1) == delivered

    async def test_a_poll_that_is_cancelled_loses_nothing(self, log: Log, topics: Topics) -> None:
        """Whoever waits for nothing but records may stop waiting, commit what it has, and leave."""
        queue = topics.commands(QUEUE)
        first = await log.subscribe([queue], "workers")
        await self.subscribers(first)
        waiting = asyncio.create_task(first.poll(max_records=10, timeout=PATIENCE_SECONDS))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await log.append([out(queue, b"k", b"work", 0)])
        await first.commit({})
        await first.close()
        assert [r.value for r in await read(await log.subscribe([queue], "workers"), 1)] == [b"work"]

    async def test_a_position_of_a_partition_that_left_is_passed_over(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        queue = topics.commands(QUEUE)
        first = await log.subscribe([queue], "workers")
        await self.subscribers(first)
        second = await second_log.subscribe([queue], "workers")
        _, theirs = await self.subscribers(first, second)
        gone = min(theirs)
        await log.append([out(queue, b"k", b"not theirs to skip", gone.partition)])
        await read(second, 1)
        end = (await log.end_offsets([queue]))[gone]
        await first.commit({gone: end})
        await first.close()
        await second.close()
        third = await log.subscribe([queue], "workers")
        assert [r.value for r in await read(third, 1)] == [b"not theirs to skip"]

    async def test_a_member_that_closes_hands_over_its_partitions(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        queue = topics.commands(QUEUE)
        first, second = await log.subscribe([queue], "workers"), await second_log.subscribe([queue], "workers")
        await self.subscribers(first, second)
        async with asyncio.timeout(10):
            await first.close()
            await first.close()
        await self.subscribers(second)
        await log.append([out(queue, b"k", str(p).encode(), p) for p in range(self.partitions)])
        assert len(await read(second, self.partitions)) == self.partitions

    @pytest.mark.parametrize("commit", [dict, lambda: {TopicPartition("nowhere", 0): 1}])
    async def test_committing_nothing_of_ours_is_no_error(
        self, log: Log, topics: Topics, commit: Callable[[], dict[TopicPartition, int]]
    ) -> None:
        subscription = await log.subscribe([topics.commands(QUEUE)], "workers")
        await self.subscribers(subscription)
        await subscription.commit(commit())
