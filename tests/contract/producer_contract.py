"""What a producer does on any log, with a real engine and real workers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from sagaline import Contract, Rejected
from sagaline.client import Producer, SyncProducer
from sagaline.orchestrator import wiring
from sagaline.orchestrator.errors import (
    ConfigurationError,
    InvalidRequest,
    NotYetDecided,
    RequestFailed,
    RequestTimedOut,
    StartConflict,
)
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.ports.log import Record
from sagaline.orchestrator.settings import Settings
from sagaline.sagas import Event, Saga, step
from sagaline.sagas.contract import PRIORITIES, lane_of
from sagaline.workers import Context, SqliteInbox, Worker, WorkerRuntime

__all__ = ["ProducerContract", "ProducerWorld"]

PATIENCE_SECONDS = 30.0
SOON = timedelta(seconds=20)


class Quote(BaseModel):
    item: str
    count: int = 1


class Price(BaseModel):
    cents: int


class Shipped(BaseModel):
    number: int


quote = Contract("quote", Quote, Price, queue="pricing")
shipped = Event("shipped", Shipped)


class Wanted(BaseModel):
    item: str
    price: Price | None = None


@step(quote, into="price")
def ask(s: Wanted) -> Quote:
    return Quote(item=s.item)


buying = Saga("buying", Wanted, flow=[ask])


class ProducerWorld:
    """A namespace; engines, workers and producers come and go, each on a connection of its own."""

    def __init__(self, settings: Settings, base: wiring.Base) -> None:
        self.settings, self.base = settings, base

    @asynccontextmanager
    async def engine(self, *definitions: Saga[Wanted]) -> AsyncIterator[None]:
        async with wiring.open_base(self.settings) as base:
            await wiring.prepare_topics(base, (quote.queue,))
            async with wiring.running(wiring.engine(base, Registry(definitions)).run(), "engine"):
                yield

    @asynccontextmanager
    async def working(self, worker: Worker) -> AsyncIterator[WorkerRuntime]:
        base = self.base
        await wiring.prepare_topics(base, worker.queues)
        await wiring.prepare_subscriptions(base, {(each.options.group, each.topic) for each in worker.subscriptions})
        runtime = WorkerRuntime(worker, base.log, base.topics, base.clock)
        async with wiring.running(runtime.run(), "worker") as run:
            yield runtime
            runtime.stop()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await run

    async def all_of(self, topic: str) -> list[Record]:
        ends = await self.base.log.end_offsets([topic])
        tail = await self.base.log.tail([topic], "earliest")
        found: list[Record] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while any(tail.positions()[place] < end for place, end in ends.items()):
                    found += await tail.poll(max_records=500, timeout=1.0)
        finally:
            await tail.close()
        return found

    async def dead(self) -> list[str]:
        records = await self.all_of(self.base.topics.dead)
        return [dict(record.headers)["dead-reason"].decode() for record in records]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110  # what handlers append tells no loop
            await asyncio.sleep(0.01)


def pricing(seen: list[Quote] | None = None) -> Worker:
    """A worker that quotes: 100 cents for each; ``no`` is rejected, ``broken`` raises."""
    worker = Worker("pricing")

    @worker.handles(quote)
    async def handle(command: Quote, ctx: Context) -> Price:
        if seen is not None:
            seen.append(command)
        if command.item == "no":
            raise Rejected("we do not sell this", code="unknown-item")
        if command.item == "broken":
            raise LookupError("the list is gone")
        return Price(cents=100 * command.count)

    return worker


class ProducerContract:
    @pytest.fixture
    def world(self) -> AsyncIterator[ProducerWorld]:
        raise NotImplementedError("the binding supplies the settings of a namespace")

    async def test_each_of_a_thousand_requests_in_flight_gets_its_own_reply(self, world: ProducerWorld) -> None:
        async with world.working(pricing()), Producer(world.settings) as producer:
            asking = [producer.request(quote, Quote(item="x", count=n), timeout=SOON) for n in range(1_000)]
            answers = await asyncio.gather(*asking)
            assert [answer.cents for answer in answers] == [100 * n for n in range(1_000)]
            assert (producer.in_flight, producer.late_replies) == (0, 0)

    async def test_a_worker_says_no_or_fails(self, world: ProducerWorld) -> None:
        async with world.working(pricing()), Producer(world.settings) as producer:
            with pytest.raises(Rejected, match="we do not sell this") as no:
                await producer.request(quote, Quote(item="no"), timeout=SOON)
            assert no.value.code == "unknown-item"
            with pytest.raises(RequestFailed, match=r"the list is gone.*id='q-1'") as failed:
                await producer.request(quote, Quote(item="broken"), id="q-1", timeout=SOON)
            assert "LookupError" in failed.value.detail

    async def test_a_command_goes_to_the_lane_of_its_priority(self, world: ProducerWorld) -> None:
        lanes = Contract("quote", Quote, Price, queue="laned", priority="normal")
        worker, seen = Worker("laned"), list[tuple[str, int]]()

        @worker.handles(lanes)
        async def handle(command: Quote, ctx: Context) -> Price:
            seen.append((command.item, command.count))
            return Price(cents=command.count)

        async with Producer(world.settings) as producer:
            for each in PRIORITIES:
                for count in range(2):
                    await producer.tell(lanes.at(each), Quote(item=each, count=count), key="k")
            for each in PRIORITIES:
                assert len(await world.all_of(world.base.topics.commands(lane_of("laned", each)))) == 2
            async with world.working(worker):
                answer = await producer.request(lanes.at("low"), Quote(item="last"), key="k", timeout=SOON)
                assert answer.cents == 1
                await until(lambda: len(seen) == 7)
        for each in PRIORITIES:
            assert [count for item, count in seen if item == each] == [0, 1], "in order within a lane"

    async def test_a_late_reply_is_counted_and_not_kept(self, world: ProducerWorld) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        worker = Worker("slow")

        @worker.handles(quote)
        async def handle(command: Quote, ctx: Context) -> Price:
            begun.set()
            await go_on.wait()
            return Price(cents=1)

        async with world.working(worker), Producer(world.settings) as producer:
            asking = asyncio.create_task(producer.request(quote, Quote(item="x"), timeout=SOON))
            await begun.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert producer.in_flight == 0
            go_on.set()
            await until(lambda: producer.late_replies == 1)

    async def test_without_a_worker_a_request_times_out_and_says_what_to_do(self, world: ProducerWorld) -> None:
        async with Producer(world.settings, in_flight_max=1) as producer:
            few = timedelta(seconds=5)
            asking = asyncio.create_task(producer.request(quote, Quote(item="x"), id="q-0", timeout=few))
            await until(lambda: producer.in_flight == 1)
            with pytest.raises(RequestTimedOut, match="was not sent within") as second:
                await producer.request(quote, Quote(item="x"), timeout=timedelta(milliseconds=100))
            with pytest.raises(RequestTimedOut, match=r"id='q-0'.*queue 'pricing'") as first:
                await asking
            assert (first.value.sent, second.value.sent) == (True, False)

    async def test_a_worker_that_is_killed_leaves_the_request_to_the_next_and_the_asker_hears_once(
        self, world: ProducerWorld
    ) -> None:
        begun = asyncio.Event()
        worker = Worker("dying")

        @worker.handles(quote)
        async def handle(command: Quote, ctx: Context) -> Price:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        async with Producer(world.settings) as producer:
            async with wiring.open_base(world.settings) as own:
                await wiring.prepare_topics(own, worker.queues)
                runtime = WorkerRuntime(worker, own.log, own.topics, own.clock)
                async with wiring.running(runtime.run(), "worker"):
                    asking = asyncio.create_task(producer.request(quote, Quote(item="x", count=3), timeout=SOON))
                    await begun.wait()
            async with world.working(pricing()):
                assert (await asking).cents == 300
                again = await producer.request(quote, Quote(item="x", count=4), timeout=SOON)
                assert again.cents == 400
            assert producer.late_replies == 0

    async def test_what_is_told_is_handled_in_order_of_its_key_and_nothing_is_answered(
        self, world: ProducerWorld
    ) -> None:
        seen: list[Quote] = []
        async with world.working(pricing(seen)), Producer(world.settings) as producer:
            for number in range(10):
                await producer.tell(quote, Quote(item="x", count=number), key="k")
            await until(lambda: len(seen) == 10)
            assert [each.count for each in seen] == list(range(10))
        assert await world.all_of(world.base.topics.replies) == []
        assert await world.all_of(world.base.topics.inputs) == []
        assert await world.dead() == []

    async def test_what_is_told_and_not_carried_out_becomes_a_dead_letter(self, world: ProducerWorld) -> None:
        seen: list[Quote] = []
        async with Producer(world.settings) as producer:
            await producer.tell(quote, Quote(item="late"), key="k", expires_after=timedelta(milliseconds=1))
            await producer.tell(quote, Quote(item="no"), key="k")
            await producer.tell(quote, Quote(item="broken"), key="k")
            await producer.tell(quote, Quote(item="x"), key="k")
        worker = pricing(seen)
        worker.clock_skew = timedelta(0)
        async with world.working(worker) as runtime:
            await until(lambda: runtime.counts.completed == 1)
            assert runtime.counts.dead == 3
        assert [each.item for each in seen] == ["no", "broken", "x"]
        late, no, broken = await world.dead()
        assert "after its deadline" in late
        assert "it was rejected: we do not sell this (unknown-item)" in no
        assert "the list is gone" in broken

    async def test_an_event_reaches_its_subscribers(self, world: ProducerWorld) -> None:
        seen: list[int] = []
        worker = Worker("audit")

        @worker.subscribes(shipped)
        async def handle(event: Shipped) -> None:
            seen.append(event.number)

        async with world.engine(), world.working(worker), Producer(world.settings) as producer:
            assert await producer.publish(shipped, "A-1", Shipped(number=1), id="e-1") == "e-1"
            await producer.publish(shipped, "A-1", Shipped(number=1), id="e-1")
            await producer.publish(shipped, "A-1", {"number": 2})
            await until(lambda: 2 in seen)
            assert seen == [1, 2]

    async def test_delayed_messages_come_after_their_time_in_due_order_also_from_the_next_engine(
        self, world: ProducerWorld
    ) -> None:
        seen: list[tuple[int, datetime]] = []
        worker = Worker("audit")

        @worker.subscribes(shipped)
        async def handle(event: Shipped) -> None:
            seen.append((event.number, datetime.now(UTC)))

        async with world.working(worker), Producer(world.settings) as producer:
            now = datetime.now(UTC)
            due = {number: now + timedelta(seconds=4 + number / 2) for number in (1, 2, 3)}
            async with world.engine():
                for number in (3, 1, 2):
                    body = Shipped(number=number)
                    await producer.publish(shipped, "A-1", body, id=f"e-{number}", deliver_at=due[number])
                await producer.publish(shipped, "A-1", Shipped(number=8), id="e-8", deliver_after=SOON)
                await producer.publish(shipped, "A-1", Shipped(number=9), id="e-9", deliver_after=timedelta(hours=1))
                await producer.cancel("e-8", by="ann", reason="not needed")
            await producer.reschedule("e-9", due[3] + timedelta(seconds=1))
            async with world.engine():
                await until(lambda: len(seen) == 4)
        assert [number for number, _ in seen] == [1, 2, 3, 9]
        assert all(at >= due[number] for number, at in seen if number in due)

    async def test_a_delayed_command_has_its_deadline_from_its_delivery(self, world: ProducerWorld) -> None:
        seen: list[Quote] = []
        async with world.engine(), world.working(pricing(seen)), Producer(world.settings) as producer:
            delay, short = timedelta(seconds=1), timedelta(seconds=20)
            await producer.tell(quote, Quote(item="x"), deliver_after=delay, expires_after=short)
            await until(lambda: len(seen) == 1)
        (record,) = await world.all_of(world.base.topics.commands("pricing"))
        headers = dict(record.headers)
        written = datetime.fromisoformat(headers["ce_time"].decode())
        assert int(headers["ce_deadline"]) == round(written.timestamp() * 1000) + 20_000

    async def test_one_id_is_carried_out_once_by_a_worker_with_an_inbox_and_answered_again(
        self, world: ProducerWorld, tmp_path: Path
    ) -> None:
        seen: list[Quote] = []
        worker = pricing(seen)
        worker.inbox = SqliteInbox(tmp_path / "inbox.db")
        async with world.working(worker) as runtime, Producer(world.settings) as producer:
            for _ in range(2):
                assert (await producer.request(quote, Quote(item="x"), id="q-1", timeout=SOON)).cents == 100
                await producer.tell(quote, Quote(item="y"), id="t-1")
            await until(lambda: runtime.counts.completed == 4)
        await worker.inbox.close()
        assert sorted(each.item for each in seen) == ["x", "y"]

    async def test_a_start_whose_key_is_taken_is_rejected_or_attached(self, world: ProducerWorld) -> None:
        async with world.engine(buying), Producer(world.settings) as producer:
            first = await producer.start(buying, "A-1", Wanted(item="x"))
            assert (first.instance, first.created) == ("buying/A-1", True)
            again = await producer.start(buying, "A-1", Wanted(item="x"))
            assert (again.instance, again.created) == ("buying/A-1", False)
            with pytest.raises(StartConflict, match="another input"):
                await producer.start(buying, "A-1", Wanted(item="y"))
            other = await producer.start(buying, "A-1", Wanted(item="y"), conflict="attach")
            assert (other.instance, other.created, other.status) == ("buying/A-1", False, first.status)
        async with Producer(world.settings) as producer:
            with pytest.raises(NotYetDecided):
                await producer.start(buying, "A-2", Wanted(item="x"), wait=timedelta(milliseconds=10))

    async def test_a_start_queues_or_waits_for_quiet(self, world: ProducerWorld) -> None:
        seen: list[Quote] = []
        async with world.engine(buying), Producer(world.settings) as producer:
            await producer.start(buying, "A-1", Wanted(item="first"))
            for created in (True, False):
                next = await producer.start(buying, "A-1", Wanted(item="second"), conflict="queue", id="s-2")
                assert next.created is created
            for item in ("a", "b", "c"):
                id = await producer.start_when_quiet(buying, "A-2", Wanted(item=item), quiet=timedelta(seconds=1))
            never = await producer.start_when_quiet(buying, "A-3", Wanted(item="never"), quiet=timedelta(seconds=1))
            assert never != id
            await producer.cancel(never)
            async with world.working(pricing(seen)):
                await until(lambda: len(seen) == 3)
            with pytest.raises(InvalidRequest, match="give one of 'reject', 'attach', 'queue', 'replace'"):
                await producer.start(buying, "A-1", Wanted(item="x"), conflict="later")  # type: ignore[arg-type]
        assert sorted(each.item for each in seen) == ["c", "first", "second"]

    async def test_a_program_without_an_event_loop_has_the_same(self, world: ProducerWorld) -> None:
        seen: list[Quote] = []

        def program() -> list[int]:
            with SyncProducer(world.settings) as producer:
                producer.tell(quote, Quote(item="told"), key="k")
                with ThreadPoolExecutor(8) as threads:
                    asked = (Quote(item="x", count=n) for n in range(20))
                    answers = list(threads.map(lambda each: producer.request(quote, each, timeout=SOON), asked))
                with pytest.raises(Rejected):
                    producer.request(quote, Quote(item="no"), timeout=SOON)
            with pytest.raises(ConfigurationError, match=r"call open\(\) first"):
                producer.tell(quote, Quote(item="x"))
            producer.close()
            return [each.cents for each in answers]

        async with world.working(pricing(seen)):
            assert await asyncio.to_thread(program) == [100 * n for n in range(20)]
            await until(lambda: any(each.item == "told" for each in seen))

    async def test_wrong_arguments_are_named(self, world: ProducerWorld) -> None:
        async with Producer(world.settings) as producer:
            for field, asked in (
                ("timeout", producer.request(quote, Quote(item="x"), timeout=timedelta(0))),
                ("command", producer.request(quote, Price(cents=1), timeout=SOON)),  # type: ignore[arg-type]
                ("id", producer.tell(quote, Quote(item="x"), id="")),
                ("deliver_at", producer.tell(quote, Quote(item="x"), deliver_at=datetime(2030, 1, 1))),
                ("deliver_after", producer.tell(quote, Quote(item="x"), deliver_after=timedelta(seconds=-1))),
                ("body", producer.tell(quote, Quote(item="x" * 390_000), deliver_after=SOON)),
                ("body.number", producer.publish(shipped, "A-1", {})),
                ("key", producer.publish(shipped, "", Shipped(number=1))),
            ):
                with pytest.raises(InvalidRequest) as wrong:
                    await asked
                assert wrong.value.field == field
