"""Requests to the broker outside any producer or consumer: topics, offsets, transactions, topic creation.

One shared client per log. Every request is retried until its deadline, and the client is replaced when all brokers that
it knows are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import aiokafka.errors as errors
from aiokafka.protocol.offset import OffsetRequest

from ...errors import LogUnavailable, TopicGone
from ...ports.log import TopicPartition
from .describe import DescribeTransactions
from .driver import BROKEN, Admin, Assignment, Coordination, Partition, topic_resource
from .ending import within
from .settings import Connection

__all__ = ["EXPLAIN_S", "TopicState", "Wire"]

T = TypeVar("T")
_ID_UNKNOWN = 105
_GROUP_UNKNOWN = 69
_RETRY_S = 0.1
_GONE_AFTER_S = 1.0
"""A broker that has just started may not know its topics yet."""
EXPLAIN_S = 1.0
"""Most time to find out why a call failed; it is part of the call's deadline."""
_Place = Literal["earliest", "stable", "high"]
_ASKED = {"earliest": (-2, 0), "stable": (-1, 1), "high": (-1, 0)}
"""Timestamp and isolation level of a ListOffsets request."""


class TopicState(NamedTuple):
    """A topic in the cluster: partitions, partitions with a leader, and the smallest number of replicas of any."""

    partitions: int
    led: int
    replicas: int


