"""Reads a topic of the log from its beginning to its current end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ..errors import LogUnavailable
from ..ports.log import Record
from ..wiring import Base

__all__ = ["whole_topic"]

_POLL_MAX = 1_000


async def whole_topic(base: Base, topic: str, *, timeout_seconds: float) -> AsyncIterator[Record]:
    """Every record that was in the topic when reading began.

    Raises:
        LogUnavailable: the topic was not read to its end in time.
    """
    ends = await base.log.end_offsets([topic])
    tail = await base.log.tail([topic], "earliest")
    try:
        async with asyncio.timeout(timeout_seconds):
            while any(tail.positions().get(partition, 0) < end for partition, end in ends.items() if end):
                for record in await tail.poll(max_records=_POLL_MAX, timeout=0.5):
                    yield record
    except TimeoutError:
        raise LogUnavailable(f"{topic} was not read within {timeout_seconds:g} s; try again") from None
    finally:
        await tail.close()
