"""One run: a world from one seed runs under faults, is healed, and must come to an end.

Two engines and two processes of workers, clients, an operator and a person who answers, on one log in memory. Spans
are short (the storm takes seconds), so that a run is some hundred decisions and a core plays dozens in a second.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from sagaline.orchestrator.errors import LogUnavailable, TransientError
from sagaline.orchestrator.kernel import Limits, Registry
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.ports.log import TopicPartition, TopicSpec
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.deciding import Deciding
from sagaline.orchestrator.runtime.engine import Engine
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.testing.broker import Broker
from sagaline.orchestrator.testing.clock import SimClock
from sagaline.orchestrator.testing.faults import Fault, Faults
from sagaline.orchestrator.testing.memory_inbox import InboxStore
from sagaline.orchestrator.testing.memory_log import MemoryLog
from sagaline.orchestrator.testing.process import Process
from sagaline.orchestrator.tracing import Tracing
from sagaline.workers import WorkerCrashed, WorkerRuntime

from .agenda import BAD, LATER, Errand, Request, agenda, as_record
from .clocks import HostClocks
from .invent import Invented, invent
from .letters import Clerk
from .minds import LEDGER, Minds
from .operator import Operator
from .repairs import Repairs
from .shipped import shipped
from .witness import Around, Evidence, Window, evidence

__all__ = ["PARTITIONS", "Play"]

PARTITIONS: Final = 2
_HOSTS: Final = ("engine-0", "engine-1", "workers-0", "workers-1")
HEALED_SECONDS: Final = 300.0
"""The virtual time within which everything must end after healing."""
_QUIET_SECONDS: Final = 1.5
_PATIENT_SECONDS: Final = 6.0
"""Longer than any wait for an answer, and longer than any due timer needs."""
_LOOK_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 120.0

_STORM: Final[Mapping[Fault, float]] = {
    Fault.DELAY: 0.10,
    Fault.LOSE: 0.03,
    Fault.UNANSWERED: 0.04,
    Fault.LATE: 0.06,
    Fault.DOUBLE: 0.05,
    Fault.TORN: 0.03,
    Fault.REORDER: 0.05,
    Fault.REDELIVER: 0.01,
    Fault.MOVE: 0.005,
    Fault.CUT: 0.004,
    Fault.PAUSE: 0.004,
    Fault.FULL: 0.006,
    Fault.POISON: 0.006,
    Fault.CRASH_BEFORE: 0.01,
    Fault.CRASH_AFTER: 0.01,
}
_LONGEST: Final[Mapping[Fault, float]] = {
    Fault.LATE: 1.5,
    Fault.MOVE: 1.0,
    Fault.CUT: 3.0,
    Fault.PAUSE: 3.0,
    Fault.FULL: 2.0,
}


class Play:
    """One world. ``live`` runs all of it; after that its records can be checked."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = drawn = random.Random(f"{seed}/play")
        self.clock = SimClock(seed)
        self.faults = Faults(seed, longest_seconds=_LONGEST)
        self.broker, self.topics = Broker(self.clock, self.faults), Topics("sim")
        is_shipped = drawn.random() < 0.12
        self.invented: Invented = shipped(drawn) if is_shipped else invent(random.Random(f"{seed}/invent"))
        self.registry, self._older = Registry(self.invented.definitions), Registry(self.invented.older)
        self.minds = Minds(seed, self.registry, patient=not is_shipped)
        self.store = InboxStore(LEDGER)
        self.window = Window(self.broker, self.topics, self.minds.queues)
        self.storm_seconds = drawn.uniform(2.0, 8.0)
        self.clocks = HostClocks(self.clock, _HOSTS, random.Random(f"{seed}/clocks"))
        self.back_ms = drawn.choice((0, 0, 0, 2_000))
        self._jumps = [drawn.uniform(0, self.storm_seconds) for _ in range(drawn.choice((0, 0, 1, 2)))]
        self.errands: list[Errand] = []
        self.accepted: dict[str, Request] = {}
        """The requests that the log has acknowledged, by id."""
        self._advances: list[tuple[int, TopicPartition, int]] = []
        self.broker.groups.on_advance = self._advanced
        self.healed_ms = self.ended_ms = self.restless_ms = 0
        self.came_to_an_end = False
        self.kills = self._sending = 0
        self._healed = False
        self._living: dict[str, Process] = {}
        repairs = Repairs(seed, self.registry, self.clock.new_id)
        self.clerk = Clerk(seed, self.broker, self.topics, self.clock.new_id, self.send)
        self.operator = Operator(self.window, self.registry, self.clock, self.send, repairs)

    # -- the whole run ---------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Everything from the creation of the topics to the end of the last process."""
        specs = [*self.topics.specs(self.minds.queues, PARTITIONS), TopicSpec(LATER, PARTITIONS, "delete")]
        await MemoryLog(self.broker).create_topics(specs)
        self._begin_storm()
        self.errands = agenda(
            random.Random(f"{self.seed}/agenda"),
            self.invented.definitions,
            self.clock.new_id,
            self.storm_seconds,
            self.clock.now_ms(),
        )
        parts = [
            asyncio.create_task(self._keep(name, self._start_engine if "engine" in name else self._start_workers))
            for name in _HOSTS
        ]
        errands = [asyncio.create_task(self._carry_out(errand)) for errand in self.errands]
        trouble = asyncio.create_task(self._trouble())
        people = asyncio.create_task(self._people())
        await asyncio.sleep(self.storm_seconds)
        trouble.cancel()
        self._heal()
        await asyncio.gather(*errands)
        self.came_to_an_end = await self._end()
        self.ended_ms = self.clock.now_ms()
        if people.done():
            people.result()
        for part in (*parts, people):
            part.cancel()
        for process in list(self._living.values()):
            await process.stop()
        for part in parts:
            if part.done() and not part.cancelled():
                part.result()

    def _begin_storm(self) -> None:
        if self._random.random() < 0.1:
            return
        for fault, rate in _STORM.items():
            if self._random.random() < 0.7:
                self.faults.set_rate(fault, rate * self._random.choice((0.3, 1.0, 1.0, 4.0)))

    def _heal(self) -> None:
        self._healed = self.minds.healed = self.operator.healed = True
        self.healed_ms = self.clock.now_ms()
        self.clocks.set_right()
        self.faults.heal()
        if self.invented.older != self.invented.definitions:
            for name, process in self._living.items():
                if name.startswith("engine"):
                    process.kill()  # the last old node is updated

    async def _end(self) -> bool:
        """Waits until everything accepted has ended, and a little longer; True when it has."""
        until = self.clock.monotonic() + HEALED_SECONDS
        quiet = 0.0
        while self.clock.monotonic() < until:
            settled = self._settled()
            patient = self.restless_ms or not self.window.answered  # timers that a jump made due take some time
            if not settled:
                quiet = 0.0
            elif quiet >= (_PATIENT_SECONDS if patient else _QUIET_SECONDS):
                return True
            await asyncio.sleep(_LOOK_SECONDS)
            quiet += _LOOK_SECONDS
            if not settled and self.clock.monotonic() > self.storm_seconds + _PATIENCE_SECONDS:
                self.restless_ms = self.restless_ms or self.clock.now_ms()
                self.clock.jump(timedelta(minutes=10))  # a shipped example may wait for a day
        return False

    def _settled(self) -> bool:
        self.window.look()
        if self._sending or not self.window.decided or not self.operator.settled:
            return False
        starts = (each for each in self.accepted.values() if isinstance(each, Start) and not each.id.startswith(BAD))
        return all(start.instance in self.window.seen for start in starts)

    # -- faults ----------------------------------------------------------------------------------------------------

    async def _trouble(self) -> None:
        """Kills, clean restarts, and jumps of the clock."""
        drawn = self._random
        jumps = asyncio.create_task(self._jump())
        hosts = asyncio.create_task(self.clocks.jump(self.storm_seconds))
        try:
            while True:
                await asyncio.sleep(drawn.uniform(0.5, 6.0))
                name = drawn.choice(list(self._living))
                self.kills += 1
                if drawn.random() < 0.7:
                    self._living[name].kill()
                else:
                    await self._living[name].stop()
        finally:
            jumps.cancel()
            hosts.cancel()

    async def _jump(self) -> None:
        for at in sorted(self._jumps):
            await asyncio.sleep(max(0.0, at - self.clock.monotonic()))
            back = self.back_ms and self._random.random() < 0.5
            by_ms = -self.back_ms // 2 if back else self._random.randint(100, 4_000)
            self.clock.jump(timedelta(milliseconds=by_ms))

    def _advanced(self, place: TopicPartition, offset: int) -> None:
        self._advances.append((self.clock.now_ms(), place, offset))

    # -- participants ----------------------------------------------------------------------------------------------

    async def _keep(self, name: str, start: Callable[[Process], None]) -> None:
        """Restarts a process whenever it has ended."""
        while True:
            process = self._living[name] = Process(
                self.broker, name, member_timeout=timedelta(seconds=1), deadline=timedelta(seconds=2)
            )
            start(process)
            await process.ended()
            if process.error is not None and not isinstance(process.error, TransientError | WorkerCrashed):
                raise process.error
            await asyncio.sleep(self._random.uniform(0.05, 1.0))

    def _start_engine(self, process: Process) -> None:
        registry = self.registry
        if not self._healed and self._random.random() < 0.5:
            registry = self._older
        setup = Deciding(
            registry=registry,
            topics=self.topics,
            partitions=PARTITIONS,
            limits=Limits(),
            tracing=Tracing(),
            metrics=Metrics(),
            max_value_bytes=process.log.max_value_bytes,
        )
        process.run(Engine(process.log, setup, self.clocks[process.name], group="sim.engine").run())

    def _start_workers(self, process: Process) -> None:
        inbox = process.inbox(self.store)
        for queue in self.minds.queues:
            worker = self.minds.worker(queue, inbox)
            process.run(WorkerRuntime(worker, process.log, self.topics, self.clocks[process.name]).run(), queue)

    async def _people(self) -> None:
        """The operator and the answering person act repeatedly."""
        while True:
            await asyncio.sleep(1.0)
            self.window.look()
            await self.operator.act(self._random)
            await self.clerk.act()

    async def _carry_out(self, errand: Errand) -> None:
        await asyncio.sleep(errand.at)
        await self.send(errand.request)

    async def send(self, request: Request) -> None:
        """Sends a request until the log has accepted it; a client whose process is killed may stop trying."""
        astray = self._random.randrange(PARTITIONS) if self._random.random() < 0.1 else None
        record = as_record(self.topics.inputs, request, self.clock.now_ms(), astray)
        log = MemoryLog(self.broker, member_timeout=timedelta(seconds=1), deadline=timedelta(seconds=2))
        self._sending += 1
        for _ in range(1_000):
            try:
                await log.append([record])
                self.accepted[request.id] = request
                break
            except LogUnavailable:
                if log.killed:
                    if self._random.random() < 0.3:
                        break
                    log = MemoryLog(self.broker)
                await asyncio.sleep(0.2)
        self._sending -= 1
        await log.close()

    def evidence(self) -> Evidence:
        """The records, after ``live``."""
        around = Around(
            registry=self.registry,
            partitions=PARTITIONS,
            accepted=self.accepted,
            advances=self._advances,
            came_to_an_end=self.came_to_an_end,
            healed_ms=self.healed_ms,
            ended_ms=self.ended_ms,
            restless_ms=self.restless_ms or self.ended_ms,
            right_ms=self.healed_ms if self.clocks.are_wrong else 0,
            back_ms=self.back_ms,
        )
        return evidence(self.broker, self.topics, self.store, around)
