"""Generates routing slips from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sagaline.sagas import Contract, Retry
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.routing_slip import AnyStop, Kept, RoutingSlip, stop

from .parts import FORWARD, QUEUES, UNDO, Known, Request, Told

__all__ = ["Turned", "invent_slip"]


class Turned(Told):
    """A reply that may revise the slip."""

    onward: list[str] | None = None


_TURNING: Final = Contract("turn", Request, Turned, queue=QUEUES[1])


@dataclass(frozen=True)
class _Plans:
    """Fewer stops for an odd size."""

    stops: tuple[AnyStop, ...]

    def __call__(self, s: Known) -> Sequence[AnyStop]:
        return self.stops if s.size % 2 == 0 else (*self.stops[:-1], self.stops[0])


@dataclass(frozen=True)
class _Unmakes:
    """An undo's command, from what the stop kept."""

    note: str

    def __call__(self, kept: Kept[Any, Any]) -> Request:
        return Request(key=kept.command.key if kept.command else "unknown", note=self.note)


def invent_slip(drawn: random.Random, name: str) -> AnyDefinition:
    """Two to five stops, several hops at once; sometimes a stop that revises the slip."""
    stops = [_stop(drawn, number) for number in range(1, drawn.randint(2, 5) + 1)]
    slip = RoutingSlip(name, Known, stops=stops, hops=drawn.randint(1, 4))
    if drawn.random() < 0.4:
        slip.plan(_Plans(tuple(stops)))
    return slip


def _stop(drawn: random.Random, number: int) -> AnyStop:
    def span(low: float, high: float) -> timedelta:
        return timedelta(milliseconds=round(drawn.uniform(low, high) * 1000))

    def retry(most: int) -> Retry:
        first = span(0.002, 0.4)
        silence = span(0.4, 1.5) if drawn.random() < 0.4 else None
        return Retry(
            max_attempts=drawn.randint(1, most), first_delay=first, max_delay=first * 3, attempt_timeout=silence
        )

    turns = drawn.random() < 0.2
    made: AnyStop = stop(
        _TURNING if turns else drawn.choice(FORWARD),
        into=f"r{number}",
        takes={"note": "key"},
        revises="onward" if turns else None,
        timeout=span(0.8, 4.0),
        retry=retry(3),
        name=f"step-{number}",
    )
    if drawn.random() < 0.8:
        made.undo(drawn.choice(UNDO), timeout=span(1.5, 5.0), retry=retry(5))(_Unmakes(made.name))
    return made
