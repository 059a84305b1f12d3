"""The log and the inbox in memory pass the suites of their ports: on asyncio's own loop and in virtual time."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import ClassVar

import pytest

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.testing import Broker, InboxStore, MemoryInbox, MemoryLog, SimClock, run
from sagaline.workers.inbox import Inbox, Statement

from .harness import QUEUE, Breakable
from .inbox_contract import InboxContract
from .log_contract import LogContract

SEEDS = (1, 2, 3)


class TestMemoryLog(LogContract):
    """With offsets left out after each transaction, as on Kafka; its other side is cut off."""

    deadline_seconds: ClassVar[float] = 0.3

    @pytest.fixture
    def broker(self) -> Broker:
        return Broker(SystemClock())

    @pytest.fixture
    async def log(self, broker: Broker) -> AsyncIterator[MemoryLog]:
        async with MemoryLog(broker) as log:
            yield log

    @pytest.fixture
    async def second_log(self, broker: Broker) -> AsyncIterator[MemoryLog]:
        async with MemoryLog(broker) as log:
            yield log

    @pytest.fixture
    async def breakable(self, broker: Broker) -> AsyncIterator[Breakable]:
        deadline = timedelta(seconds=self.deadline_seconds)
        async with MemoryLog(broker, deadline=deadline, member_timeout=timedelta(seconds=1)) as log:

            async def cut() -> None:
                log.cut()

            async def mend() -> None:
                log.mend()

            yield Breakable(log, cut, mend)


LAWS = sorted(name for name in dir(LogContract) if name.startswith("test_"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("law", LAWS)
def test_every_law_holds_in_virtual_time(law: str, seed: int) -> None:
    """Offsets follow each other, as in SQLite; the other side falls silent; ready steps run in the seed's order."""
    function = getattr(LogContract(), law)
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    for more in [{mark.args[0]: value} for mark in marks for value in mark.args[1]] or [{}]:
        run(in_virtual_time(function, more), seed=seed)


async def in_virtual_time(law: Callable[..., Awaitable[None]], more: dict[str, object]) -> None:
    """Gives a law what pytest's fixtures would give it."""
    broker, deadline = Broker(SimClock(0), gaps=False), timedelta(seconds=LogContract.deadline_seconds)
    log, second = MemoryLog(broker), MemoryLog(broker)
    third = MemoryLog(broker, deadline=deadline)
    topics = Topics("t")
    await log.create_topics(topics.specs([QUEUE], LogContract.partitions))

    async def cut() -> None:
        third.pause()

    async def mend() -> None:
        third.mend()

    known = {"log": log, "second_log": second, "topics": topics, "breakable": Breakable(third, cut, mend)} | more
    await law(**{name: known[name] for name in inspect.signature(law).parameters})


class TestMemoryInbox(InboxContract):
    @pytest.fixture
    def store(self) -> InboxStore:
        self.kept = InboxStore("CREATE TABLE marks (label TEXT PRIMARY KEY);")
        return self.kept

    @pytest.fixture
    def inbox(self, store: InboxStore) -> Inbox:  # type: ignore[override]  # nothing of it needs an end
        return MemoryInbox(store, retention=timedelta(seconds=1))

    @pytest.fixture
    def second_inbox(self, store: InboxStore) -> Inbox:  # type: ignore[override]  # as above
        return MemoryInbox(store, retention=timedelta(seconds=1))

    def mark(self, label: str) -> Statement:
        return "INSERT INTO marks VALUES (?)", (label,)

    async def marks(self) -> list[str]:
        return [str(label) for (label,) in self.kept.rows("SELECT label FROM marks ORDER BY label")]
