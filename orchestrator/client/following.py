"""Follows topics from their end, for what waits for records: decisions of requests, replies of workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NoReturn

import structlog

from ..errors import SagalineError
from ..ports.log import Log, Record, TopicPartition

__all__ = ["follow"]

_POLL_RECORDS = 1_000
_POLL_SECONDS = 1.0
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_log = structlog.get_logger("sagaline.client")


async def follow(
    log: Log,
    topic: str,
    deliver: Callable[[Sequence[Record]], None],
    opened: Callable[[Mapping[TopicPartition, int]], None],
    *,
    name: str,
    partitions: Collection[int] | None = None,
    start: Callable[[], Awaitable[Mapping[TopicPartition, int]]] | None = None,
) -> NoReturn:
    """Never returns: errors are logged, and reading continues after the last poll that was delivered.

    So no record is missed, and some are delivered again when ``deliver`` raised.

    Args:
        log: the log.
        topic: read from its end.
        deliver: called with the records of each poll.
        opened: called with the positions once everything that is appended from then on will be read.
        name: what it is, for the log.
        partitions: only these; None: all.
        start: where to begin; None: at the end.
    """
    positions: Mapping[TopicPartition, int] | None = None
    failures = 0
    while True:
        try:
            if positions is None and start is not None:
                positions = await start()
            tail = await log.tail([topic], "latest" if positions is None else positions, partitions=partitions)
            positions = dict(tail.positions())
            opened(positions)
            try:
                while True:
                    deliver(await tail.poll(max_records=_POLL_RECORDS, timeout=_POLL_SECONDS))
                    positions, failures = dict(tail.positions()), 0
            finally:
                await tail.close()
        except SagalineError as error:
            _log.warning(f"{name} was interrupted, retrying", reason=str(error))
        except Exception:
            _log.exception(f"{name} failed, retrying")
        await asyncio.sleep(min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(failures, 10)))
        failures += 1
