"""The watch: whether a start can be written and decided, and how long the oldest undecided record waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from sagaline.orchestrator.errors import LogUnavailable, SagalineError, TopicMismatch
from sagaline.orchestrator.ports.log import Batch, Membership, Outgoing, Position, TopicPartition
from sagaline.orchestrator.ports.topics import INPUTS_RETENTION_MS, POSITION_KEY, Topics
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.runtime.watch import OLDEST, Watch
from sagaline.orchestrator.testing import Broker, MemoryLog

GROUP, PARTITIONS = "t.engine", 2


class HandClock:
    """Both clocks in the hands of the test."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def now_ms(self) -> int:
        return int(self.at * 1000)

    def monotonic(self) -> float:
        return self.at

    def new_id(self) -> str:
        return "x"


class Scene:
    """A log in memory with a namespace, a watch that is asked again after each step, and engines played by hand."""

    def __init__(self, broker: Broker, clock: HandClock) -> None:
        self.broker, self.clock, self.topics, self.metrics = broker, clock, Topics("t"), Metrics()
        self.log, self.engines = MemoryLog(broker), MemoryLog(broker)
        self.watch = Watch(self.log, self.topics, clock, self.metrics, group=GROUP)

    async def asked(self, after: timedelta = timedelta(seconds=6)) -> str:
        """What stands in the way, so long after the last question; empty: nothing."""
        self.clock.at += after.total_seconds()
        try:
            await self.watch.check()
        except SagalineError as error:
            return str(error)
        return ""

    async def joined(self) -> Membership:
        membership = await self.engines.join(self.topics.inputs, self.topics.state, GROUP)
        async with asyncio.timeout(5):
            while len(await membership.changed()) < PARTITIONS:
                pass
        return membership

    async def append(self, count: int = 1, partition: int = 0) -> None:
        await self.log.append([Outgoing(self.topics.inputs, b"a/1", b"{}", (), partition)] * count)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock = HandClock()
    found = Scene(Broker(clock), clock)
    await found.log.create_topics(found.topics.specs([], PARTITIONS))
    yield found
    await found.log.close()
    await found.engines.close()


async def test_a_queue_that_no_worker_reads_is_named_until_one_does(scene: Scene) -> None:
    await scene.log.create_topics(scene.topics.specs(["packing", "paying"], PARTITIONS))
    watch = Watch(scene.log, scene.topics, scene.clock, scene.metrics, group=GROUP, queues=["packing", "paying"])
    packer = await scene.engines.subscribe([scene.topics.commands("packing")], "t.worker.packing")
    while not packer.assigned():
        await packer.poll(max_records=1, timeout=0.01)
    await watch.look_for_workers()
    said = "no worker reads queue 'paying': start one (saga worker MODULE:WORKER)"
    assert watch.notices(["packing", "paying", "unknown"]) == [said]
    assert watch.notices(["packing"]) == []
    assert (scene.metrics.values["queues.unread[paying]"], scene.metrics.values["queues.unread[packing]"]) == (1, 0)
    payer = await scene.engines.subscribe([scene.topics.commands("paying")], "t.worker.paying")
    while not payer.assigned():
        await payer.poll(max_records=1, timeout=0.01)
    await watch.look_for_workers()
    assert watch.notices(["packing", "paying"]) == []


async def decide(membership: Membership, partition: int, offset: int) -> None:
    owner = await membership.take(partition)
    await owner.commit(Batch({}, [], Position(offset, 1)))
    await owner.release()


async def test_without_an_engine_no_start_is_decided_and_it_is_said(scene: Scene) -> None:
    assert await scene.asked() == "no engine owns partition 0, 1 of t.inputs: start one (saga run)"
    membership = await scene.joined()
    assert await scene.asked(timedelta()) == "", "what stood in the way is looked at again at once"
    await membership.leave()
    assert await scene.asked(timedelta(seconds=4)) == "", "what was fine a moment ago counts as fine"
    assert "no engine owns" in await scene.asked(timedelta(seconds=2))


