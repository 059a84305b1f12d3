"""The names of a namespace's topics and how each must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .log import TopicSpec

__all__ = ["POSITION_KEY", "Topics"]

POSITION_KEY = b"~position"
"""Key of the record in the state topic that holds the consumed offset; no entity id begins with ``~``."""

_DAY_MS = 86_400_000


class Topics(NamedTuple):
    """Topic names under one namespace; see docs/wire-format.md."""

    namespace: str = "sagaline"

    @property
    def inputs(self) -> str:
        return f"{self.namespace}.inputs"

    @property
    def state(self) -> str:
        return f"{self.namespace}.state"

    @property
    def history(self) -> str:
        return f"{self.namespace}.history"

    @property
    def dead(self) -> str:
        return f"{self.namespace}.dead"

    @property
    def events(self) -> str:
        return f"{self.namespace}.events"

    def commands(self, queue: str) -> str:
        return f"{self.namespace}.commands.{queue}"

    def specs(self, queues: Sequence[str], partitions: int) -> list[TopicSpec]:
        """Every topic that an engine with these queues needs, all with the same number of partitions."""
        return [
            TopicSpec(self.inputs, partitions, "delete", 7 * _DAY_MS),
            TopicSpec(self.state, partitions, "compact"),
            TopicSpec(self.history, partitions, "delete", 90 * _DAY_MS),
            TopicSpec(self.events, partitions, "delete", 7 * _DAY_MS),
            TopicSpec(self.dead, partitions, "delete", 90 * _DAY_MS),
            *(TopicSpec(self.commands(queue), partitions, "delete", 7 * _DAY_MS) for queue in sorted(set(queues))),
        ]
