"""The timeline of an instance: the newest decisions of its last run, as bars."""

from __future__ import annotations

import asyncio

from ..kernel.recompute import begins
from ..kernel.timeline import Timeline, timeline
from ..ports.read_model import HistoryRow
from .client import Client
from .revisions import definition_of

__all__ = ["DECISIONS_MAX", "timeline_of"]

DECISIONS_MAX = 10_000
_PAGE = 500


async def timeline_of(client: Client, instance: str, limit: int) -> tuple[Timeline, int]:
    """The bars of the last run of a key, and how many decisions were read for them.

    Args:
        client: where to read.
        instance: its id.
        limit: the largest number of decisions to read, the newest; up to ``DECISIONS_MAX``.

    Raises:
        UnknownInstance: there is no decision about it.
        InvalidRequest, TransientError: as ``Client.get``.
    """
    rows: list[HistoryRow] = []
    while len(rows) < limit and not (rows and begins(rows[-1].record)):
        wanted = min(_PAGE, limit - len(rows))
        page = await client.history(instance, after=rows[-1].sequence if rows else -1, limit=wanted, newest_first=True)
        first = next((number for number, row in enumerate(page, start=1) if begins(row.record)), len(page))
        rows += page[:first]
        if len(page) < wanted:
            break
    history = [row.record for row in reversed(rows)]
    _, definition = await definition_of(client, instance, history)
    tree = definition.tree if definition is not None else None
    return await asyncio.to_thread(timeline, history, tree), len(rows)
