"""Generates aggregators and resequencers from a seed.

Parts are numbered from 1. A result has the numbers of its parts, a sorted message its own, so that laws can follow each
number from the events that came to those that were published.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel

from sagaline.sagas import Aggregator, Event, Resequencer
from sagaline.sagas.aggregator import Gathered
from sagaline.sagas.process_manager import Late, ProcessManager

__all__ = ["OF", "PARTS", "SORTED", "WHOLE", "invent_gathering"]

PARTS: Final = 4
_KEEP: Final = timedelta(seconds=5)
_GAPS: Final[tuple[Literal["wait", "skip", "dead_letter"], ...]] = ("wait", "skip", "dead_letter")
_LATE: Final[tuple[Late, ...]] = ("ignore", "dead_letter", "restart")


class Item(BaseModel):
    """A part, and a message of a sequence."""

    key: str
    number: int


class Items(BaseModel):
    """The numbers of the parts, in the order in which they were added."""

    numbers: list[int] = []


class Whole(Items):
    """The result of a gathering."""

    key: str = ""
    complete: bool = False


OF: Final = {"gatherer": Event("part", Item, keep=_KEEP), "sorter": Event("message", Item, keep=_KEEP)}
"""The event that each kind takes, by the name of the definition."""
WHOLE: Final = Event("whole", Whole)
SORTED: Final = Event("sorted", Item)


def _key(item: Item) -> str:
    return item.key


def _number(item: Item) -> int:
    return item.number


def _add(items: Items, item: Item) -> Items:
    return Items(numbers=[*items.numbers, item.number])


@dataclass(frozen=True)
class _Enough:
    count: int

    def __call__(self, gathered: Gathered[Items]) -> bool:
        return gathered.count >= self.count


def _result(gathered: Gathered[Items]) -> Whole:
    return Whole(key=gathered.key, numbers=gathered.state.numbers, complete=gathered.complete)


def _is_last(item: Item) -> bool:
    return item.number == PARTS


def invent_gathering(drawn: random.Random) -> ProcessManager[Any]:
    """An aggregator of some of the parts, or a resequencer whose sequence ends with the last one."""
    span, policy = timedelta(milliseconds=drawn.randint(500, 6_000)), drawn.choice(_LATE)
    if drawn.random() < 0.5:
        return Aggregator(
            "gatherer",
            OF["gatherer"],
            key=_key,
            into=Items,
            add=_add,
            complete_when=_Enough(drawn.randint(2, PARTS)),
            emits=WHOLE,
            result=_result,
            timeout=span,
            part=_number,
            on_timeout=drawn.choice(("emit", "emit", "fail")),
            late=policy,
        )
    gap = drawn.choice(_GAPS)
    timeout = None if gap == "wait" else span
    return Resequencer(
        "sorter",
        OF["sorter"],
        key=_key,
        number=_number,
        emits=SORTED,
        gap=gap,
        timeout=timeout,
        last=_is_last,
        late=policy,
    )
