"""The behaviour suite of the log port: every adapter passes it by a short subclass that supplies fixtures.

Here: topics, append, tail, and what happens when the other side is gone. Ownership of input partitions is in
owner_contract.py, groups and subscriptions in group_contract.py, namespaces in namespace_contract.py; ``LogContract``
is all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from sagaline.orchestrator.errors import LogUnavailable, TopicMismatch, ValueTooLarge
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Log, Outgoing, TopicPartition, TopicSpec
from sagaline.orchestrator.ports.topics import Topics

from .group_contract import GroupContract
from .harness import PATIENCE_SECONDS, QUEUE, Breakable, LogHarness, batch, key_for, of_size, out, read, read_all
from .namespace_contract import NamespaceLaws
from .owner_contract import OwnerContract

__all__ = ["LogContract"]

T = TypeVar("T")


class TopicLaws(LogHarness):
    async def test_creating_topics_names_those_that_were_missing(self, log: Log, topics: Topics) -> None:
        specs = [*topics.specs([QUEUE], self.partitions), TopicSpec(topics.commands("late"), self.partitions, "delete")]
        assert list(await log.create_topics(specs)) == [topics.commands("late")]

    async def test_creating_topics_again_changes_nothing(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", b"kept")])
        specs = topics.specs([QUEUE], self.partitions)
        assert list(await log.create_topics(specs)) == []
        assert [r.value for r in await read_all(log, topics.inputs)] == [b"kept"]

    async def test_topics_as_specified_pass_the_check(self, log: Log, second_log: Log, topics: Topics) -> None:
        await log.check_topics(topics.specs([QUEUE], self.partitions))
        await second_log.check_topics(topics.specs([QUEUE], self.partitions))

    async def test_a_missing_topic_is_named(self, log: Log, topics: Topics) -> None:
        missing = topics.commands("nowhere")
        with pytest.raises(TopicMismatch, match=missing):
            await log.check_topics([TopicSpec(missing, self.partitions, "delete")])

    async def test_a_topic_with_another_partition_count_is_refused(self, log: Log, topics: Topics) -> None:
        wrong = [TopicSpec(topics.inputs, self.partitions + 1, "delete")]
        with pytest.raises(TopicMismatch, match=topics.inputs) as checked:
            await log.check_topics(wrong)
        assert str(self.partitions) in str(checked.value)
        assert str(self.partitions + 1) in str(checked.value)
        with pytest.raises(TopicMismatch, match=topics.inputs):
            await log.create_topics(wrong)
        assert await log.partitions(topics.inputs) == self.partitions

    async def test_a_topic_with_the_wrong_policy_is_refused(self, log: Log, topics: Topics) -> None:
        wrong = [TopicSpec(topics.state, self.partitions, "delete")]
        with pytest.raises(TopicMismatch, match=topics.state) as checked:
            await log.check_topics(wrong)
        assert "compact" in str(checked.value)
        with pytest.raises(TopicMismatch, match=topics.state):
            await log.create_topics(wrong)

    async def test_a_topic_that_keeps_records_for_less_time_is_refused(self, log: Log, topics: Topics) -> None:
        """Engines that are away for longer than ``inputs`` keeps records would lose starts."""
        name, hour_ms = topics.commands("short"), 3_600_000
        await log.create_topics([TopicSpec(name, self.partitions, "delete", hour_ms)])
        await log.check_topics([TopicSpec(name, self.partitions, "delete", hour_ms)])
        await log.check_topics([TopicSpec(name, self.partitions, "delete", hour_ms - 1)])
        with pytest.raises(TopicMismatch, match=f"{name}.*{hour_ms}.*{2 * hour_ms}"):
            await log.check_topics([TopicSpec(name, self.partitions, "delete", 2 * hour_ms)])

    async def test_every_differing_topic_is_named_at_once(self, log: Log, topics: Topics) -> None:
        wrong = [
            TopicSpec(topics.state, self.partitions, "delete"),
            TopicSpec(topics.commands("nowhere"), self.partitions, "delete"),
        ]
        with pytest.raises(TopicMismatch) as checked:
            await log.check_topics(wrong)
        assert topics.state in str(checked.value)
        assert topics.commands("nowhere") in str(checked.value)

    async def test_the_partitions_of_a_topic_are_known_and_zero_of_a_missing_one(
        self, log: Log, topics: Topics
    ) -> None:
        assert await log.partitions(topics.inputs) == self.partitions
        assert await log.partitions(topics.commands("nowhere")) == 0

    async def test_topics_are_listed(self, log: Log, topics: Topics) -> None:
        listed = await log.topics()
        assert {topics.inputs, topics.state, topics.history} <= {*listed}
        assert topics.commands("nowhere") not in listed


class AppendLaws(LogHarness):
    async def test_records_of_one_call_keep_their_order_per_partition(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", str(i).encode(), i % 2) for i in range(40)])
        records = await read_all(log, topics.inputs)
        for partition in (0, 1):
            mine = [r for r in records if r.partition == partition]
            assert [r.value for r in mine] == [str(i).encode() for i in range(partition, 40, 2)]
            assert [r.offset for r in mine] == sorted({r.offset for r in mine})

    async def test_calls_one_after_the_other_keep_their_order(self, log: Log, topics: Topics) -> None:
        for i in range(5):
            await log.append([out(topics.inputs, b"k", str(i).encode())])
        assert [r.value for r in await read_all(log, topics.inputs)] == [b"0", b"1", b"2", b"3", b"4"]

    async def test_concurrent_calls_all_land_each_in_its_own_order(self, log: Log, topics: Topics) -> None:
        calls = [[out(topics.inputs, b"%d" % c, b"%d.%d" % (c, i)) for i in range(5)] for c in range(20)]
        await asyncio.gather(*(log.append(call) for call in calls))
        records = await read_all(log, topics.inputs)
        assert len(records) == 100
        for c in range(20):
            mine = [r.value for r in records if r.key == b"%d" % c]
            assert mine == [b"%d.%d" % (c, i) for i in range(5)]

    async def test_the_key_chooses_the_partition_as_java_does(self, log: Log, topics: Topics) -> None:
        keys = [f"order-checkout/A-{i}".encode() for i in range(32)]
        await log.append([out(topics.inputs, key) for key in keys])
        found = {r.key: r.partition for r in await read_all(log, topics.inputs)}
        assert found == {key: partition_of(key, self.partitions) for key in keys}

    async def test_an_explicit_partition_wins_over_the_key(self, log: Log, topics: Topics) -> None:
        elsewhere = 1
        await log.append([out(topics.inputs, key_for(0, self.partitions), partition=elsewhere)])
        assert [r.partition for r in await read_all(log, topics.inputs)] == [elsewhere]

    async def test_bytes_come_back_as_they_went_in(self, log: Log, topics: Topics) -> None:
        binary = bytes(range(256))
        headers = (("ce_id", binary), ("empty", b""), ("traceparent", b"00-ab-cd-01"), ("ce_id", b"again"))
        sent = [
            Outgoing(topics.inputs, b"k", binary, headers, 0),
            Outgoing(topics.inputs, None, b"no key", (), 0),
            Outgoing(topics.inputs, b"no value", None, (("h", b"\x1f\x00"),), 0),
            Outgoing(topics.inputs, b"\xff\x00", b"", (), 0),
        ]
        await log.append(sent)
        records = await read_all(log, topics.inputs)
        assert [(r.key, r.value, r.headers) for r in records] == [(s.key, s.value, s.headers) for s in sent]
        assert all(r.topic == topics.inputs and r.timestamp_ms > 0 for r in records)

    async def test_a_record_without_key_and_partition_lands_somewhere(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, None, b"somewhere")])
        assert [r.value for r in await read_all(log, topics.inputs)] == [b"somewhere"]

    @pytest.mark.parametrize("part", ["key", "value", "header", "many headers"])
    async def test_a_record_over_the_limit_writes_nothing_of_its_call(
        self, log: Log, topics: Topics, part: str
    ) -> None:
        large = of_size(topics.inputs, log.max_value_bytes + 1, part)
        with pytest.raises(ValueTooLarge) as refused:
            await log.append([out(topics.inputs, b"k", b"small"), large])
        assert refused.value.size_bytes == log.max_value_bytes + 1
        assert refused.value.limit_bytes == log.max_value_bytes
        await log.append([out(topics.inputs, b"k", b"after")])
        assert [r.value for r in await read_all(log, topics.inputs)] == [b"after"]

    @pytest.mark.parametrize("part", ["key", "value", "header", "many headers"])
    async def test_a_record_of_exactly_the_limit_is_taken(self, log: Log, topics: Topics, part: str) -> None:
        largest = of_size(topics.inputs, log.max_value_bytes, part)
        await log.append([largest])
        found = [(r.key, r.value, r.headers) for r in await read_all(log, topics.inputs)]
        assert found == [(largest.key, largest.value, largest.headers)]

    async def test_appending_to_a_missing_topic_is_refused_with_its_name(self, log: Log, topics: Topics) -> None:
        missing = topics.commands("nowhere")
        with pytest.raises(TopicMismatch, match=missing):
            await log.append([out(missing, b"k")])
        assert await log.partitions(missing) == 0

    async def test_appending_nothing_is_nothing(self, log: Log, topics: Topics) -> None:
        await log.append([])
        assert await read_all(log, topics.inputs) == []


class TailLaws(LogHarness):
    async def test_a_tail_from_earliest_sees_everything_also_of_other_processes(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        await second_log.append([out(topics.inputs, b"a", b"theirs"), out(topics.history, b"a", b"too")])
        tail = await log.tail([topics.inputs, topics.history], "earliest")
        assert {(r.topic, r.value) for r in await read(tail, 2)} == {
            (topics.inputs, b"theirs"),
            (topics.history, b"too"),
        }

    async def test_a_tail_from_latest_sees_only_what_is_appended_after_it_opened(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        await log.append([out(topics.inputs, b"k", b"before", p) for p in range(self.partitions)])
        tail = await log.tail([topics.inputs], "latest")
        await log.append([out(topics.inputs, b"k", b"after", 0)])
        await second_log.append([out(topics.inputs, b"k", b"after, elsewhere", 1)])
        assert {r.value for r in await read(tail, 2)} == {b"after", b"after, elsewhere"}
        assert await tail.poll(max_records=10, timeout=0.05) == []

    async def test_a_tail_goes_on_where_another_stood(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", str(i).encode(), i % 2) for i in range(6)])
        first = await log.tail([topics.inputs], "earliest")
        seen = [r.value for r in await first.poll(max_records=2, timeout=PATIENCE_SECONDS)]
        assert 0 < len(seen) <= 2
        second = await log.tail([topics.inputs], first.positions())
        rest = [r.value for r in await read(second, 6 - len(seen))]
        assert sorted(filter(None, seen + rest)) == [str(i).encode() for i in range(6)]

    async def test_a_partition_left_out_of_the_start_is_read_from_the_earliest(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", str(p).encode(), p) for p in range(2)])
        ends = await log.end_offsets([topics.inputs])
        zero = TopicPartition(topics.inputs, 0)
        tail = await log.tail([topics.inputs], {zero: ends[zero]})
        assert [r.value for r in await read(tail, 1)] == [b"1"]

    async def test_a_tail_of_one_partition_reads_no_other(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", str(p).encode(), p) for p in (0, 1, 0, 1)])
        tail = await log.tail([topics.inputs], "earliest", partitions=[1])
        assert [r.value for r in await read(tail, 2)] == [b"1", b"1"]
        assert list(tail.positions()) == [TopicPartition(topics.inputs, 1)]
        assert await tail.poll(max_records=10, timeout=0.05) == []

    async def test_a_waiting_poll_wakes_when_something_is_appended(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        tail = await log.tail([topics.inputs], "latest")
        for writer in (log, second_log):
            waiting = asyncio.create_task(tail.poll(max_records=10, timeout=PATIENCE_SECONDS))
            await asyncio.sleep(0)
            await writer.append([out(topics.inputs, b"k", b"now")])
            async with asyncio.timeout(PATIENCE_SECONDS / 2):
                assert [r.value for r in await waiting] == [b"now"]

    async def test_a_poll_with_nothing_to_read_ends_empty_near_its_timeout(self, log: Log, topics: Topics) -> None:
        tail = await log.tail([topics.inputs], "earliest")
        started = asyncio.get_running_loop().time()
        assert await tail.poll(max_records=10, timeout=0.1) == []
        assert 0.05 <= asyncio.get_running_loop().time() - started < 1.5

    async def test_a_poll_returns_at_most_what_was_asked(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", str(i).encode(), i % 2) for i in range(10)])
        tail = await log.tail([topics.inputs], "earliest")
        seen = 0
        while seen < 10:
            polled = await tail.poll(max_records=3, timeout=PATIENCE_SECONDS)
            assert 0 < len(polled) <= 3
            seen += len(polled)

    async def test_a_tail_at_the_end_offsets_has_everything(self, log: Log, topics: Topics) -> None:
        assert set((await log.end_offsets([topics.inputs])).values()) == {0}
        await log.append([out(topics.inputs, b"k", b"v", p) for p in (0, 0, 1)])
        ends = await log.end_offsets([topics.inputs, topics.history])
        assert len(ends) == 2 * self.partitions
        tail = await log.tail([topics.inputs, topics.history], "earliest")
        last = {TopicPartition(r.topic, r.partition): r.offset for r in await read(tail, 3)}
        assert all(ends[partition] > offset for partition, offset in last.items())
        assert all(tail.positions()[partition] >= end for partition, end in ends.items())

    async def test_closing_a_tail_twice_is_closing_it(self, log: Log, topics: Topics) -> None:
        tail = await log.tail([topics.inputs], "earliest")
        async with asyncio.timeout(10):
            await tail.close()
            await tail.close()


class GoneLaws(LogHarness):
    """The other side (a broker, the lock of a file) is gone: nothing waits for ever."""

    @pytest.mark.slow
    async def test_writes_raise_within_their_deadline_and_work_again_later(
        self, breakable: Breakable, log: Log, topics: Topics
    ) -> None:
        await breakable.log.append([out(topics.inputs, b"k", b"before")])
        await breakable.cut()
        await self.expect_unavailable(lambda: breakable.log.append([out(topics.inputs, b"k", b"lost or not")]))
        await breakable.mend()
        await self.until_it_works(lambda: breakable.log.append([out(topics.inputs, b"k", b"after")]))
        values = [r.value for r in await self.until_it_works(lambda: read_all(log, topics.inputs))]
        assert (values[0], values[-1]) == (b"before", b"after")

    @pytest.mark.slow
    async def test_a_commit_raises_and_the_next_owner_knows_its_outcome(
        self, breakable: Breakable, topics: Topics
    ) -> None:
        await self.fill(breakable.log, topics)
        membership = await self.member(breakable.log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1"}, [], 1))
        await breakable.cut()
        await self.expect_unavailable(lambda: owner.commit(batch({b"a": b"2"}, [], 2)))
        async with asyncio.timeout(10):
            await owner.release()
            await membership.leave()
        await breakable.mend()
        again = await self.until_it_works(lambda: self.owner(breakable.log, topics))
        assert (again.position.offset, again.get(b"a")) in {(1, b"1"), (2, b"2")}

    @pytest.mark.slow
    async def test_polls_end_and_everything_can_be_closed(self, breakable: Breakable, topics: Topics) -> None:
        tail = await breakable.log.tail([topics.inputs], "earliest")
        subscription = await breakable.log.subscribe([topics.commands(QUEUE)], "workers")
        await breakable.cut()
        for reader in (tail, subscription):
            async with asyncio.timeout(self.deadline_seconds + 1):
                try:
                    assert await reader.poll(max_records=10, timeout=0.05) == []
                except LogUnavailable:
                    pass
        async with asyncio.timeout(10):
            await tail.close()
        async with asyncio.timeout(10):
            await subscription.close()
        async with asyncio.timeout(15):
            await breakable.log.close()
            await breakable.log.close()

    async def expect_unavailable(self, call: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(self.deadline_seconds + 1):
            with pytest.raises(LogUnavailable) as raised:
                await call()
        assert str(raised.value)

    async def until_it_works(self, call: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await call()
                except LogUnavailable:
                    continue


class LogContract(TopicLaws, NamespaceLaws, AppendLaws, TailLaws, GoneLaws, OwnerContract, GroupContract):
    """All laws of the log port."""

    async def test_closing_the_log_twice_is_closing_it(self, second_log: Log, topics: Topics) -> None:
        await second_log.tail([topics.inputs], "earliest")
        await second_log.subscribe([topics.commands(QUEUE)], "workers")
        await self.owner(second_log, topics)
        async with asyncio.timeout(20):
            await second_log.close()
            await second_log.close()
