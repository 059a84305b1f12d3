"""What a client stands on; whoever makes it runs the feed and the projector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..kernel import Registry
from ..ports.clock import Clock
from ..ports.log import Log, TopicPartition
from ..ports.read_model import ReadModel
from ..ports.topics import Topics
from ..tracing import Tracing
from .feed import Feed

__all__ = ["ClientParts", "Projection", "Readiness"]


class Projection(Protocol):
    """What a client needs of the projector."""

    async def passed(
        self, instance: str, revision: int, history: tuple[TopicPartition, int], *, timeout: float
    ) -> bool: ...

    async def followed(self, *, timeout: float) -> None: ...

    async def caught_up(self, *, timeout: float) -> None: ...

    async def lag(self) -> int: ...


class Readiness(Protocol):
    """What a client needs of the watch."""

    async def check(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientParts:
    """What a client stands on. ``feed``, ``projector`` and ``watch`` are run by their maker."""

    log: Log
    topics: Topics
    registry: Registry
    clock: Clock
    tracing: Tracing
    read_model: ReadModel
    projector: Projection
    feed: Feed
    watch: Readiness