async def test_a_partition_that_stands_still_with_something_to_decide_is_named(scene: Scene) -> None:
    membership = await scene.joined()
    await scene.append(3, partition=1)
    assert await scene.asked() == ""
    assert await scene.asked(timedelta(seconds=19)) == ""
    assert await scene.asked() == "partition 1 at offset 0 of t.inputs is stopped: the log of its engine says why"
    await decide(membership, 1, 2)
    assert await scene.asked() == "", "it moves"
    assert "partition 1 at offset 2" in await scene.asked(timedelta(seconds=21))
    await decide(membership, 1, 3)
    assert await scene.asked() == ""
    assert await scene.asked(timedelta(hours=1)) == "", "nothing to decide is no standing still"
    await scene.append(1, partition=1)
    assert await scene.asked() == "", "it has only just come"


async def test_a_mark_of_a_transaction_at_the_end_is_nothing_to_decide(scene: Scene) -> None:
    """As on Kafka: what an engine tells another partition ends in a mark, which the position never passes."""
    membership = await scene.joined()
    owner = await membership.take(0)
    await owner.commit(Batch({}, [Outgoing(scene.topics.inputs, b"a/1", b"{}", (), 1)], Position(0, 1)))
    await decide(membership, 1, 1)
    assert (await scene.log.end_offsets([scene.topics.inputs]))[TopicPartition("t.inputs", 1)] == 2
    for _ in range(6):
        assert await scene.asked() == ""
    assert scene.metrics.values[OLDEST] == 0
    assert scene.metrics.values["inputs.lag[1]"] == 1, "a mark counts: alarm on what grows, or on the age"


async def test_a_log_that_cannot_be_written_is_said_with_its_reason(scene: Scene) -> None:
    await scene.joined()
    scene.broker.fill_disk(60)
    assert "full" in await scene.asked()
    scene.log.cut()
    assert "not reachable" in await scene.asked()
    scene.log.mend()


async def test_an_engine_of_this_process_whose_clock_contradicts_others_is_said(scene: Scene) -> None:
    membership = await scene.joined()
    alarms: list[str | None] = ["this host's clock is 3600 s ahead"]
    watch = Watch(scene.log, scene.topics, scene.clock, scene.metrics, group=GROUP, alarm=lambda: alarms[-1])
    with pytest.raises(LogUnavailable, match="3600 s ahead"):
        await watch.check()
    alarms.append(None)
    scene.watch = watch
    assert await scene.asked() == ""
    await membership.leave()


async def test_a_position_that_cannot_be_read_is_said_with_its_place(scene: Scene) -> None:
    membership = await scene.joined()
    await scene.log.append([Outgoing(scene.topics.state, POSITION_KEY, b"not JSON", (), 1)])
    with pytest.raises(LogUnavailable, match=r"t\.state/1"):
        await scene.watch.check()
    await membership.leave()


async def test_a_topic_that_is_not_there_is_said(scene: Scene) -> None:
    other = Watch(scene.log, Topics("other"), scene.clock, Metrics(), group=GROUP)
    with pytest.raises(TopicMismatch, match=r"other\.namespace"):
        await other.check()


async def test_a_caller_that_goes_away_in_the_middle_leaves_nothing_that_counts_as_fine(scene: Scene) -> None:
    scene.log.pause()
    asking = asyncio.create_task(scene.watch.check())
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    scene.log.mend()
    with pytest.raises(LogUnavailable, match="no engine owns"):
        await scene.watch.check()


@pytest.mark.parametrize(("share", "warned"), [(0.2, 0), (0.3, 1), (0.9, 1)])
async def test_records_that_wait_undecided_are_warned_about_before_retention_takes_them(
    scene: Scene, share: float, warned: int
) -> None:
    await scene.append()
    await scene.asked()
    with capture_logs() as lines:
        await scene.asked(timedelta(milliseconds=INPUTS_RETENTION_MS * share))
        for _ in range(3):
            await scene.asked(timedelta(minutes=1))
    assert [line["event"].startswith("records of inputs wait undecided") for line in lines] == [True] * warned
    age_ms = scene.metrics.values[OLDEST] * 1000
    assert INPUTS_RETENTION_MS * share < age_ms < INPUTS_RETENTION_MS * share + 600_000
    with capture_logs() as lines:
        await scene.asked(timedelta(hours=2))
    assert len(lines) == warned, "once an hour"


async def test_partitions_are_named_up_to_a_bound() -> None:
    clock = HandClock()
    scene = Scene(Broker(clock), clock)
    await scene.log.create_topics(scene.topics.specs([], 12))
    assert "partition 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more of t.inputs" in await scene.asked()
