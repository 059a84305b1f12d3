"""The timeline of an instance: the newest decisions of its last run, as bars."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ..kernel.recompute import begins
from ..kernel.timeline import Timeline, timeline
from ..messages.history import HistoryRecord
from ..messages.inputs import Start
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
    records, after = list[HistoryRecord](), -1
    while len(records) < limit and not (records and begins(records[-1])):
        wanted = min(_PAGE, limit - len(records))
        page = await client.history(instance, after=after, limit=wanted, newest_first=True)
        first = next((number for number, row in enumerate(page, start=1) if begins(row.record)), len(page))
        records += [_without_body(row.record) for row in page[:first]]
        if len(page) < wanted:
            break
        after = page[-1].sequence
    history = records[::-1]
    _, definition = await definition_of(client, instance, history)
    tree = definition.tree if definition is not None else None
    return await asyncio.to_thread(timeline, history, tree), len(history)


def _without_body(record: HistoryRecord) -> HistoryRecord:
    """Ten thousand replies may be some gigabytes. A start says which definition it is of."""
    return record if isinstance(record.message, Start) else replace(record, message=None)
