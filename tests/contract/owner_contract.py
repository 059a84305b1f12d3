"""Laws of the owner of an input partition: atomic commits, restored documents and position, fencing."""

from __future__ import annotations

import asyncio

import pytest

from sagaline.orchestrator.errors import LogUnavailable, OwnershipLost, SagalineError, ValueTooLarge
from sagaline.orchestrator.ports.log import Log, Owner, Position, Record, Start
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics

from .harness import PATIENCE_SECONDS, QUEUE, LogHarness, batch, contents, of_size, out, position_in, read, read_all

__all__ = ["OwnerContract"]


async def everything(log: Log, topics: Topics) -> list[Record]:
    return sorted(await read_all(log, topics.inputs, topics.state, topics.history, topics.commands(QUEUE)))


class OwnerContract(LogHarness):
    # What an owner reads

    async def test_a_fresh_partition_has_no_documents_and_no_time(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics, 1)
        assert owner.partition == 1
        assert owner.position == Position(0, 0)
        assert await contents(owner) == {}
        assert owner.get(b"a") is None
        assert await owner.poll(max_records=10, timeout=0.05) == []

    async def test_an_owner_polls_its_own_partition_in_order(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", str(i).encode(), i % 2) for i in range(20)])
        owner = await self.owner(log, topics, 1)
        records = await read(owner, 10)
        assert [r.value for r in records] == [str(i).encode() for i in range(1, 20, 2)]
        assert {(r.topic, r.partition) for r in records} == {(topics.inputs, 1)}
        assert [r.offset for r in records] == sorted({r.offset for r in records})

    async def test_an_owners_poll_returns_at_most_what_was_asked(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", str(i).encode(), 0) for i in range(5)])
        owner = await self.owner(log, topics)
        seen: list[Record] = []
        while len(seen) < 5:
            polled = await owner.poll(max_records=2, timeout=PATIENCE_SECONDS)
            assert 0 < len(polled) <= 2
            seen += polled
        assert [r.value for r in seen] == [b"0", b"1", b"2", b"3", b"4"]

    async def test_a_waiting_owner_wakes_when_something_arrives(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        owner = await self.owner(log, topics)
        for writer in (log, second_log):
            waiting = asyncio.create_task(owner.poll(max_records=10, timeout=PATIENCE_SECONDS))
            await asyncio.sleep(0)
            await writer.append([out(topics.inputs, b"k", b"now", 0)])
            async with asyncio.timeout(PATIENCE_SECONDS / 2):
                assert [r.value for r in await waiting] == [b"now"]

    # Where a partition without a position begins

    async def test_a_group_begins_at_the_end_or_at_a_time_if_asked(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", b"early", 0)])
        await asyncio.sleep(0.01)
        await log.append([out(topics.inputs, b"k", b"late", 0)])
        early, late = sorted(await read_all(log, topics.inputs), key=lambda record: record.offset)
        assert early.timestamp_ms < late.timestamp_ms
        begins: list[tuple[Start, int]] = [
            ("earliest", early.offset),
            (late.timestamp_ms, late.offset),
            ("latest", late.offset + 1),
            (late.timestamp_ms + 86_400_000, late.offset + 1),
        ]
        owners = [await self.other_owner(log, topics, f"since-{start}", start) for start, _ in begins]
        assert [owner.position.offset for owner in owners] == [offset for _, offset in begins]
        await log.append([out(topics.inputs, b"k", b"new", 0)])
        for owner, found in zip(
            owners, ([b"early", b"late", b"new"], [b"late", b"new"], [b"new"], [b"new"]), strict=True
        ):
            assert [r.value for r in await read(owner, len(found))] == found

    # Several groups on one topic

    async def test_groups_with_state_topics_of_their_own_do_not_fence_each_other(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        await self.fill(log, topics)
        engine = await self.owner(log, topics)
        other = await self.other_owner(second_log, topics, "audit")
        assert [r.value for r in await read(other, 10)] == [r.value for r in await read(engine, 10)]
        await other.commit(batch({b"seen": b"10"}, [out(topics.history, b"k", b"by audit")], offset=10))
        await engine.commit(batch({b"a": b"{}"}, offset=3))
        assert await contents(engine) == {b"a": b"{}"}
        assert await contents(other) == {b"seen": b"10"}
        successor = await self.other_owner(log, topics, "audit")
        assert (successor.position.offset, await contents(successor)) == (10, {b"seen": b"10"})
        with pytest.raises(SagalineError):
            await other.commit(batch({b"seen": b"11"}, offset=10))
        await engine.commit(batch({b"a": b"2"}, offset=4))

    # What a commit makes visible

    async def test_a_commit_makes_state_appends_and_position_visible(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics, 1)
        appends = [
            out(topics.history, b"a", b"decided"),
            out(topics.commands(QUEUE), b"a", b"reserve"),
            out(topics.inputs, b"b", b"to another entity"),
        ]
        await owner.commit(batch({b"a": b"document"}, appends, 7, 99))
        records = await everything(log, topics)
        assert {(r.topic, r.key, r.value) for r in records if r.key != POSITION_KEY} == {
            (topics.history, b"a", b"decided"),
            (topics.commands(QUEUE), b"a", b"reserve"),
            (topics.inputs, b"b", b"to another entity"),
            (topics.state, b"a", b"document"),
        }
        assert next(r.partition for r in records if r.value == b"document") == 1
        assert position_in(records, 1) == (7, 99)
        assert owner.position == Position(7, 99)
        assert owner.get(b"a") == b"document"
        assert await contents(owner) == {b"a": b"document"}

    async def test_appends_of_a_commit_keep_order_headers_and_partition(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics)
        sent = [out(topics.history, b"a", str(i).encode(), 1) for i in range(30)]
        await owner.commit(batch({}, sent, 1))
        records = await read_all(log, topics.history)
        assert [(r.value, r.headers, r.partition) for r in records] == [(s.value, s.headers, 1) for s in sent]

    async def test_a_commit_without_state_or_appends_moves_the_position(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics)
        await owner.commit(batch({}, [], 3, 5))
        assert owner.position == Position(3, 5)
        assert position_in(await read_all(log, topics.state), 0) == (3, 5)

    async def test_polling_alone_never_moves_the_position(self, log: Log, topics: Topics) -> None:
        await log.append([out(topics.inputs, b"k", b"1", 0), out(topics.inputs, b"k", b"2", 0)])
        membership = await self.member(log, topics)
        owner = await membership.take(0)
        first, second = await read(owner, 2)
        assert owner.position == Position(0, 0)
        await owner.commit(batch({}, [], second.offset))
        await owner.release()
        again = await membership.take(0)
        assert again.position == Position(second.offset, 1)
        assert await read(again, 1) == [second]
        assert first.offset < second.offset

    async def test_later_documents_replace_earlier_ones(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics)
        for i in range(3):
            await owner.commit(batch({b"a": b"%d" % i, b"b%d" % i: b"other"}, [], i))
        assert owner.get(b"a") == b"2"
        assert await contents(owner) == {b"a": b"2", b"b0": b"other", b"b1": b"other", b"b2": b"other"}
        latest = {r.key: r.value for r in await read_all(log, topics.state)}
        assert latest[b"a"] == b"2"

    async def test_a_tombstone_removes_a_document_and_readers_see_it(self, log: Log, topics: Topics) -> None:
        await self.fill(log, topics)
        membership = await self.member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1", b"b": b"2"}, [], 1))
        tail = await log.tail([topics.state], "latest")
        await owner.commit(batch({b"a": None}, [], 2))
        assert owner.get(b"a") is None
        assert await contents(owner) == {b"b": b"2"}
        assert (b"a", None) in {(r.key, r.value) for r in await read(tail, 2)}
        await owner.release()
        again = await membership.take(0)
        assert again.get(b"a") is None
        assert await contents(again) == {b"b": b"2"}

    async def test_a_removed_entity_can_come_back(self, log: Log, topics: Topics) -> None:
        await self.fill(log, topics)
        membership = await self.member(log, topics)
        owner = await membership.take(0)
        for document in (b"1", None, b"2"):
            await owner.commit(batch({b"a": document}, [], 1))
        await owner.release()
        assert await contents(await membership.take(0)) == {b"a": b"2"}

    async def test_the_position_record_is_no_document(self, log: Log, topics: Topics) -> None:
        await self.fill(log, topics)
        membership = await self.member(log, topics)
        owner = await membership.take(0)
        await owner.commit(batch({b"a": b"1"}, [], 4, 8))
        assert set(await contents(owner)) == {b"a"}
        await owner.release()
        again = await membership.take(0)
        assert set(await contents(again)) == {b"a"}
        assert again.position == Position(4, 8)

    async def test_a_poll_during_a_commit_returns_what_has_arrived(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics)
        await log.append([out(topics.inputs, b"k", b"1", 0)])
        assert len(await owner.poll(max_records=10, timeout=PATIENCE_SECONDS)) == 1
        await log.append([out(topics.inputs, b"k", b"2", 0)])
        committing = asyncio.create_task(owner.commit(batch({b"k": b"v"}, offset=1)))
        await asyncio.sleep(0)
        records = await owner.poll(max_records=10, timeout=PATIENCE_SECONDS)
        assert [record.value for record in records] == [b"2"]
        await committing
        assert owner.position.offset == 1
        await owner.release()

    async def test_large_state_is_restored_completely(self, log: Log, topics: Topics) -> None:
        await self.fill(log, topics)
        membership = await self.member(log, topics)
        owner = await membership.take(0)
        documents: dict[bytes, bytes | None] = {b"entity-%d" % i: b"%d" % i * 200 for i in range(1500)}
        await owner.commit(batch(documents, [out(topics.history, b"a", b"x" * 500) for _ in range(500)], 1))
        await owner.release()
        again = await membership.take(0)
        assert await contents(again) == documents
        assert again.get(b"entity-1499") == documents[b"entity-1499"]
        assert len(await read_all(log, topics.history)) == 500

    async def test_owners_of_several_partitions_commit_side_by_side(self, log: Log, topics: Topics) -> None:
        membership = await self.member(log, topics)
        owners = [await membership.take(p) for p in range(self.partitions)]

        async def work(owner: Owner) -> None:
            for i in range(5):
                mine = b"%d.%d" % (owner.partition, i)
                await owner.commit(batch({mine: mine}, [out(topics.history, mine, mine)], i + 1))

        await asyncio.gather(*(work(owner) for owner in owners))
        assert [len(await contents(owner)) for owner in owners] == [5] * self.partitions
        assert len({r.value for r in await read_all(log, topics.history)}) == 5 * self.partitions

    # What a refused commit leaves

    @pytest.mark.parametrize("place", ["state", "appends"])
    async def test_a_record_over_the_limit_leaves_nothing_and_the_owner_usable(
        self, log: Log, topics: Topics, place: str
    ) -> None:
        owner = await self.owner(log, topics)
        await owner.commit(batch({b"a": b"1"}, [], 1))
        before = await everything(log, topics)
        large = b"x" * log.max_value_bytes  # with its key it is over the limit
        state: dict[bytes, bytes | None] = {b"a": b"2", b"b": large if place == "state" else b"small"}
        appends = [out(topics.history, b"a", b"small"), out(topics.history, b"a", large if place == "appends" else b"")]
        with pytest.raises(ValueTooLarge):
            await owner.commit(batch(state, appends, 2))
        assert await everything(log, topics) == before
        assert owner.position == Position(1, 1)
        assert await contents(owner) == {b"a": b"1"}
        await owner.commit(batch({b"a": b"3"}, [], 3))
        assert owner.get(b"a") == b"3"

    async def test_a_document_and_a_record_of_exactly_the_limit_are_taken(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics)
        document = b"x" * (log.max_value_bytes - 1)
        await owner.commit(batch({b"a": document}, [of_size(topics.history, log.max_value_bytes, "header")], 1))
        assert owner.get(b"a") == document
        assert len(await read_all(log, topics.history)) == 1

    async def test_a_second_owner_fences_the_first(self, log: Log, second_log: Log, topics: Topics) -> None:
        await self.fill(log, topics)
        membership = await self.member(log, topics)
        owners = {p: await membership.take(p) for p in range(self.partitions)}
        for owner in owners.values():
            await owner.commit(batch({b"a": b"first"}, [], 1))
        successor = await self.successor(second_log, topics)
        before = await everything(log, topics)
        fenced = owners[successor.partition]
        with pytest.raises(OwnershipLost):
            await fenced.commit(batch({b"a": b"fenced"}, [out(topics.history, b"a", b"fenced")], 2))
        assert await everything(log, topics) == before
        assert successor.position == Position(1, 1)
        assert await contents(successor) == {b"a": b"first"}
        await successor.commit(batch({b"a": b"second"}, [out(topics.history, b"a", b"second")], 3))
        assert [r.value for r in await read_all(log, topics.history)] == [b"second"]

    async def test_a_spent_owner_stays_spent(self, log: Log, second_log: Log, topics: Topics) -> None:
        membership = await self.member(log, topics)
        owners = {p: await membership.take(p) for p in range(self.partitions)}
        successor = await self.successor(second_log, topics)
        fenced = owners[successor.partition]
        for _ in range(2):
            with pytest.raises((OwnershipLost, LogUnavailable)):
                await fenced.commit(batch({b"a": b"fenced"}, [], 2))
        await fenced.release()
        assert await everything(log, topics) == []

    async def test_taking_what_belongs_to_another_member_is_refused(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        membership = await self.member(log, topics)
        successor = await self.successor(second_log, topics)
        await self.assigned(membership, lambda found: successor.partition not in found)
        with pytest.raises(OwnershipLost):
            await membership.take(successor.partition)
        await successor.commit(batch({b"a": b"still mine"}, [], 1))

    async def test_a_topic_that_is_missing_leaves_nothing_of_the_commit(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics)
        appends = [out(topics.history, b"a", b"1"), out(topics.commands("nowhere"), b"a", b"2")]
        with pytest.raises(SagalineError):
            await owner.commit(batch({b"a": b"1"}, appends, 1))
        assert await everything(log, topics) == []
        await owner.release()

    # Giving back

    async def test_a_released_partition_can_be_taken_again_with_everything(self, log: Log, topics: Topics) -> None:
        await self.fill(log, topics)
        membership = await self.member(log, topics)
        for i in range(3):
            owner = await membership.take(1)
            assert owner.position == Position(i, i)
            assert len(await contents(owner)) == i
            await owner.commit(batch({b"a%d" % i: b"v"}, [], i + 1, i + 1))
            await owner.release()

    async def test_releasing_twice_is_releasing(self, log: Log, topics: Topics) -> None:
        owner = await self.owner(log, topics)
        async with asyncio.timeout(5):
            await owner.release()
            await owner.release()

    async def test_what_a_leaving_member_committed_is_there_for_the_next(
        self, log: Log, second_log: Log, topics: Topics
    ) -> None:
        await log.append([out(topics.inputs, b"k", str(i).encode(), 0) for i in range(3)])
        membership = await self.member(log, topics)
        owner = await membership.take(0)
        records = await read(owner, 3)
        await owner.commit(batch({b"a": b"1"}, [], records[2].offset))
        await owner.release()
        await membership.leave()
        successor = await self.owner(second_log, topics, 0)
        assert await contents(successor) == {b"a": b"1"}
        assert await read(successor, 1) == [records[2]]
