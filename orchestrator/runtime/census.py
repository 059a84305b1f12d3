"""Counts open instances, those in attention or overdue, and open dead letters, every few seconds, in the read model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NoReturn

import structlog

from ..errors import SagalineError
from ..messages.entities import DeadStatus
from ..ports.read_model import LetterFilter, ReadModel, Tally
from .metrics import OTHER, Metrics

__all__ = ["Census"]

_log = structlog.get_logger("sagaline.census")

_EVERY_SECONDS = 15.0
_NONE = Tally(0, 0, 0)
_OPEN = LetterFilter(state=DeadStatus.OPEN)


class Census:
    """One per process with a read model; every one of them counts the same.

    Args:
        read_model: what is counted.
        metrics: takes the gauges.
        definitions: names that get a gauge, also when they have no instance; all others share one.
    """

    def __init__(self, read_model: ReadModel, metrics: Metrics, definitions: Iterable[str]) -> None:
        self._read_model, self._metrics, self._definitions = read_model, metrics, frozenset(definitions)

    async def run(self) -> NoReturn:
        """For ever. While the read model does not answer, the gauges stay as they are: its own readiness says so."""
        while True:
            try:
                await self.count()
            except SagalineError:
                pass
            except Exception:
                _log.exception("counting instances failed, counting again")
            await asyncio.sleep(_EVERY_SECONDS)

    async def count(self) -> None:
        """Sets the gauges.

        Raises:
            TransientError: the read model does not answer.
        """
        tallies = dict.fromkeys((*self._definitions, OTHER), _NONE)
        for definition, tally in (await self._read_model.tally()).items():
            name = definition if definition in self._definitions else OTHER
            before = tallies[name]
            tallies[name] = Tally(*(one + other for one, other in zip(before, tally, strict=True)))
        for name, tally in tallies.items():
            for state, count in tally._asdict().items():
                self._metrics.set("instances", count, name, state)
        self._metrics.set("dead_letters.open", await self._read_model.letter_count(_OPEN))
