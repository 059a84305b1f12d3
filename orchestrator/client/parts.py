"""The parts of a client; the code that builds it also runs the feed and the projector."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..kernel import Registry
from ..ports.clock import Clock
from ..ports.log import Log, TopicPartition
from ..ports.read_model import ReadModel
from ..ports.topics import Topics
from ..tracing import Tracing
from ..vault import Vault
from .feed import Feed

__all__ = ["ClientParts", "Projection", "Readiness"]


class Projection(Protocol):
    """The interface of the projector that a client needs."""

    @property
    def followed_at(self) -> float: ...

    async def passed(
        self, instance: str, revision: int, history: tuple[TopicPartition, int], *, timeout: float
    ) -> bool: ...

    async def followed(self, *, timeout: float) -> None: ...

    async def caught_up(self, *, timeout: float) -> None: ...

    async def lag(self) -> int: ...


class Readiness(Protocol):
    """The interface of the watch that a client needs."""

    async def check(self) -> None: ...

    def notices(self, queues: Collection[str]) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientParts:
    """The parts of a client. ``feed``, ``projector`` and ``watch`` are run by the code that builds them.

    ``identity``: tells this log from others; see ``log_identity``.
    """

    log: Log
    topics: Topics
    registry: Registry
    clock: Clock
    tracing: Tracing
    read_model: ReadModel
    projector: Projection
    feed: Feed
    watch: Readiness
    identity: Callable[[], Awaitable[bytes]]
    vault: Vault
