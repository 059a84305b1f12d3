"""What must not type-check in a gathering: a marked line is an error for both checkers, no other line is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypedDict

from pydantic import BaseModel

from sagaline.sagas import Aggregator, Event, Gathered, Resequencer


class Line(BaseModel):
    invoice: str
    number: int
    cents: int


class Totals(BaseModel):
    cents: int = 0


class Checked(BaseModel):
    cents: int


line, checked = Event("line", Line), Event("checked", Checked)


def add(state: Totals, part: Line) -> Totals:
    return state


def add_other(state: Checked, part: Line) -> Checked:
    return state


def all_in(gathered: Gathered[Totals]) -> bool:
    return True


def says(gathered: Gathered[Totals]) -> Checked:
    return Checked(cents=gathered.state.cents)


def says_other(gathered: Gathered[Totals]) -> Totals:
    return Totals()


def of(part: Line) -> str:
    return part.invoice


def half(part: Line) -> float:
    return part.cents / 2


class Rest(TypedDict):
    into: type[Totals]
    complete_when: Callable[[Gathered[Totals]], bool]


rest: Rest = {"into": Totals, "complete_when": all_in}
one = timedelta(hours=1)

Aggregator("a0", line, key=of, add=add, emits=checked, result=says, timeout=one, **rest)
Aggregator("a1", line, key=of, add=add, emits=checked, result=says, **rest)  # expect: error (no timeout)
Aggregator("a2", line, key=half, add=add, emits=checked, result=says, timeout=one, **rest)  # expect: error (no text)
Aggregator("a3", line, key=of, add=add_other, emits=checked, result=says, timeout=one, **rest)  # expect: error (state)
Aggregator("a4", line, key=of, add=add, emits=line, result=says, timeout=one, **rest)  # expect: error (another event)
Aggregator("a5", line, key=of, add=add, emits=checked, result=says_other, timeout=one, **rest)  # expect: error (body)
Aggregator("a6", line, key=of, add=add, emits=checked, result=says, timeout=5, **rest)  # expect: error (no timedelta)
Aggregator("a7", Line, key=of, add=add, emits=checked, result=says, timeout=one, **rest)  # expect: error (no event)

out = Event("out", Line)
Resequencer("r0", line, key=of, number=lambda part: part.number, emits=out)
Resequencer("r1", line, key=of, number=half, emits=out)  # expect: error (half a number)
Resequencer("r2", line, key=of, number=of, emits=out)  # expect: error (a text is no number)
Resequencer("r3", line, key=of, number=lambda part: part.number, emits=checked)  # expect: error (another model)
Resequencer("r4", line, key=of, number=lambda part: part.number, emits=out, gap="never")  # expect: error (no such)
Resequencer("r5", line, number=lambda part: part.number, emits=out)  # expect: error (no key)
