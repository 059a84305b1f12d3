"""A small world for tests of the engine: the real SQLite log, a real engine, and a hand that plays the workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.codec.commands import Command, decode_command
from sagaline.orchestrator.codec.documents import decode_document, decode_history
from sagaline.orchestrator.codec.inputs import encode_reply, encode_request
from sagaline.orchestrator.kernel import Limits, Registry
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Act, ActName, Completed, Failed, Rejected, Reply, Start
from sagaline.orchestrator.messages.outputs import place_of_label
from sagaline.orchestrator.ports.clock import Clock
from sagaline.orchestrator.ports.log import Log, Outgoing, Record
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics
from sagaline.orchestrator.runtime.deciding import Deciding
from sagaline.orchestrator.runtime.engine import Engine
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas import Contract, Retry, Saga, step

PATIENCE_SECONDS = 40.0
PARTITIONS = 2


class Ask(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


class Note(BaseModel):
    text: str = "x"
    first: Answer | None = None
    second: Answer | None = None


do_first = Contract("do-first", Ask, Answer, queue="work")
undo_first = Contract("undo-first", Ask, Answer, queue="work")
do_second = Contract("do-second", Ask, Answer, queue="work")


def two_steps(*, build: Callable[[Note], Ask] | None = None, version: int = 1, name: str = "pair") -> Saga[Note]:
    """A saga of two steps, the first with an undo; ``build`` replaces the function of the second."""

    @step(do_first, into="first", name="first", retry=Retry(max_attempts=2))
    def first(s: Note) -> Ask:
        return Ask(text=s.text)

    @first.undo(undo_first)
    def undo(s: Note) -> Ask:
        return Ask(text=s.text)

    @step(do_second, into="second", name="second")
    def second(s: Note) -> Ask:
        return build(s) if build else Ask(text=s.text)

    return Saga(name, Note, version=version, flow=[first, second])


class HandClock:
    """A clock that a test moves."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.at_ms = now_ms
        self._system = SystemClock()

    def now_ms(self) -> int:
        return self.at_ms

    async def reach(self, at_ms: int) -> None:
        while self.at_ms < at_ms:  # noqa: ASYNC110  # the hand that moves it does not tell
            await asyncio.sleep(0.01)

    def monotonic(self) -> float:
        return self._system.monotonic()

    def new_id(self) -> str:
        return self._system.new_id()


class World:
    """One engine on one log, and everything a test does around it."""

    def __init__(self, log: Log, topics: Topics, clock: Clock, metrics: Metrics, engine: Engine) -> None:
        self.log, self.topics, self.clock, self.metrics, self.engine = log, topics, clock, metrics, engine

    async def start(self, key: str, text: str = "x", *, definition: str = "pair", request: str | None = None) -> str:
        """Appends a start; the instance's id."""
        message = Start(id=request or self.clock.new_id(), definition=definition, key=key, input={"text": text})
        await self.send(message)
        return message.instance

    async def send(self, message: Start | Act) -> None:
        await self.log.append([encode_request(self.topics.inputs, message, source="/test", now_ms=0)])

    async def act(self, instance: str, act: ActName) -> None:
        await self.send(Act(id=self.clock.new_id(), instance=instance, act=act, by="test"))

    async def raw(self, key: bytes | None, value: bytes | None, headers: Any = (), partition: int | None = 0) -> None:
        await self.log.append([Outgoing(self.topics.inputs, key, value, headers, partition)])

    async def command(self, instance: str, step: str, attempt: int = 1, *, undo: bool = False) -> Command:
        """Waits for that command."""

        def is_it(record: Record) -> bool:
            found = decode_command(record)
            place = place_of_label(found.effect_key.removeprefix(f"{instance}/"))
            return (found.instance, place, found.undo, found.attempt) == (instance, step, undo, attempt)

        records = await self.wait(self.topics.commands("work"), is_it)
        return decode_command(records[-1])

    async def reply(self, command: Command, reply: BaseModel | Rejected | Failed | dict[str, Any]) -> None:
        """Answers a command as a worker would."""
        message: Reply
        if isinstance(reply, Rejected | Failed):
            message = reply
        else:
            body = reply.model_dump(mode="json") if isinstance(reply, BaseModel) else reply
            message = Completed(id=f"{command.id}/reply", instance=command.instance, command_id=command.id, reply=body)
        target = command.reply_to
        await self.log.append([encode_reply(target.topic, target.partition, message, source="/test", now_ms=0)])

    async def wait(self, topic: str, wanted: Callable[[Record], bool]) -> list[Record]:
        """Everything in a topic up to the first wanted record."""
        tail = await self.log.tail([topic], "earliest")
        seen: list[Record] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    for record in await tail.poll(max_records=500, timeout=1.0):
                        seen.append(record)
                        if wanted(record):
                            return seen
        finally:
            await tail.close()

    async def everything(self, topic: str) -> list[Record]:
        """All records of a topic as it is now."""
        ends = await self.log.end_offsets([topic])
        tail = await self.log.tail([topic], "earliest")
        seen: list[Record] = []
        try:
            while any(tail.positions().get(place, 0) < end for place, end in ends.items()):
                seen += await tail.poll(max_records=500, timeout=1.0)
        finally:
            await tail.close()
        return seen

    async def decided(self, instance: str, wanted: Callable[[HistoryRecord], bool]) -> HistoryRecord:
        """Waits for a history record of an instance."""
        name = instance.encode()
        records = await self.wait(self.topics.history, lambda r: r.key == name and wanted(decode_history(r)))
        return decode_history(records[-1])

    async def document(self, instance: str) -> Document | None:
        """The document as the state topic holds it."""
        found = None
        for record in await self.everything(self.topics.state):
            if record.key == instance.encode() and record.key != POSITION_KEY:
                found = decode_document(record.value) if record.value is not None else None
        return found


@asynccontextmanager
async def open_log(path: Path) -> AsyncIterator[SqliteLog]:
    async with SqliteLog(path, clock=SystemClock()) as log:
        yield log


@asynccontextmanager
async def world(
    log: Log,
    sagas: Sequence[Saga[Any]],
    *,
    clock: Clock | None = None,
    limits: Limits | None = None,
    grown_by: int = 0,
    namespace: str = "test",
    tracing: Tracing | None = None,
) -> AsyncIterator[World]:
    """An engine that runs beside the block, on topics of its own; those have so many more partitions than it knows."""
    topics = Topics(namespace)
    clock, metrics = clock or SystemClock(), Metrics()
    await log.create_topics(topics.specs(["work"], PARTITIONS + grown_by))
    setup = Deciding(
        registry=Registry(sagas),
        topics=topics,
        partitions=PARTITIONS,
        limits=limits or Limits(),
        tracing=tracing or Tracing(),
        metrics=metrics,
        max_value_bytes=log.max_value_bytes,
    )
    engine = Engine(log, setup, clock, group=f"{namespace}.engine")
    task = asyncio.create_task(engine.run())
    try:
        yield World(log, topics, clock, metrics, engine)
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
