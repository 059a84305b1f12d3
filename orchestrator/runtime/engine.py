"""The engine: the ownership of ``inputs``, with a processor per assigned partition."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from ..errors import CorruptRecord
from ..ports.clock import Clock
from ..ports.log import Log, Owner
from ..ports.topics import GROWN
from .ahead import Room
from .clocks import WatchedClock
from .deciding import Deciding
from .namespace import decided_before
from .ownership import Ownership, Source
from .processor import Processor

__all__ = ["Engine"]

_log = structlog.get_logger("sagaline.engine")


class Engine:
    """Runs until cancelled; ``processing``: the partitions that it processes."""

    def __init__(self, log: Log, setup: Deciding, clock: Clock, *, group: str) -> None:
        self._log, self._setup = log, setup
        self._clock = WatchedClock(clock, setup.metrics, source=f"/{setup.topics.namespace}")
        self._moved, self._room = asyncio.Event(), Room()
        self._ownership: Ownership[Processor] = Ownership(
            log,
            Source(inputs=setup.topics.inputs, state=setup.topics.state, group=group),
            self._processor,
            _log,
            admit=self._of_the_namespace,
            changed=self._gauge,
            stopped=lambda: setup.metrics.add("partitions.stopped"),
        )

    @property
    def standing(self) -> Mapping[int, str]:
        """Assigned partitions that are stopped until an operator acts, with the reason."""
        return self._ownership.standing

    @property
    def processing(self) -> frozenset[int]:
        """Partitions that are restored and being processed here."""
        return frozenset(partition for partition, processor in self._ownership.drivers() if processor.restored)

    @property
    def objection(self) -> str | None:
        """Why it does not decide everything that is assigned here; None: it does, or waits for partitions."""
        found = self._ownership.objection(lambda processor: processor.restored)
        return f"the engine: {found}" if found is not None else None

    @property
    def alarm(self) -> str | None:
        """Why starts are not decided here, or clocks differ; None: no problem is known."""
        return next(iter(self.standing.values()), None) or self.clock_alarm

    @property
    def clock_alarm(self) -> str | None:
        """How this host's clock differs from others; None: no difference is known."""
        return self._clock.alarm

    async def processes(self, count: int) -> None:
        """Returns once at least ``count`` partitions are processed here; waits forever otherwise."""
        while len(self.processing) < count:
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Joins and processes. When cancelled, finishes the batches in progress and leaves, within some seconds."""
        await self._ownership.run()

    async def _processor(self, owner: Owner) -> Processor:
        await self._refuse_lost_documents(owner)
        return Processor(
            owner,
            self._setup,
            self._clock,
            partitions=self._log.partitions,
            on_restored=self._restored,
            room=self._room,
        )

    def _of_the_namespace(self, assigned: frozenset[int]) -> frozenset[int]:
        """The assigned partitions that the namespace was created with: no key belongs to any other."""
        count = self._setup.partitions
        if beyond := sorted(partition for partition in assigned if partition >= count):
            topic = self._setup.topics.inputs
            _log.critical("inputs has grown, its new partitions are not read", topic=topic, beyond=beyond, remedy=GROWN)
        return frozenset(partition for partition in assigned if partition < count)

    def _restored(self) -> None:
        self._moved.set()
        self._gauge()

    def _gauge(self) -> None:
        processing, metrics = len(self.processing), self._setup.metrics
        metrics.set("partitions.processing", processing)
        metrics.set("partitions.restoring", len(list(self._ownership.drivers())) - processing)

    async def _refuse_lost_documents(self, owner: Owner) -> None:
        """Stops if the documents are gone: otherwise everything still in ``inputs`` would be decided again."""
        topics, partition = self._setup.topics, owner.partition
        if owner.position.now_ms or not await decided_before(self._log, topics, partition):
            return
        async for _ in owner.documents():
            return
        raise CorruptRecord(
            f"{topics.state}/{partition}",
            "there are no documents and no position, though the partition has a history: the topic was deleted or "
            "emptied; restore it from a copy, or use a fresh namespace",
        )
