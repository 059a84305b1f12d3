"""Tells every few seconds that a worker runs and what it does, for ``saga queues``.

It is only shown: a record that cannot be written is left out, and the next one says the same.
"""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn

import structlog

from ..orchestrator.codec.presences import Presence, encode_presence
from ..orchestrator.errors import SagalineError
from ..orchestrator.ports.clock import Clock
from ..orchestrator.ports.log import Log
from ..orchestrator.ports.topics import Topics
from .runtime import WorkerRuntime

__all__ = ["tell_presence"]

_EVERY_SECONDS: Final = 5.0
_logger = structlog.get_logger(__name__)


async def tell_presence(runtime: WorkerRuntime, log: Log, topics: Topics, clock: Clock) -> NoReturn:
    """Runs until it is cancelled; then it says that the worker has ended."""
    run, failing = clock.new_id(), False
    await runtime.started.wait()
    try:
        while True:
            failing = await _told(log, topics, Presence(worker=runtime.name, run=run, queues=runtime.doing()), failing)
            await asyncio.sleep(_EVERY_SECONDS)
    finally:
        await _told(log, topics, Presence(worker=runtime.name, run=run, queues=(), ended=True), failing)


async def _told(log: Log, topics: Topics, presence: Presence, failing: bool) -> bool:
    """Whether it could not be written; logged once."""
    try:
        await log.append([encode_presence(topics.workers, presence)])
    except SagalineError as error:
        if not failing:
            _logger.warning("worker.presence.untold", worker=presence.worker, error=str(error))
        return True
    return False
