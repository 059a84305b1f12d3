"""The log port on Apache Kafka: opens and closes everything, and delegates.

One client for metadata requests, one idempotent producer for appends; each owner, tail and subscription has its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from ...errors import ConfigurationError, LogUnavailable, UnreadableBatch
from ...ports.clock import Clock
from ...ports.log import Membership, Outgoing, Standing, Start, Subscription, Tail, TopicPartition, TopicSpec
from ...ports.stepping import Note, Opened, as_it_is
from .appender import Appender
from .batches import VALUE_BYTES_MAX
from .driver import require_sound_driver
from .membership import KafkaMembership
from .reader import Reader
from .settings import Connection
from .stepping import step_over_commands, step_over_inputs
from .subscription import KafkaSubscription
from .tail import KafkaTail
from .taking import Topics
from .topics import Catalog
from .wire import Wire

__all__ = ["KafkaLog"]

_SESSION_MIN_S = 6.0
"""The broker's default ``group.min.session.timeout.ms``."""
_MARKER_PAUSES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class KafkaLog:
    """See ``ports.log.Log``. ``open`` it first, inside the event loop that uses it.

    Args:
        bootstrap: host:port of one or more brokers, separated by commas; or a ``Connection``, for other deadlines.
        clock: for the timestamps of records.
        development: accepts topics with replication factor 1, which lose records when their broker dies.
        replication_factor: of topics that ``create_topics`` creates; None: 3, or 1 in development.
        member_timeout: a member without heartbeats for this long loses its partitions; brokers accept at least 6 s.

    Raises:
        ConfigurationError: the address is malformed, or replication factor 1 is asked for outside development.
    """

    def __init__(
        self,
        bootstrap: str | Connection,
        *,
        clock: Clock,
        development: bool = False,
        replication_factor: int | None = None,
        member_timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        factor = replication_factor if replication_factor is not None else (1 if development else 3)
        if factor < 1 or (factor == 1 and not development):
            raise ConfigurationError(
                f"replication factor {factor} loses acknowledged records when a broker dies: "
                "use 3, or declare development"
            )
        connection = Connection(bootstrap=bootstrap) if isinstance(bootstrap, str) else bootstrap
        session_s = max(_SESSION_MIN_S, member_timeout.total_seconds())
        self._connection = replace(connection, limits=replace(connection.limits, session_s=session_s))
        self._factor = factor
        self._development = development
        self._clock = clock
        self._opened: set[KafkaTail | KafkaSubscription | KafkaMembership] = set()
        self._parts: tuple[Wire, Catalog, Appender] | None = None
        self._closed = False

    async def __aenter__(self) -> KafkaLog:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Returns when a broker has answered.

        Raises:
            ConfigurationError: this aiokafka cannot be used; the message says what to install.
            LogUnavailable: no broker answers at the address within ``limits.answer_s``.
        """
        if self._parts is not None:
            return
        require_sound_driver()
        wire = Wire(self._connection)
        catalog = Catalog(self._connection, wire, self._factor, development=self._development)
        try:
            await wire.topics()
        except LogUnavailable as error:
            await wire.close()
            limit = self._connection.limits.answer_s
            raise LogUnavailable(
                f"no Kafka broker answers at {self._connection.bootstrap} within {limit:g} s: "
                "check the address and that the broker runs (a local one: python compose/kafka.py up)"
            ) from error
        self._parts = wire, catalog, Appender(self._connection, catalog, self._clock)

    @property
    def max_value_bytes(self) -> int:
        return VALUE_BYTES_MAX

    async def create_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        return await self._catalog.create(specs)

    async def check_topics(self, specs: Sequence[TopicSpec]) -> None:
        await self._catalog.check(specs)

    async def topics(self) -> Collection[str]:
        return await self._catalog.names()

    async def partitions(self, topic: str) -> int:
        return (await self._catalog.partitions([topic])).get(topic, 0)

    async def append(self, records: Sequence[Outgoing]) -> None:
        _, _, appender = self._require_open()
        await appender.append(records)

    async def join(self, inputs: str, state: str, group: str, *, start: Start = "earliest") -> Membership:
        wire, catalog, _ = self._require_open()
        await catalog.places([inputs, state])
        membership = KafkaMembership(self._connection, wire, catalog, self._clock, Topics(inputs, state, start))
        await membership.join(group)
        self._opened -= {one for one in self._opened if isinstance(one, KafkaMembership) and one.left}
        self._opened.add(membership)
        return membership

    async def standing(self, inputs: str, state: str, group: str) -> Mapping[int, Standing]:
        wire, catalog, _ = self._require_open()
        places = await catalog.places([inputs])
        assigned, recorded = await wire.assigned(group), await wire.recorded(group)
        earliest = await wire.offsets([place for place in places if place not in recorded], "earliest")
        return {
            place.partition: Standing(assigned is None or place in assigned, (earliest | recorded)[place])
            for place in places
        }

    async def is_read(self, topic: str, group: str) -> bool:
        wire, catalog, _ = self._require_open()
        places = await catalog.places([topic])
        assigned = await wire.assigned(group)
        return assigned is None or assigned.issuperset(places)

    async def consumed(self, topic: str, group: str) -> Mapping[TopicPartition, int]:
        wire, catalog, _ = self._require_open()
        places, recorded = await catalog.places([topic]), await wire.recorded(group)
        return {place: recorded.get(place, 0) for place in places}

    async def subscribe(self, topics: Sequence[str], group: str) -> Subscription:
        wire, catalog, _ = self._require_open()
        await catalog.places(topics)
        subscription = KafkaSubscription(self._connection, wire, topics, group, self._opened.discard)
        await subscription.start()
        self._opened.add(subscription)
        return subscription

    async def tail(
        self,
        topics: Sequence[str],
        start: Mapping[TopicPartition, int] | Literal["earliest", "latest"],
        *,
        partitions: Collection[int] | None = None,
    ) -> Tail:
        wire, catalog, _ = self._require_open()
        places = [each for each in await catalog.places(topics) if partitions is None or each.partition in partitions]
        if start == "latest":
            positions = await _committed_ends(wire, places)
        else:
            positions = await wire.offsets(places, "earliest")
            if not isinstance(start, str):
                ends = await wire.offsets(places, "high")
                for place, offset in start.items():
                    if place in positions and positions[place] < offset <= ends[place]:
                        positions[place] = offset
        reader = Reader(self._connection, positions)
        await reader.start()
        tail = KafkaTail(reader, catalog, self._opened.discard)
        self._opened.add(tail)
        return tail

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        wire, catalog, _ = self._require_open()
        return await _committed_ends(wire, await catalog.places(topics))

    async def step_over_inputs(
        self, topics: Topics, partition: int, offset: int, note: Note, *, opened: Opened = as_it_is
    ) -> UnreadableBatch:
        """Gives up one batch that can never be read; see ``stepping.py``."""
        wire, catalog, _ = self._require_open()
        await catalog.require(topics.state, partition)
        await catalog.require(topics.inputs, partition)
        at = topics, partition, offset, note, opened
        return await step_over_inputs(self._connection, wire, catalog, self._clock, at)

    async def step_over_commands(
        self, place: TopicPartition, offset: int, group: str, note: Note, *, opened: Opened = as_it_is
    ) -> UnreadableBatch:
        """Gives up one batch that can never be read; see ``stepping.py``."""
        _, catalog, _ = self._require_open()
        await catalog.require(*place)
        found = await step_over_commands(self._connection, place, offset, group, opened)
        await self.append([note(found)])
        return found

    async def close(self) -> None:
        if self._closed or self._parts is None:
            self._closed = True
            return
        self._closed = True
        wire, _, appender = self._parts
        ends = [one.leave() if isinstance(one, KafkaMembership) else one.close() for one in list(self._opened)]
        self._opened.clear()
        await asyncio.gather(*ends, appender.close(), return_exceptions=True)
        await wire.close()

    @property
    def _catalog(self) -> Catalog:
        return self._require_open()[1]

    def _require_open(self) -> tuple[Wire, Catalog, Appender]:
        if self._parts is None or self._closed:
            raise LogUnavailable("this log is not open: call open() first, and do not use it after close()")
        return self._parts


async def _committed_ends(wire: Wire, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The end of the committed records, including every commit acknowledged before this call.

    A commit is acknowledged a moment before its markers are written everywhere, so this waits for transactions that
    are being completed, but not for one that stays open (its producer died).
    """
    written = await wire.offsets(places, "high")
    found = await wire.offsets(places, "stable")
    for pause_s in _MARKER_PAUSES_S:
        behind = [place for place in places if found[place] < written[place]]
        if not behind:
            break
        await asyncio.sleep(pause_s)
        found |= await wire.offsets(behind, "stable")
    return found
