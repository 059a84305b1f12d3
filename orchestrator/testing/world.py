"""``World``: definitions, the real engine and workers on a log in memory, in virtual time, from one seed.

A test's own code is plain and synchronous: between two calls no time passes. Workers that are not given are faked:
every contract is answered by ``answer``'s value, or by the smallest valid reply. Processes that crash are restarted
after a moment, as by a supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from ...sagas import Contract, Event, Rejected, Schedule
from ...sagas.definition import AnyDefinition
from ...sagas.models import as_json, read, read_foreign
from ...workers import Worker, WorkerCrashed, WorkerRuntime
from ...workers.context import Context
from ..client.schedules import planned
from ..codec.documents import decode_document
from ..codec.entities import encode_entity_message
from ..codec.inputs import encode_request
from ..errors import LogUnavailable, TransientError
from ..kernel import Limits, Registry
from ..messages.document import Document, Status
from ..messages.entity_messages import publication
from ..messages.inputs import Act, ActName, Message, Start
from ..messages.schedules import PutSchedule, schedule_id
from ..messages.values import JsonObject
from ..ports.log import Outgoing, TopicSpec
from ..ports.topics import POSITION_KEY, Topics
from ..runtime.deciding import Deciding
from ..runtime.engine import Engine
from ..runtime.metrics import Metrics
from ..scenes.sample import samples
from ..tracing import Tracing
from .broker import Broker
from .clock import SimClock
from .faults import Faults
from .loop import SimLoop
from .memory_inbox import InboxStore
from .memory_log import MemoryLog
from .process import Process

__all__ = ["Answer", "World"]

C = TypeVar("C", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")

Answer: TypeAlias = BaseModel | Rejected | Exception | Callable[[Any], "BaseModel | Rejected"]
_PARTITIONS = 2
_AGAIN_SECONDS = 0.5
_LOOK_SECONDS = 0.05
_TRIES_MAX = 1_000
_SETTLED = (Status.ATTENTION,)


class World:
    """Engines, workers and log in memory. Use it as a context manager, or call ``close``.

    Args:
        definitions: the deployed definitions.
        workers: creates real workers from an inbox; None: all workers are faked.
        schema: SQL for the handlers' tables in the workers' inbox.
        seed: of everything random: the same seed gives the same run.
        engines: how many processes share the partitions.
    """

    def __init__(
        self,
        *definitions: AnyDefinition,
        workers: Callable[[Any], Iterable[Worker]] | None = None,
        schema: str = "",
        seed: int = 0,
        engines: int = 1,
    ) -> None:
        self._loop = SimLoop(seed=seed)
        self.registry, self.topics = Registry(definitions), Topics("world")
        self.clock, self.faults = SimClock(seed), Faults(seed)
        self.broker, self.store = Broker(self.clock, self.faults), InboxStore(schema)
        self.calls: list[tuple[str, BaseModel]] = []
        """The commands of faked workers: the contract's name and the command, in order."""
        self._answers: dict[str, Answer] = {}
        self._living: dict[str, Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._do(self._open(workers or self._fakes, engines))

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything. Idempotent."""
        if not self._loop.is_closed():
            try:
                self._loop.clean_up()
            finally:
                self._loop.close()
                self.store.close()

    # -- actions of a test -------------------------------------------------------------------------------------------

    def answer(self, contract: Contract[C, R], answer: R | Rejected | Exception | Callable[[C], R | Rejected]) -> None:
        """Sets the answer of the faked worker of a contract; an exception is raised in its handler."""
        self._answers[contract.name] = answer

    def start(self, definition: AnyDefinition, key: str, state: BaseModel | JsonObject | None = None) -> str:
        """Starts an instance (default state: the smallest valid one); returns its id once it is durable.

        Raises:
            AssertionError: it was not accepted.
        """
        given = samples(definition.state)[0] if state is None else _json(state)
        start = Start(id=self._do(self._new_id()), definition=definition.name, key=key, input=given)
        self._do(self._append(lambda: encode_request(self.topics.inputs, start, source="/test", now_ms=self._now())))
        self._until(lambda: start.instance in self.documents(), f"{start.instance} has not been accepted")
        return start.instance

    def act(self, instance: str, act: ActName | str, reason: str = "") -> None:
        """Sends an operator's act, such as ``cancel``, ``pause``, ``resume`` or ``retry``."""
        asked = Act(id=self._do(self._new_id()), instance=instance, act=ActName(act), by="test", reason=reason)
        self._do(self._append(lambda: encode_request(self.topics.inputs, asked, source="/test", now_ms=self._now())))
        self.advance(seconds=1)

    def publish(self, event: Event[Any], body: BaseModel, *, key: str) -> None:
        """Publishes an event."""
        published = publication(event, key, _json(body), id=self._do(self._new_id()))
        self._tell(published)

    def schedule(self, schedule: Schedule[Any]) -> None:
        """Puts a schedule."""
        plan = planned(schedule)
        put = PutSchedule(id=self._do(self._new_id()), instance=schedule_id(schedule.name), plan=plan, by="test")
        self._tell(put)

    def advance(
        self,
        span: timedelta = timedelta(0),
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Time passes, and everything due in it happens."""
        span += timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        self._do(asyncio.sleep(span.total_seconds()))

    @property
    def steps(self) -> int:
        """The number of event loop callbacks that have run: the cost of the test."""
        return self._loop.steps

    def settle(self, within: timedelta = timedelta(days=30)) -> None:
        """Time passes until every instance has ended or needs attention.

        Raises:
            AssertionError: one does neither within this span.
        """
        self._until(lambda: all(_settled(each) for each in self.documents().values()), "not all have ended", within)

    def crash(self, name: str = "") -> None:
        """Kills processes: all, or those whose name starts with ``name``: ``engine``, or a worker's name."""
        for own, process in self._living.items():
            if own.startswith(name):
                self._do(_called(process.kill))

    # -- observations of a test --------------------------------------------------------------------------------------

    def documents(self) -> dict[str, Document]:
        """Every instance by id, as in the state topic."""
        found: dict[str, Document] = {}
        for records in self.broker.snapshot()[self.topics.state]:
            latest = {record.key: record.value for record in records if record.key != POSITION_KEY}
            for key, value in latest.items():
                if value is not None and not (key or b"@").startswith(b"@"):
                    document = decode_document(value)
                    found[document.id] = document
        return found

    def status(self, instance: str) -> str:
        """The status of an instance."""
        return self._document(instance).status.value

    def state(self, instance: str) -> Any:
        """The state of an instance, as its author's model."""
        document = self._document(instance)
        definition = self.registry.find(document.definition, document.version)
        assert definition is not None
        return read(definition.state, document.state)

    def _tell(self, message: Message) -> None:
        self._do(
            self._append(
                lambda: encode_entity_message(
                    self.topics.inputs, message, source="/test", now_ms=self._now(), traceparent=None
                )
            )
        )
        self.advance(seconds=1)

    def _document(self, instance: str) -> Document:
        found = self.documents()
        assert instance in found, f"there is no instance {instance!r}; there are {', '.join(sorted(found)) or 'none'}"
        return found[instance]

    # -- running parts -----------------------------------------------------------------------------------------------

    async def _open(self, workers: Callable[[Any], Iterable[Worker]], engines: int) -> None:
        queues = sorted(self.registry.queues)
        log, declared = MemoryLog(self.broker), list(workers(Process(self.broker, "names").inbox(self.store)))
        queues = sorted({*queues, *(queue for worker in declared for queue in worker.queues)})
        await log.create_topics(self.topics.specs(queues, _PARTITIONS))
        for each in (subscription for worker in declared for subscription in worker.subscriptions):
            if each.topic is not None:
                await log.create_topics([TopicSpec(each.topic, _PARTITIONS, "delete")])
            await log.create_topics(self.topics.subscribed(each.options.group, each.topic, _PARTITIONS))
        for number in range(engines):
            self._keep(f"engine-{number}", self._start_engine)
        for index, worker in enumerate(declared):
            self._keep(worker.name, self._starts_worker(workers, index))

    def _keep(self, name: str, start: Callable[[Process], None]) -> None:
        self._keepers.append(asyncio.get_running_loop().create_task(self._kept(name, start)))

    async def _kept(self, name: str, start: Callable[[Process], None]) -> None:
        while True:
            process = self._living[name] = Process(self.broker, name)
            start(process)
            await process.ended()
            if process.error is not None and not isinstance(process.error, TransientError | WorkerCrashed):
                raise process.error
            await asyncio.sleep(_AGAIN_SECONDS)

    def _start_engine(self, process: Process) -> None:
        setup = Deciding(
            registry=self.registry,
            topics=self.topics,
            partitions=_PARTITIONS,
            limits=Limits(),
            tracing=Tracing(),
            metrics=Metrics(),
            max_value_bytes=process.log.max_value_bytes,
        )
        process.run(Engine(process.log, setup, self.clock, group="world.engine").run())

    def _starts_worker(self, workers: Callable[[Any], Iterable[Worker]], index: int) -> Callable[[Process], None]:
        def start(process: Process) -> None:
            worker = list(workers(process.inbox(self.store)))[index]
            process.run(WorkerRuntime(worker, process.log, self.topics, self.clock).run())

        return start

    def _fakes(self, inbox: Any) -> Iterable[Worker]:
        contracts = {each.name: each for definition in self.registry for each in definition.contracts}
        fakes: dict[str, Worker] = {}
        for contract in contracts.values():
            worker = fakes.setdefault(contract.queue, Worker(contract.queue, inbox=inbox))
            worker.handles(contract)(self._fake(contract))
        return fakes.values()

    def _fake(self, contract: Contract[Any, Any]) -> Callable[[Any, Context], Awaitable[BaseModel | Rejected]]:
        async def handle(command: BaseModel, ctx: Context) -> BaseModel | Rejected:
            self.calls.append((contract.name, command))
            found = self._answers.get(contract.name)
            if isinstance(found, Exception) and not isinstance(found, Rejected):
                raise found
            if callable(found):
                return found(command)
            if found is None:
                reply: BaseModel = read_foreign(contract.reply, samples(contract.reply)[0])
                return reply
            return found

        return handle

    async def _append(self, make: Callable[[], Outgoing]) -> None:
        for _ in range(_TRIES_MAX):
            log = MemoryLog(self.broker)
            try:
                await log.append([make()])
                return
            except LogUnavailable:
                await asyncio.sleep(_AGAIN_SECONDS)
            finally:
                await log.close()
        raise AssertionError("the log accepts nothing; heal the faults first: world.faults.heal()")

    # -- between a test and the loop ---------------------------------------------------------------------------------

    def _until(self, holds: Callable[[], bool], complaint: str, within: timedelta = timedelta(minutes=10)) -> None:
        async def look() -> bool:
            seconds, pause = 0.0, _LOOK_SECONDS
            while not holds() and seconds < within.total_seconds():
                await asyncio.sleep(pause)
                seconds, pause = seconds + pause, min(pause * 1.5, 3600.0)
            return holds()

        if not self._do(look()):
            there = "\n".join(f"  {each.id} is {each.status}" for each in self.documents().values()) or "  nothing"
            raise AssertionError(f"{complaint} within {within}; there is:\n{there}")

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        found = self._loop.run_until_complete(coroutine)
        for keeper in self._keepers:
            if keeper.done():
                keeper.result()
        return found

    async def _new_id(self) -> str:
        return self.clock.new_id()

    def _now(self) -> int:
        return self.clock.now_ms()


async def _called(function: Callable[[], None]) -> None:
    function()


def _settled(document: Document) -> bool:
    return document.status.is_final or document.status in _SETTLED


def _json(value: BaseModel | JsonObject) -> JsonObject:
    return as_json(value) if isinstance(value, BaseModel) else value
