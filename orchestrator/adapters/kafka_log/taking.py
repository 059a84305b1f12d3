"""Taking a partition: the order of steps that gives an owner the true state.

1. Ask the coordinator for the outcome of the id's last transaction, before step 2 changes the answer.
2. Start the producer: fences the predecessor, ends its open transaction.
3. Compare the end of the committed records with the high watermark on every partition of the last transaction. A killed
   broker may have completed it without its markers there (seen with replication factor 1).
4. If they differ, decide it by one transaction without records and with the coordinator's outcome.
5. Only now is the state partition's end offset final: restore up to it.

After a crash in any gap the steps are repeated from step 1 with the same result; only step 4 writes, and it writes the
outcome that a repetition would also choose.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from ...errors import CorruptRecord, LogUnavailable
from ...ports.log import Position, Start, TopicPartition
from .ending import translated
from .restore import last_touched, restore
from .settings import Connection
from .transactor import Transactor
from .wire import Wire

__all__ = ["Taken", "Topics", "take"]

_log = structlog.get_logger(__name__)


class Topics(NamedTuple):
    """The topics of a group of owners, and where a partition without a position begins."""

    inputs: str
    state: str
    start: Start = "earliest"


class Taken(NamedTuple):
    """A taken partition: its producer, its documents, its position and the end of its backlog."""

    transactor: Transactor
    documents: dict[bytes, bytes]
    position: Position
    backlog_end: int


async def take(connection: Connection, wire: Wire, topics: Topics, partition: int) -> Taken:
    """See the module's steps.

    Raises:
        LogUnavailable: the broker did not answer in time; nothing is held.
        CorruptRecord: state and position contradict each other.
    """
    state, inputs = TopicPartition(topics.state, partition), TopicPartition(topics.inputs, partition)
    transactional_id = f"{topics.state}-{partition}"
    outcome = await wire.transaction(transactional_id)
    transactor = Transactor(connection, transactional_id)
    try:
        await transactor.start()
        await _settle(connection, wire, state, transactor, outcome)
        documents, position = await restore(connection, wire, state)
        start, end = await _range(wire, inputs, position, topics.start)
    except BaseException:
        await transactor.stop()
        raise
    return Taken(transactor, documents, position or Position(start, 0), end)


async def _settle(
    connection: Connection, wire: Wire, state: TopicPartition, transactor: Transactor, outcome: str | None
) -> None:
    if outcome is None:
        if await _undecided(wire, {state}):
            raise CorruptRecord(
                f"{state.topic}/{state.partition}",
                "there is an open transaction that the coordinator does not know any more: end it by hand "
                "(kafka-transactions.sh find-hanging, then abort), then start again",
            )
        return
    touched = await last_touched(connection, wire, state) | {state}
    undecided = await _undecided(wire, touched)
    if not undecided:
        return
    commit = outcome in ("CompleteCommit", "PrepareCommit")
    _log.warning(
        "settling a transaction that the broker has not marked on all partitions",
        transactional_id=transactor.transactional_id,
        outcome="commit" if commit else "abort",
        partitions=[f"{topic}/{partition}" for topic, partition in sorted(undecided)],
    )
    with translated(connection.gone("settling the predecessor's transaction", connection.limits.commit_s)):
        await transactor.settle(undecided, commit=commit)
    if state in await _undecided(wire, {state}):
        raise LogUnavailable(f"{state.topic}/{state.partition} is not settled yet: take the partition again")


async def _undecided(wire: Wire, places: frozenset[TopicPartition] | set[TopicPartition]) -> set[TopicPartition]:
    """The partitions with records between the committed end and the high watermark.

    A partition can be shared with other owners, whose open transactions look the same: a settling transaction writes
    one marker of ours there, which does not affect theirs.
    """
    known = await wire.topics()
    there = [place for place in places if place.topic in known and place.partition < known[place.topic].partitions]
    high = await wire.offsets(there, "high")
    stable = await wire.offsets(there, "stable")
    return {place for place in there if stable[place] < high[place]}


async def _range(wire: Wire, inputs: TopicPartition, position: Position | None, start: Start) -> tuple[int, int]:
    """The first input to read and the end of the partition; checks that the position is between them."""
    end = (await wire.offsets([inputs], "high"))[inputs]
    earliest = (await wire.offsets([inputs], "earliest"))[inputs]
    if position is None:
        if start == "earliest":
            return earliest, end
        found = (await wire.offsets([inputs], "stable" if start == "latest" else start))[inputs]
        return (found if found >= 0 else end), end
    where = f"{inputs.topic}/{inputs.partition}"
    if position.offset > end:
        raise CorruptRecord(
            where,
            f"the position {position.offset} is past the end {end}: the topic was truncated or created again while "
            "its state was kept; restore it, or remove the state topic as well",
        )
    if position.offset < earliest:
        # Retention also deletes transaction markers, so this alone does not mean that records are lost.
        _log.warning("inputs before the earliest kept record are gone", place=where, position=position.offset)
    return position.offset, end
