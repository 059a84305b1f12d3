"""The order checkout as a simulated world: engines, workers and a client on a log in memory, and what befalls them.

Everything random comes from the world's seed: arrival of orders, faults, who is killed when, and the order of steps.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sagaline.orchestrator.codec.documents import decode_document
from sagaline.orchestrator.codec.inputs import encode_request
from sagaline.orchestrator.errors import LogUnavailable, TransientError
from sagaline.orchestrator.kernel import Limits, Registry
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.ports.log import Record
from sagaline.orchestrator.ports.topics import POSITION_KEY, Topics
from sagaline.orchestrator.runtime.deciding import Deciding
from sagaline.orchestrator.runtime.engine import Engine
from sagaline.orchestrator.runtime.metrics import Metrics
from sagaline.orchestrator.testing import Broker, Fault, Faults, InboxStore, MemoryLog, Process, SimClock
from sagaline.orchestrator.tracing import Tracing
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.workers import Worker, WorkerCrashed, WorkerRuntime
from sagaline.workers.examples.ledger import LEDGER_SCHEMA, Ledger
from sagaline.workers.examples.order_checkout import inventory_worker, payment_worker, shipping_worker

PARTITIONS = 3
HEALED_SECONDS = 4 * 3600.0
"""Of virtual time: within it every order has ended, once nothing goes wrong any more."""

STORM: Mapping[Fault, float] = {
    Fault.DELAY: 0.05,
    Fault.LOSE: 0.02,
    Fault.UNANSWERED: 0.02,
    Fault.LATE: 0.02,
    Fault.DOUBLE: 0.03,
    Fault.TORN: 0.01,
    Fault.REORDER: 0.03,
    Fault.REDELIVER: 0.003,
    Fault.MOVE: 0.001,
    Fault.CUT: 0.001,
    Fault.PAUSE: 0.001,
    Fault.FULL: 0.002,
    Fault.POISON: 0.003,
    Fault.CRASH_BEFORE: 0.004,
    Fault.CRASH_AFTER: 0.004,
}
"""Some of everything; a run still gets somewhere."""

CUSTOMERS = ("ann", "bob", "flaky-cy", "declined-dan", "crash-eve")


class MemoryLedger(Ledger):
    """The shop's books in the inbox's database."""

    def __init__(self, store: InboxStore) -> None:
        super().__init__(":memory:")
        self._store = store

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        yield self._store.connection


class Shop:
    """One world. ``play`` runs all of it; afterwards look at ``broker``, ``ledger`` and ``faults``."""

    def __init__(self, seed: int, *, orders: int = 20, storm: Mapping[Fault, float] | None = None) -> None:
        self.orders, self.storm = orders, storm
        self.random = random.Random(f"{seed}/shop")
        self.clock, self.faults = SimClock(seed), Faults(seed)
        self.broker, self.topics = Broker(self.clock, self.faults), Topics("shop")
        self.store = InboxStore(LEDGER_SCHEMA)
        self.ledger = MemoryLedger(self.store)
        self.kills = 0
        self._living: dict[str, Process] = {}

    async def play(self, *, storm_seconds: float = 60.0) -> None:
        """Opens the shop; where there is a storm, heals it after a while; returns when every order has ended."""
        queues = ["inventory", "payment", "shipping"]
        await MemoryLog(self.broker).create_topics(self.topics.specs(queues, PARTITIONS))
        for fault, rate in (self.storm or {}).items():
            self.faults.set_rate(fault, rate)
        async with asyncio.TaskGroup() as group:
            parts = [
                *(group.create_task(self._keep(f"engine-{n}", self._start_engine)) for n in range(2)),
                *(group.create_task(self._keep(f"{queue}-{n}", self._start_worker)) for queue in queues for n in "ab"),
            ]
            buying = group.create_task(self._buy())
            if self.storm:
                killing = group.create_task(self._kill_now_and_then())
                await asyncio.sleep(storm_seconds)
                killing.cancel()
                self.faults.heal()
            await buying
            async with asyncio.timeout(HEALED_SECONDS):
                while not self.ended():  # noqa: ASYNC110  # looked at from outside: nobody tells
                    await asyncio.sleep(1)
            for part in parts:
                part.cancel()
        for process in self._living.values():
            await process.stop()

    def documents(self) -> dict[str, Document]:
        """Every instance as the state topic has it."""
        found: dict[str, Document] = {}
        for records in self.broker.snapshot()[self.topics.state]:
            latest = {record.key: record.value for record in records if record.key != POSITION_KEY}
            documents = (decode_document(value) for value in latest.values() if value is not None)
            found.update((document.id, document) for document in documents)
        return found

    def ended(self) -> bool:
        documents = self.documents()
        return len(documents) >= self.orders and all(one.status.is_final for one in documents.values())

    def bytes(self) -> bytes:
        """Every topic as it is, for comparing two runs."""
        return repr(self.broker.snapshot()).encode()

    def records(self, topic: str) -> list[Record]:
        return [record for records in self.broker.snapshot()[topic] for record in records]

    # Who takes part

    async def _keep(self, name: str, start: Callable[[Process], None]) -> None:
        """Starts a process again whenever it has ended."""
        while True:
            process = self._living[name] = Process(self.broker, name)
            start(process)
            await process.ended()
            if process.error is not None and not isinstance(process.error, TransientError | WorkerCrashed):
                raise process.error
            await asyncio.sleep(self.random.uniform(0.1, 4.0))

    def _start_engine(self, process: Process) -> None:
        setup = Deciding(
            registry=Registry([checkout]),
            topics=self.topics,
            partitions=PARTITIONS,
            limits=Limits(),
            tracing=Tracing(),
            metrics=Metrics(),
            max_value_bytes=process.log.max_value_bytes,
        )
        engine = Engine(process.log, setup, self.clock, group="shop.engine")
        process.run(engine.run())

    def _start_worker(self, process: Process) -> None:
        inbox = process.inbox(self.store)
        make: dict[str, Callable[[], Worker]] = {
            "inventory": lambda: inventory_worker(inbox),
            "payment": lambda: payment_worker(inbox, self.ledger),
            "shipping": lambda: shipping_worker(inbox),
        }
        worker = make[process.name.split("-")[0]]()
        process.run(WorkerRuntime(worker, process.log, self.topics, self.clock).run())

    async def _buy(self) -> None:
        log = MemoryLog(self.broker)
        for number in range(self.orders):
            await asyncio.sleep(self.random.uniform(0.0, 2.0))
            order_id = f"A-{number}" + ("-silent" if self.random.random() < 0.1 else "")
            sku = "sold-out-lamp" if self.random.random() < 0.1 else "book"
            order = {
                "id": order_id,
                "customer": self.random.choice(CUSTOMERS),
                "lines": [{"sku": sku, "quantity": 1}],
                "total_cents": 100 * (number + 1),
            }
            start = Start(id=self.clock.new_id(), definition="order-checkout", key=order_id, input={"order": order})
            request = encode_request(self.topics.inputs, start, source="/shop", now_ms=self.clock.now_ms())
            while True:
                try:
                    await log.append([request])
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.2)
                    if log.killed:
                        log = MemoryLog(self.broker)
        await log.close()

    async def _kill_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(1.0, 20.0))
            self._living[self.random.choice(list(self._living))].kill()
            self.kills += 1