class Wire:
    """See the module's docstring. Safe for concurrent use by tasks of one loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin: Any = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        await self._drop()

    async def topics(self) -> Mapping[str, TopicState]:
        """Every topic of the cluster. It requests all, because a request by name could create a topic."""

        async def ask(admin: Any) -> Mapping[str, TopicState]:
            found = await admin.describe_topics(None)
            return {topic["topic"]: _topic_state(topic["partitions"]) for topic in found if not topic["error_code"]}

        return await self._asked("listing topics", ask)

    async def configs(self, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """The configuration of existing topics."""

        async def ask(admin: Any) -> Mapping[str, Mapping[str, str]]:
            answers = await admin.describe_configs([topic_resource(name) for name in names])
            found: dict[str, Mapping[str, str]] = {}
            for code, _message, _kind, name, entries in (row for answer in answers for row in answer.resources):
                if code:
                    raise errors.for_code(code)(name)
                found[name] = {entry[0]: entry[1] for entry in entries}
            return found

        return await self._asked("reading topic configurations", ask)

    async def create(self, new_topics: Sequence[Any]) -> Mapping[str, tuple[int, str]]:
        """Creates topics; per topic the broker's error code (0: created, 36: exists) and its message."""

        async def ask(admin: Any) -> Mapping[str, tuple[int, str]]:
            answer = await admin.create_topics(list(new_topics))
            return {row[0]: (row[1], (row[2] or "") if len(row) > 2 else "") for row in answer.topic_errors}

        return await self._asked("creating topics", ask)

    async def offsets(self, places: Iterable[TopicPartition], place: _Place | int) -> dict[TopicPartition, int]:
        """Per partition: the first record kept, the end of the committed records (LSO), the high watermark, or the
        first record of a time (milliseconds since epoch) or later; -1: there is none.
        """
        wanted = list(places)
        timestamp, isolation = _ASKED[place] if isinstance(place, str) else (place, 1)

        async def ask(admin: Any) -> dict[TopicPartition, int]:
            client = admin._client
            by_leader: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
            for topic, partition in wanted:
                leader = client.cluster.leader_for_partition(Partition(topic, partition))
                if leader is None or leader < 0:
                    raise errors.LeaderNotAvailableError(f"{topic}/{partition}")
                by_leader[leader][topic].append((partition, timestamp))
            asked = [
                client.send(leader, OffsetRequest(-1, isolation, list(topics.items())))
                for leader, topics in by_leader.items()
            ]
            found: dict[TopicPartition, int] = {}
            for answer in await asyncio.gather(*asked):
                for topic, rows in answer.topics:
                    for partition, code, _timestamp, offset in rows:
                        if code:
                            raise errors.for_code(code)(f"{topic}/{partition}")
                        found[TopicPartition(topic, partition)] = offset
            return found

        topics = {place.topic for place in wanted}
        return await self._asked("asking for offsets", ask, topics) if wanted else {}

    async def explained(self, error: LogUnavailable, topics: Iterable[str]) -> LogUnavailable:
        """The same error, or TopicGone if missing topics are the cause."""
        try:
            async with asyncio.timeout(EXPLAIN_S):
                known = await self.topics()
        except (LogUnavailable, TimeoutError):
            return error
        missing = sorted(set(topics) - known.keys())
        return TopicGone(missing) if missing else error

    async def transaction(self, transactional_id: str) -> str | None:
        """The coordinator's state of an id's last transaction: Ongoing, CompleteCommit, ...; None: id unknown."""

        async def ask(admin: Any) -> str | None:
            client = admin._client
            node = await client.coordinator_lookup(Coordination.TRANSACTION, transactional_id)
            answer = await client.send(node, DescribeTransactions(transactional_id))
            code, _id, state = answer.states[0][:3]
            if code == _ID_UNKNOWN:
                return None
            if code:
                raise errors.for_code(code)(transactional_id)
            return str(state)

        return await self._asked(f"asking about the transaction of {transactional_id}", ask)

    async def assigned(self, group: str) -> frozenset[TopicPartition] | None:
        """The partitions of a group's live members; None: a rebalance is in progress."""

        async def ask(admin: Any) -> frozenset[TopicPartition] | None:
            ((code, _name, state, _kind, _protocol, members, *_),) = (await admin.describe_consumer_groups([group]))[
                0
            ].groups
            if code and code != _GROUP_UNKNOWN:
                raise errors.for_code(code)(group)
            if members and state != "Stable":
                return None
            shares = [Assignment.decode(member[4]) for member in members if member[4]]
            return frozenset(TopicPartition(*where) for share in shares for where in share.partitions())

        return await self._asked(f"asking about the group {group}", ask)

    async def recorded(self, group: str) -> dict[TopicPartition, int]:
        """The offsets that a group has recorded."""

        async def ask(admin: Any) -> dict[TopicPartition, int]:
            found = await admin.list_consumer_group_offsets(group)
            return {TopicPartition(*where): kept.offset for where, kept in found.items() if kept.offset >= 0}

        return await self._asked(f"reading the offsets of the group {group}", ask)

    async def _asked(self, doing: str, ask: Callable[[Any], Awaitable[T]], topics: Collection[str] = ()) -> T:
        limit = self._connection.limits.answer_s
        last: list[str] = []
        try:
            return await within(self._until_answered(ask, last, topics), limit)
        except TimeoutError as error:
            await self._drop()
            why = f" ({last[-1]})" if last else ""
            raise LogUnavailable(self._connection.gone(doing, limit) + why) from error

    async def _until_answered(self, ask: Callable[[Any], Awaitable[T]], last: list[str], topics: Collection[str]) -> T:
        wait, loop = 0.0, asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                admin = await self._started()
                return await ask(admin)
            # AttributeError: aiokafka reads the controller's id while the cluster has none.
            except (*BROKEN, AttributeError) as error:
                last[:] = [f"{type(error).__name__}: {error}"]
                await asyncio.sleep(wait)
                wait = _RETRY_S
                if self._admin is not None:
                    await self._admin._client.force_metadata_update()
                if topics and loop.time() - began > _GONE_AFTER_S:
                    await self._refuse_gone(topics)

    async def _refuse_gone(self, topics: Collection[str]) -> None:
        with contextlib.suppress(*BROKEN):
            found = await (await self._started()).describe_topics(None)
            missing = set(topics) - {topic["topic"] for topic in found if not topic["error_code"]}
            if missing and found:
                raise TopicGone(sorted(missing))

    async def _started(self) -> Any:
        async with self._lock:
            if self._closed:
                raise LogUnavailable("the log has been closed: open another")
            if self._admin is None:
                admin = Admin(**self._connection.options(self._connection.limits.answer_s))
                await admin.start()
                self._admin = admin
            return self._admin

    async def _drop(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            try:
                await within(admin.close(), 1.0)
            except BROKEN:
                return


def _topic_state(rows: Sequence[Mapping[str, Any]]) -> TopicState:
    led = sum(1 for row in rows if row["leader"] >= 0)
    return TopicState(len(rows), led, min((len(row["replicas"]) for row in rows), default=0))
