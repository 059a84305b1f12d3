"""Reads the history by its place in the log, for readers of the feed that are behind what is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import merge

from sqlalchemy import Connection

from ...errors import TransientError
from ...ports.log import TopicPartition
from ...ports.read_model import DecisionRow, Decisions
from . import statements

__all__ = ["read_decisions"]


def read_decisions(connection: Connection, *, log: int, after: Mapping[TopicPartition, int], limit: int) -> Decisions:
    """See ``ReadModel.decisions``. Each statement has its own snapshot: the positions are read before the rows, which
    are then complete up to them, and again afterwards, as a clearing takes rows away.

    Raises:
        TransientError: it is being cleared.
    """
    fed = _fed(connection, log, after)
    share = -(-limit // max(len(after), 1))
    found: list[list[tuple[int, DecisionRow]]] = []
    first: dict[int, int] = {}
    following: dict[int, int] = {}
    for at, start in after.items():
        number = at.partition
        oldest = connection.execute(statements.decisions(log, number, 0, 1)).first()
        first[number] = oldest.sequence if oldest is not None else fed[at]
        rows = connection.execute(statements.decisions(log, number, start, share)).all()
        following[number] = max(start, min(fed[at], rows[-1].sequence + 1 if len(rows) == share else fed[at]))
        found.append(
            [
                (row.at_ms, DecisionRow(number, row.sequence, row.instance, row.record.encode()))
                for row in rows
                if row.sequence < fed[at]
            ]
        )
    if any(fed[at] > offset for at, offset in _fed(connection, log, after).items()):
        raise TransientError("the read model is being cleared and filled again; try again")
    return Decisions([row for _, row in merge(*found, key=lambda each: each[0])], following, first)


def _fed(connection: Connection, log: int, after: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    rows = connection.execute(statements.positions(log))
    fed = {TopicPartition(row.topic, row.part): row.next for row in rows}
    return {at: fed.get(at, 0) for at in after}
