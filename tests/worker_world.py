"""A small world for tests of workers: the real SQLite log, a real worker runtime, and a hand that plays the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.commands import ReplyTo, encode_command
from sagaline.orchestrator.codec.inputs import decode_input
from sagaline.orchestrator.codec.rules import encode_rules
from sagaline.orchestrator.messages.entity_messages import Rule
from sagaline.orchestrator.messages.flow_limits import LIMITS_TABLE
from sagaline.orchestrator.messages.inputs import Completed, Failed, Rejected, Reply
from sagaline.orchestrator.messages.outputs import Announce, SendCommand
from sagaline.orchestrator.ports.clock import Clock
from sagaline.orchestrator.ports.log import Log, Outgoing, Record, Tail
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.tracing import Tracing
from sagaline.orchestrator.vault import Vault
from sagaline.sagas import Contract
from sagaline.workers import Worker, WorkerRuntime

PATIENCE_SECONDS = 40.0
PARTITIONS = 2
MINUTE_MS = 60_000
LIFE = "k3x9wq2z"
"""The incarnation of the instance whose commands these are."""


class Pack(BaseModel):
    item: str = "book"
    count: int = 1


class Packed(BaseModel):
    parcel: str


class Unpack(BaseModel):
    item: str = "book"


class Unpacked(BaseModel):
    was_packed: bool


pack = Contract("pack", Pack, Packed, queue="packing")
unpack = Contract("unpack", Unpack, Unpacked, queue="packing")
audit = Contract("audit", Pack, Packed, queue="auditing")
QUEUES = ("auditing", "packing")


class Ahead:
    """A clock that goes ahead of the system's by so much, or behind it."""

    def __init__(self, by: timedelta) -> None:
        self._by_ms, self._system = round(by.total_seconds() * 1000), SystemClock()

    def now_ms(self) -> int:
        return self._system.now_ms() + self._by_ms

    async def reach(self, at_ms: int) -> None:
        await self._system.reach(at_ms - self._by_ms)

    def monotonic(self) -> float:
        return self._system.monotonic()

    def new_id(self) -> str:
        return self._system.new_id()


class WorkerWorld:
    def __init__(self, log: Log, topics: Topics, replies: Tail) -> None:
        self.log, self.topics, self._replies = log, topics, replies
        self.clock = SystemClock()

    def command(
        self,
        instance: str = "order/A",
        contract: Contract[Any, Any] = pack,
        payload: BaseModel | bytes | None = None,
        *,
        attempt: int = 1,
        step: str = "pack",
        due_in_ms: int = MINUTE_MS,
        reply_to: ReplyTo | None = None,
        traceparent: str | None = None,
        **more: Any,
    ) -> Outgoing:
        """A command as an engine would publish it; one of ``unpack`` undoes the step. ``more``: of ``SendCommand``."""
        body = payload if isinstance(payload, bytes) else (payload or contract.command()).model_dump_json().encode()
        command = SendCommand(
            instance=instance,
            step=step,
            contract=contract.name,
            queue=contract.queue,
            undo=contract is unpack,
            attempt=attempt,
            payload=body,
            deadline_ms=self.clock.now_ms() + due_in_ms,
            incarnation=LIFE,
            **more,
        )
        return encode_command(
            self.topics.commands(contract.queue),
            command,
            reply_to or ReplyTo(topic=self.topics.inputs, partition=0),
            source="/test",
            now_ms=self.clock.now_ms(),
            traceparent=traceparent,
        )

    async def send(self, *commands: Outgoing) -> None:
        await self.log.append(commands)

    async def reply_records(self, count: int) -> list[Record]:
        """The next replies; fails the test when they do not come."""
        records: list[Record] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(records) < count:
                records += await self._replies.poll(max_records=count - len(records), timeout=1.0)
        return records

    async def replies(self, count: int) -> list[Reply]:
        found = [decode_input(record) for record in await self.reply_records(count)]
        assert all(isinstance(reply, Completed | Rejected | Failed) for reply in found)
        return found  # type: ignore[return-value]  # just asserted

    async def ask(self, *commands: Outgoing) -> list[Reply]:
        """Sends and waits for as many replies."""
        await self.send(*commands)
        return await self.replies(len(commands))

    async def limit(self, *rules: Rule) -> None:
        """Sets the limits of queues, as the engine announces them."""
        found = Announce(table=LIMITS_TABLE, version=1, rules=rules)
        await self.log.append([encode_rules(self.topics.rules, found)])

    async def all_of(self, *topics: str) -> list[Record]:
        """Every record of these topics that is there now."""
        ends = await self.log.end_offsets(topics)
        tail = await self.log.tail(topics, "earliest")
        records: list[Record] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(tail.positions()[place] < end for place, end in ends.items()):
                records += await tail.poll(max_records=100, timeout=1.0)
        await tail.close()
        return records

    async def uncommitted(self, queue: str = "packing", wait_seconds: float = 0.05) -> list[str]:
        """The command ids that would be delivered again to the next worker of the queue. No worker runs meanwhile."""
        subscription = await self.log.subscribe(
            [self.topics.commands(queue)], f"{self.topics.namespace}.worker.{queue}"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(subscription.assigned()) < PARTITIONS:
                await subscription.poll(max_records=1, timeout=0.01)
        await subscription.close()
        again = await self.log.subscribe([self.topics.commands(queue)], f"{self.topics.namespace}.worker.{queue}")
        found: list[str] = []
        while records := await again.poll(max_records=100, timeout=wait_seconds):
            found += [dict(record.headers)["ce_id"].decode() for record in records]
        await again.close()
        return found

    @asynccontextmanager
    async def running(
        self,
        worker: Worker,
        tracing: Tracing | None = None,
        *,
        clock: Clock | None = None,
        vault: Vault | None = None,
    ) -> AsyncIterator[WorkerRuntime]:
        """A worker until the end of the block; it is stopped in good order, and its errors are raised."""
        runtime = WorkerRuntime(worker, self.log, self.topics, clock or self.clock, tracing, vault=vault)
        run = asyncio.create_task(runtime.run())
        try:
            await first_of(runtime.started.wait(), run)
            yield runtime
            runtime.stop()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await run
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    async def until_crash(self, worker: Worker) -> None:
        """Runs a worker that will end by an error, and raises it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await WorkerRuntime(worker, self.log, self.topics, self.clock).run()


async def first_of(waiting: Any, run: asyncio.Task[None]) -> None:
    """Waits for an event, but not longer than the worker lives."""
    event = asyncio.ensure_future(waiting)
    await asyncio.wait({event, run}, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not event.done():
        event.cancel()
        run.result()


@asynccontextmanager
async def worker_world(path: Path, **log_options: Any) -> AsyncIterator[WorkerWorld]:
    topics = Topics("t")
    log_options.setdefault("member_timeout", timedelta(seconds=2))
    async with SqliteLog(path / "log.db", clock=SystemClock(), **log_options) as log:
        await log.create_topics(topics.specs(QUEUES, PARTITIONS))
        yield WorkerWorld(log, topics, await log.tail([topics.inputs], "earliest"))
