"""A relay's work in the database, in short transactions: claims lanes, reads their rows, removes what is out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, exists, func, select, text, update

from ...orchestrator.ports.log import Outgoing
from .outbox import headers_of
from .tables import LANES, OUTBOX, settled

__all__ = ["Backlog", "Waiting", "claim", "measure", "release", "remove"]

_COUNTED_MAX: Final = 100_000


class Waiting(NamedTuple):
    """A row that is to be published."""

    id: int
    lane: int
    message_id: str
    outgoing: Outgoing


class Backlog(NamedTuple):
    """``rows``: that wait, counted up to 100,000; ``oldest_ms``: when the first of them was added; ``refused``: rows
    that can never be published.
    """

    rows: int
    oldest_ms: int | None
    refused: int


def claim(connection: Connection, owner: str, now_ms: int, *, lease_ms: int, lanes: int, rows: int) -> list[Waiting]:
    """Rows in order of their ids, of lanes that nobody else has until the lease is over or ``release``."""
    now_ms = _now_ms(connection, now_ms)
    waits = exists().where(OUTBOX.c.lane == LANES.c.lane, OUTBOX.c.error.is_(None), settled())
    free = select(LANES.c.lane).where(LANES.c.until_ms < now_ms, waits).order_by(LANES.c.turn, LANES.c.lane)
    free = free.limit(lanes).with_for_update(skip_locked=True, of=LANES)
    taken = list(connection.scalars(free))
    if not taken:
        return []
    connection.execute(
        update(LANES)
        .where(LANES.c.lane.in_(taken))
        .values(owner=owner, until_ms=now_ms + lease_ms, turn=LANES.c.turn + 1)
    )
    first = (
        select(OUTBOX)
        .where(OUTBOX.c.lane.in_(taken), OUTBOX.c.error.is_(None), settled())
        .order_by(OUTBOX.c.id)
        .limit(rows)
    )
    return [
        Waiting(row.id, row.lane, row.message_id, Outgoing(row.topic, row.key, row.value, headers_of(row.headers)))
        for row in connection.execute(first)
    ]


def remove(connection: Connection, owner: str, published: Sequence[int], refused: Mapping[int, str]) -> None:
    """Deletes what was published in one statement, notes what never can be, and gives the lanes back."""
    if published:
        connection.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(published)))
    for id, error in refused.items():
        connection.execute(update(OUTBOX).where(OUTBOX.c.id == id).values(error=error))
    release(connection, owner)


def release(connection: Connection, owner: str) -> None:
    """Gives the lanes back."""
    connection.execute(update(LANES).where(LANES.c.owner == owner).values(owner="", until_ms=0))


def measure(connection: Connection) -> Backlog:
    """How much waits, and since when."""
    some = select(OUTBOX.c.at_ms).where(OUTBOX.c.error.is_(None)).order_by(OUTBOX.c.id).limit(_COUNTED_MAX).subquery()
    rows, oldest_ms = connection.execute(select(func.count(), func.min(some.c.at_ms)).select_from(some)).one()
    refused = connection.scalar(select(func.count()).select_from(OUTBOX).where(OUTBOX.c.error.is_not(None)))
    return Backlog(rows, oldest_ms, refused or 0)


def _now_ms(connection: Connection, now_ms: int) -> int:
    """The server's time, by which several hosts agree; on SQLite they are one host."""
    if connection.dialect.name != "postgresql":
        return now_ms
    return int(connection.scalar(text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")) or 0)
