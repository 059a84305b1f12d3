"""Where a parcel may forward to: looked up before a commit, since one missing topic would fail the commit for all.

A topic is looked up before the first commit that writes to it. If it is missing the partition is taken again, and
decides anew with that knowledge: the record becomes a dead letter. Each later record to it looks again after its
commit, so a topic that was created is used from then on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from ..errors import LogUnavailable, TopicGone, TopicMismatch
from ..ports.topics import Topics

__all__ = ["Destination", "Destinations"]


class Destination(NamedTuple):
    """A topic and a partition; None: by the key."""

    topic: str
    partition: int | None


class Destinations:
    """Shared by the partitions of one engine. ``wrong`` knows what ``look`` has found."""

    def __init__(self) -> None:
        self._partitions: dict[str, int] = {}

    def wrong(self, to: Destination, topics: Topics) -> str | None:
        """Why nothing can be forwarded there, and what to do; None: nothing is known against it."""
        namespace = topics.namespace
        ours = (topics.made, topics.state, topics.history)
        if to.topic in ours or to.topic.startswith(f"{namespace}.parked."):
            return f"{to.topic} is written only by its owners; correct the topic and send it again"
        count = self._partitions.get(to.topic)
        if count == 0:
            return f"topic {to.topic} does not exist; create it, then redrive this"
        if count is not None and to.partition is not None and to.partition >= count:
            return (
                f"topic {to.topic} has {count} partitions, not {to.partition + 1}; correct the partition or give none"
            )
        return None

    async def look(
        self, wanted: Iterable[Destination], topics: Topics, partitions: Callable[[str], Awaitable[int]]
    ) -> None:
        """Returns if all of them exist.

        Raises:
            LogUnavailable: one does not, which is known from now on; or it cannot be looked up.
        """
        found = None
        for to in wanted:
            if to.topic not in self._partitions:
                self._partitions[to.topic] = await partitions(to.topic)
            found = found or self.wrong(to, topics)
        if found is not None:
            raise LogUnavailable(f"a record cannot be forwarded: {found}")

    async def look_again(self, missing: Iterable[str], partitions: Callable[[str], Awaitable[int]]) -> None:
        """Looks up topics to which something could not be forwarded."""
        for topic in missing:
            self._partitions[topic] = await partitions(topic)

    def lost(self, error: TopicMismatch | TopicGone) -> LogUnavailable:
        """A topic is gone that was there; which one may have to be looked up. Returns the error to raise."""
        if isinstance(error, TopicGone):
            self._partitions |= dict.fromkeys(error.topics, 0)
            return error
        self._partitions.clear()
        return LogUnavailable(f"a topic that is written to is missing: {error}")
