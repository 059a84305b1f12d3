"""What a subscription does on any log, with a real engine beside it that keeps the parcels."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline import Rejected, Retry
from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.codec.entities import encode_event
from sagaline.orchestrator.kernel import Limits, Registry
from sagaline.orchestrator.messages.entity_messages import Published, mailbox_id
from sagaline.orchestrator.ports.log import Log, Outgoing, Record, TopicSpec
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.deciding import Deciding
from sagaline.orchestrator.runtime.engine import Engine
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas import Event
from sagaline.workers import Message, Worker, WorkerCrashed, WorkerRuntime
from sagaline.workers.shapes import Normalizer

__all__ = ["PARTITIONS", "QUICK", "Shipped", "SubscriptionContract", "SubscriptionWorld", "counted", "shipped", "until"]

PATIENCE_SECONDS = 30.0
PARTITIONS = 2
QUICK = Retry(max_attempts=3, first_delay=timedelta(milliseconds=20))


class Shipped(BaseModel):
    number: int


class Blobbed(BaseModel):
    number: int
    text: str = ""


shipped = Event("shipped", Shipped)
blobbed = Event("blobbed", Blobbed)
counted = Event("counted", Shipped)


class SubscriptionWorld:
    """One log with an engine; workers come and go."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self.log, self.topics, self.clock = log, topics, SystemClock()

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[None]:
        setup = Deciding(
            registry=Registry([]),
            topics=self.topics,
            partitions=PARTITIONS,
            limits=Limits(),
            tracing=Tracing(),
            metrics=Metrics(),
            max_value_bytes=self.log.max_value_bytes,
        )
        engine = Engine(self.log, setup, self.clock, group=f"{self.topics.namespace}.engine")
        task = asyncio.create_task(engine.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def running(
        self, worker: Worker, tracing: Tracing | None = None
    ) -> AsyncIterator[tuple[WorkerRuntime, asyncio.Task[None]]]:
        for each in worker.subscriptions:
            partitions = await self.log.partitions(each.topic or self.topics.events)
            await self.log.create_topics(self.topics.subscribed(each.options.group, each.topic, partitions))
        runtime = WorkerRuntime(worker, self.log, self.topics, self.clock, tracing)
        run = asyncio.create_task(runtime.run())
        try:
            yield runtime, run
            runtime.stop()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await run
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    async def publish(self, *events: tuple[str, int], event: str = "shipped") -> None:
        """Events of a key as the engine writes them."""
        records = []
        for key, number in events:
            published = Published(
                id=f"{key}-{number}",
                instance=mailbox_id(event, key),
                event=event,
                key=key,
                body={"number": number},
                keep_ms=1_000,
            )
            partition = sum(key.encode()) % PARTITIONS
            records.append(encode_event(self.topics.events, published, partition, source="/test", now_ms=1))
        await self.log.append(records)

    async def all_of(self, topic: str) -> list[Record]:
        ends = await self.log.end_offsets([topic])
        tail = await self.log.tail([topic], "earliest")
        found: list[Record] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while any(tail.positions()[place] < end for place, end in ends.items()):
                    found += await tail.poll(max_records=500, timeout=1.0)
        finally:
            await tail.close()
        return found

    async def dead(self) -> list[str]:
        return [dict(record.headers)["dead-reason"].decode() for record in await self.all_of(self.topics.dead)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110  # what handlers append tells no loop
            await asyncio.sleep(0.01)


class SubscriptionContract:
    @pytest.fixture
    def world(self) -> AsyncIterator[SubscriptionWorld]:
        raise NotImplementedError("the binding supplies an open log with the topics of a namespace")

    async def test_each_group_gets_every_event_of_a_key_in_order(self, world: SubscriptionWorld) -> None:
        seen: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        worker = Worker("parcels")

        @worker.subscribes(shipped)
        async def first(event: Shipped, message: Message) -> None:
            seen["parcels"][(message.key or b"").decode()].append(event.number)

        @worker.subscribes(shipped, group="audit")
        def second(event: Shipped, message: Message) -> None:
            seen[message.group][(message.key or b"").decode()].append(event.number)

        keys = [f"k{number}" for number in range(8)]
        events = [(key, number) for number in range(10) for key in keys]
        await world.publish(*events)
        async with world.running(worker):
            await until(lambda: sum(len(n) for group in seen.values() for n in group.values()) == 2 * len(events))
        assert seen == {group: {key: list(range(10)) for key in keys} for group in ("parcels", "audit")}

    async def test_a_group_continues_where_it_was_and_a_new_one_may_begin_at_the_end(
        self, world: SubscriptionWorld
    ) -> None:
        def worker(group: str, seen: list[int], **options: object) -> Worker:
            declared = Worker("w")

            @declared.subscribes(shipped, group=group, **options)  # type: ignore[arg-type]
            async def handle(event: Shipped) -> None:
                seen.append(event.number)

            return declared

        early: list[int] = []
        await world.publish(("a", 1), ("b", 2))
        async with world.running(worker("g", early)):
            await until(lambda: len(early) == 2)
        await world.publish(("a", 3))
        again: list[int] = []
        late: list[int] = []
        async with world.running(worker("g", again)):
            await until(lambda: again == [3])
        async with world.running(worker("late", late, start="latest")) as (runtime, _):
            assert (runtime.objection or "").startswith("worker 'w': ")
            await until(lambda: all(each.processing == PARTITIONS for each in runtime.consumers))
            assert runtime.objection is None
            await world.publish(("a", 4))
            await until(lambda: late == [4])
        assert again == [3]

    async def test_a_filter_and_a_middleware_stand_before_the_handler(self, world: SubscriptionWorld) -> None:
        seen: list[object] = []
        worker = Worker("w")

        @worker.use
        async def around(message: Message, call_next: Callable[[], object]) -> object:
            seen.append("before")
            result = await call_next()  # type: ignore[misc]
            seen.append("after")
            return result

        @worker.subscribes(shipped, where=lambda event: event.number % 2 == 0)
        async def handle(event: Shipped) -> None:
            seen.append(event.number)

        await world.publish(*(("a", number) for number in range(4)))
        async with world.running(worker):
            await until(lambda: len(seen) == 6)
        assert seen == ["before", 0, "after", "before", 2, "after"]

    async def test_a_filter_on_headers_reads_no_body(self, world: SubscriptionWorld) -> None:
        seen: list[int] = []
        worker = Worker("w")

        @worker.subscribes(shipped, where={"all": [{"prefix": {"subject": "a"}}, {"not": {"suffix": {"id": "-1"}}}]})
        async def handle(event: Shipped) -> None:
            seen.append(event.number)

        unreadable = Outgoing(world.topics.events, b"b", b"{", (("ce_type", b"shipped"), ("ce_subject", b"b")))
        await world.log.append([unreadable])
        await world.publish(("a", 0), ("b", 0), ("a", 1), ("a", 2))
        async with world.running(worker):
            await until(lambda: seen == [0, 2])
        assert await world.dead() == []

    async def test_a_failing_key_waits_in_order_while_others_pass(self, world: SubscriptionWorld) -> None:
        seen: dict[str, list[int]] = defaultdict(list)
        failed: list[tuple[int, int]] = []
        worker = Worker("w")

        @worker.subscribes(shipped, retry=QUICK)
        async def handle(event: Shipped, message: Message) -> None:
            key = (message.key or b"").decode()
            if key.startswith("bad") and event.number % 3 == 0 and message.attempt < 3:
                failed.append((event.number, message.attempt))
                raise ConnectionError("not yet")
            seen[key].append(event.number)

        keys = ["bad-1", "bad-2", "good-1", "good-2"]
        await world.publish(*((key, number) for number in range(10) for key in keys))
        async with world.engine(), world.running(worker):
            await until(lambda: sum(len(n) for n in seen.values()) == 40)
            await world.publish(*((key, 10) for key in keys))
            await until(lambda: sum(len(n) for n in seen.values()) == 44)
        assert seen == {key: list(range(11)) for key in keys}
        assert len(failed) == 2 * 4 * 2

    async def test_a_key_that_waits_holds_up_no_message_of_a_subscription_without_order(
        self, world: SubscriptionWorld
    ) -> None:
        """No engine runs: what waits at a parcel stays there."""
        tried: list[int] = []
        seen: list[int] = []
        worker = Worker("w")

        @worker.subscribes(shipped)
        async def fails(event: Shipped) -> None:
            tried.append(event.number)
            raise ConnectionError("not now")

        @worker.subscribes(blobbed, order="none")
        async def passes(event: Blobbed) -> None:
            seen.append(event.number)

        await world.publish(("k", 1))
        async with world.running(worker):
            await until(lambda: tried == [1])
            await world.publish(("k", 2))
            await world.publish(("k", 3), event="blobbed")
            await until(lambda: seen == [3])
        assert tried == [1]

    async def test_a_key_whose_attempts_are_used_up_is_parked_with_its_successors(
        self, world: SubscriptionWorld
    ) -> None:
        seen: dict[str, list[int]] = defaultdict(list)
        tried: list[int] = []
        worker = Worker("w")

        @worker.subscribes(shipped, retry=QUICK)
        async def handle(event: Shipped, message: Message) -> None:
            key = (message.key or b"").decode()
            if key == "bad":
                tried.append(event.number)
                raise ValueError("never")
            seen[key].append(event.number)

        await world.publish(*((key, number) for number in range(3) for key in ("bad", "good")))
        async with world.engine(), world.running(worker):
            await until(lambda: tried == [0, 0, 0] and seen["good"] == [0, 1, 2])
            await asyncio.sleep(0.2)
        assert tried == [0, 0, 0]

    async def test_what_cannot_be_read_or_is_rejected_or_expired_is_a_dead_letter(
        self, world: SubscriptionWorld
    ) -> None:
        seen: list[int] = []
        worker = Worker("w")

        @worker.subscribes(shipped, expires_after=timedelta(days=1))
        async def handle(event: Shipped) -> None:
            if event.number == 1:
                raise Rejected("not ours", code="foreign")
            seen.append(event.number)

        await world.publish(("a", 1))
        headers = (("ce_type", b"shipped"), ("ce_id", b"bad"))
        await world.log.append([Outgoing(world.topics.events, b"a", b'{"number": "x"}', headers, 1)])
        await world.publish(("a", 2))
        async with world.running(worker):
            await until(lambda: seen == [2])
        reasons = await world.dead()
        assert sorted(reasons) == [
            "group 'w': it does not fit Shipped: number: Input should be a valid integer, unable to parse string as an"
            " integer",
            "group 'w': rejected (foreign): not ours",
        ]

    async def test_published_events_leave_once_with_the_position(self, world: SubscriptionWorld) -> None:
        worker = Worker("w")
        handled: list[int] = []

        @worker.subscribes(shipped, delivery="exactly_once")
        async def handle(event: Shipped, message: Message) -> None:
            message.publish(counted, f"n-{event.number}", Shipped(number=event.number))
            handled.append(event.number)
            if event.number == 7 and handled.count(7) == 1:
                raise SystemExit("killed")

        await world.publish(*((f"k{number}", number) for number in range(20)))
        async with world.engine():
            with pytest.raises(WorkerCrashed):
                async with world.running(worker) as (_, run):
                    await run
            found: list[Record] = []
            async with world.running(worker), asyncio.timeout(PATIENCE_SECONDS):
                while len(found) < 20:
                    await asyncio.sleep(0.02)  # the embedded log is read without giving the engine its turn
                    every = await world.all_of(world.topics.events)
                    found = [record for record in every if dict(record.headers)["ce_type"] == b"counted"]
        assert sorted(int(dict(r.headers)["ce_id"].split(b"/")[-2]) >= 0 for r in found) == [True] * 20
        assert len({record.value for record in found}) == 20

    async def test_records_written_to_a_topic_leave_once_with_the_position(self, world: SubscriptionWorld) -> None:
        topic = f"{world.topics.namespace}-labels"
        await world.log.create_topics([TopicSpec(topic, 3, "delete")])
        worker, calls = Worker("w"), list[int]()

        @worker.subscribes(shipped, delivery="exactly_once", retry=QUICK)
        async def handle(event: Shipped, message: Message) -> None:
            calls.append(event.number)
            wrong = {3: world.topics.history, 4: "t-missing", 5: topic} if message.attempt == 1 else {}
            value: Any = "text" if wrong and event.number == 5 else b"%d" % event.number
            message.write(wrong.get(event.number, topic), f"k{event.number}", value, {"a": "b"})
            if event.number == 7 and calls.count(7) == 1:
                raise SystemExit("killed")

        await world.publish(*((f"k{number}", number) for number in range(20)))
        async with world.engine():
            with pytest.raises(WorkerCrashed):
                async with world.running(worker) as (_, run):
                    await run
            found: list[Record] = []
            async with world.running(worker), asyncio.timeout(PATIENCE_SECONDS):
                while len(found) < 20:
                    await asyncio.sleep(0.02)
                    found = await world.all_of(topic)
        assert sorted(int(record.value or b"") for record in found) == list(range(20))
        assert {(record.key, record.headers) for record in found} == {
            (b"k%d" % number, (("a", b"b"),)) for number in range(20)
        }
        assert min(map(calls.count, (3, 4, 5))) > 1, "what cannot be written fails its own attempt, and comes again"

    async def test_a_message_that_kills_its_consumer_is_parked_at_the_third_time(
        self, world: SubscriptionWorld
    ) -> None:
        seen: dict[str, list[int]] = defaultdict(list)
        kills = 0
        worker = Worker("w")

        @worker.subscribes(shipped)
        async def handle(event: Shipped, message: Message) -> None:
            nonlocal kills
            key = (message.key or b"").decode()
            if key == "deadly":
                kills += 1
                raise SystemExit("killed")
            seen[key].append(event.number)

        await world.publish(*((key, number) for number in range(3) for key in ("deadly", "fine", "good")))
        async with world.engine():
            for _ in range(3):
                with pytest.raises(WorkerCrashed):
                    async with world.running(worker) as (_, run):
                        await run
            async with world.running(worker):
                await until(lambda: {0, 1, 2} <= set(seen["fine"]) and {0, 1, 2} <= set(seen["good"]))
                await asyncio.sleep(0.2)
        assert kills == 3

    async def test_a_handler_that_ends_by_a_foreign_cancel_or_publishes_too_much_fails_alone(
        self, world: SubscriptionWorld
    ) -> None:
        seen: list[int] = []
        tried: dict[int, int] = defaultdict(int)
        worker = Worker("w", concurrency=1)

        @worker.subscribes(blobbed, retry=QUICK)
        async def handle(event: Blobbed, message: Message) -> None:
            tried[event.number] += 1
            if event.number == 0:
                raise asyncio.CancelledError
            if event.number == 1:
                message.publish(blobbed, "k", Blobbed(number=2, text="x" * (world.log.max_value_bytes + 1)))
            seen.append(event.number)

        await world.publish(*((f"k{number}", number) for number in range(5)), event="blobbed")
        async with world.engine(), world.running(worker):
            await until(lambda: tried[0] == 3 and tried[1] == 3 and set(seen) >= {2, 3, 4})

    async def test_at_most_once_loses_nothing_at_a_stop(self, world: SubscriptionWorld) -> None:
        handled: list[int] = []
        worker = Worker("w", concurrency=2)

        @worker.subscribes(shipped, delivery="at_most_once")
        async def handle(event: Shipped) -> None:
            await asyncio.sleep(0.005)
            handled.append(event.number)

        await world.publish(*((f"k{number}", number) for number in range(60)))
        while len(set(handled)) < 60:
            before = len(handled)
            async with world.running(worker):
                await until(lambda: len(handled) > before)  # noqa: B023  # it is awaited here
        assert sorted(handled) == list(range(60))

    async def test_at_most_once_repeats_nothing_after_a_crash(self, world: SubscriptionWorld) -> None:
        handled: list[int] = []
        worker = Worker("w")

        @worker.subscribes(shipped, delivery="at_most_once")
        async def handle(event: Shipped) -> None:
            handled.append(event.number)
            if event.number == 5:
                raise SystemExit("killed")

        await world.publish(*((f"k{number}", number) for number in range(10)))
        with pytest.raises(WorkerCrashed):
            async with world.running(worker) as (_, run):
                await run
        async with world.running(worker):
            await world.publish(("last-0", 100), ("last-1", 101))
            await until(lambda: {100, 101} <= set(handled))
        assert len(handled) == len(set(handled))

    async def test_a_foreign_topic_is_read_by_its_model(self, world: SubscriptionWorld) -> None:
        topic = f"orders-{uuid.uuid4().hex[:8]}"
        await self.make_topic(world, topic)
        seen: list[int] = []
        worker = Worker("w")

        @worker.consumes(topic, model=Shipped)
        async def handle(order: Shipped) -> None:
            seen.append(order.number)

        await world.log.append([Outgoing(topic, b"k", b'{"number": %d}' % number, ()) for number in range(5)])
        async with world.running(worker):
            await until(lambda: seen == list(range(5)))

    async def test_several_formats_are_read_as_one_model_and_an_unknown_one_is_a_dead_letter(
        self, world: SubscriptionWorld
    ) -> None:
        topic = f"orders-{uuid.uuid4().hex[:8]}"
        await self.make_topic(world, topic)
        shapes = Normalizer(Shipped)
        shapes.translates("application/json", when="no")(lambda body: {"number": body["no"]})
        shapes.translates("text/csv", when="number")(lambda rows: {"number": rows[0]["number"]})
        seen: list[int] = []
        worker = Worker("w")

        @worker.consumes(topic, model=shapes)
        async def handle(order: Shipped) -> None:
            seen.append(order.number)

        sent = {b'{"no": 1}': b"application/json", b"%PDF": b"application/pdf", b"number\n2\n": b"text/csv"}
        headers = {value: (("content-type", kind),) for value, kind in sent.items()}
        await world.log.append([Outgoing(topic, b"k", value, each) for value, each in headers.items()])
        async with world.running(worker):
            await until(lambda: seen == [1, 2])
        dead = await world.all_of(world.topics.dead)
        assert [letter.value for letter in dead] == [b"%PDF"]
        assert any(b"'application/pdf' is unknown here" in (value or b"") for _, value in dead[0].headers)

    async def make_topic(self, world: SubscriptionWorld, topic: str) -> None:
        await world.log.create_topics([TopicSpec(topic, 3, "delete")])
