"""Membership and owner in memory: the broker's epoch is the fence, the state partition holds the documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from ..errors import CorruptRecord, LogUnavailable, OwnershipLost, ValueTooLarge
from ..ports.log import Batch, Outgoing, Position, Record, Start, TopicPartition
from ..ports.topics import POSITION_KEY
from .broker import Broker, Row
from .connection import Connection
from .cursor import Cursor
from .faults import Fault, Operation
from .groups import Member
from .partition import Partition

__all__ = ["MemoryMembership", "MemoryOwner", "Share", "recorded_offset"]


class Share(NamedTuple):
    """What a member has joined, and where it begins."""

    inputs: str
    state: str
    group: str
    start: Start


class _Owned(NamedTuple):
    inputs: Partition
    state: Partition
    epoch: int
    start: Start = "earliest"


class MemoryMembership:
    """See ``Membership``."""

    def __init__(self, broker: Broker, connection: Connection, share: Share) -> None:
        self._broker, self._connection, self._share = broker, connection, share
        self._news = asyncio.Event()
        self._last: frozenset[int] = frozenset()
        self._left = False
        self._member = Member(group=share.group, topics=(share.inputs,), connection=connection, wake=self._news.set)
        connection.listen(self, self._news.set)
        broker.groups.enter(self._member)

    async def changed(self) -> frozenset[int]:
        while True:
            self._news.clear()
            self._connection.check()
            if self._left or not self._broker.groups.has(self._member):
                raise LogUnavailable("this member is no longer in its group; leave and join again")
            found = self._assigned()
            if self._connection.reachable and found != self._last:
                self._last = found
                return found
            await self._news.wait()

    async def take(self, partition: int) -> MemoryOwner:
        return await self._connection.write(Operation.TAKE, lambda: self._take(partition))

    async def leave(self) -> None:
        if not self._left:
            self._left = True
            self._connection.listen(self, None)
            self._connection.leave(self._member)
            self._news.set()

    def _assigned(self) -> frozenset[int]:
        return frozenset(place.partition for place in self._broker.groups.assignment(self._member))

    def _take(self, partition: int) -> MemoryOwner:
        if self._left or partition not in self._assigned():
            raise OwnershipLost(
                f"{self._share.inputs}/{partition} is not assigned to this member; wait for the next assignment"
            )
        inputs, state, _, start = self._share
        epoch = self._broker.take(TopicPartition(state, partition))
        parts = self._broker.topic(inputs)[partition], self._broker.topic(state)[partition]
        return MemoryOwner(self._broker, self._connection, _Owned(*parts, epoch, start))


class MemoryOwner:
    """See ``Owner``."""

    def __init__(self, broker: Broker, connection: Connection, owned: _Owned) -> None:
        self._broker, self._connection, self._owned = broker, connection, owned
        self._documents = _restored(owned.state)
        self._position = _position(owned, self._documents)
        self._documents.pop(POSITION_KEY, None)
        self._spent = ""
        self._committing = False
        self._unknown = False
        self._backlog_end = owned.inputs.stable
        self._cursor = Cursor(connection)
        place = owned.inputs.place
        self._cursor.assign({place: owned.inputs}, {place: self._position.offset})

    @property
    def partition(self) -> int:
        return self._owned.inputs.place.partition

    @property
    def position(self) -> Position:
        return self._position

    @property
    def backlog_end(self) -> int:
        return self._backlog_end

    def get(self, key: bytes) -> bytes | None:
        return self._documents.get(key)

    async def documents(self) -> AsyncIterator[tuple[bytes, bytes]]:
        for key, value in list(self._documents.items()):
            yield key, value

    async def poll(self, *, max_records: int, timeout: float) -> Sequence[Record]:
        self._refuse_if_spent(committing=self._committing)
        try:
            await self._connection.read(Operation.POLL)
            return await self._cursor.poll(max_records, timeout)
        except LogUnavailable as error:
            self._spent = self._spent or str(error)
            raise

    async def commit(self, batch: Batch) -> None:
        self._refuse_if_spent()
        for key, value in batch.state.items():
            state = self._owned.state.place.topic
            self._broker.check_size(Outgoing(state, key, value), f"the document {key[:80]!r} for {state}")
        try:
            rows = self._rows(batch)
        except ValueTooLarge:
            raise
        except Exception as error:
            self._spent = str(error)
            raise
        # Spent until the outcome is known: a caller that is cancelled here must not use this owner again.
        self._unknown = self._committing = True
        try:
            await self._connection.write(
                Operation.COMMIT, lambda: self._commit(rows), {Fault.LATE: lambda: self._commit_late(rows)}
            )
        finally:
            self._committing = False
        for key, value in batch.state.items():
            if value is None:
                self._documents.pop(key, None)
            else:
                self._documents[key] = value
        self._position, self._unknown = batch.position, False

    async def release(self) -> None:
        self._spent = self._spent or "it was released"
        self._cursor.close()
        self._documents = {}

    def _rows(self, batch: Batch) -> list[Row]:
        position = json.dumps(batch.position._asdict()).encode()
        rows = [Row(self._owned.state, key, value, ()) for key, value in batch.state.items()]
        return [*rows, Row(self._owned.state, POSITION_KEY, position, ()), *self._broker.route(batch.appends)]

    def _commit(self, rows: Sequence[Row]) -> None:
        self._broker.commit(self._owned.state.place, self._owned.epoch, rows)

    def _commit_late(self, rows: Sequence[Row]) -> None:
        """The commit succeeds, its outcome is unknown, or its outcome is unknown and it fails."""
        faults = self._broker.faults
        known = faults.coin()
        self._broker.commit(
            self._owned.state.place,
            self._owned.epoch,
            rows,
            late_seconds=faults.seconds(Fault.LATE),
            vanishes=not known and faults.coin(),
        )
        if not known:
            raise LogUnavailable("the log did not answer in time; release, take again, and check the position")

    def _refuse_if_spent(self, *, committing: bool = False) -> None:
        why = self._spent
        if not why and self._unknown and not committing:
            why = "the outcome of its last commit is unknown"
        if why:
            place = self._owned.inputs.place
            raise OwnershipLost(
                f"this owner of {place.topic}/{place.partition} is spent ({why}): release it and take again"
            )


def recorded_offset(inputs: Partition, state: Partition) -> int:
    """The offset up to which inputs have been decided."""
    documents = _restored(state)
    return _position(
        _Owned(inputs, state, 0), {key: documents[key] for key in [POSITION_KEY] if key in documents}
    ).offset


def _restored(state: Partition) -> dict[bytes, bytes]:
    documents: dict[bytes, bytes] = {}
    for record in state.read(0, len(state.records)):
        if record.value is None:
            documents.pop(record.key or b"", None)
        else:
            documents[record.key or b""] = record.value
    return documents


def _position(owned: _Owned, documents: dict[bytes, bytes]) -> Position:
    place = owned.state.place
    where, stored = f"{place.topic}/{place.partition}", documents.get(POSITION_KEY)
    if stored is None:
        if documents:
            raise CorruptRecord(where, "there are documents but no position record")
        return Position(owned.inputs.first(owned.start), 0)
    try:
        value = json.loads(stored)
        position = Position(int(value["offset"]), int(value["now_ms"]))
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptRecord(where, f"the position record cannot be read ({error!r})") from error
    if not 0 <= position.offset <= owned.inputs.end:
        raise CorruptRecord(where, f"the position {position.offset} is past the end of its inputs, {owned.inputs.end}")
    return position
