"""Gatherings in right code: every option of an aggregator; lambdas are inferred."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

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

totals = Aggregator(
    "totals",
    line,
    key=lambda part: part.invoice,
    into=Totals,
    add=lambda state, part: Totals(cents=state.cents + part.cents),
    complete_when=lambda gathered: gathered.count == 3 and gathered.state.cents > 0,
    emits=checked,
    result=lambda gathered: Checked(cents=gathered.state.cents),
    timeout=timedelta(minutes=5),
    part=lambda part: part.number,
    parts_max=100,
    on_timeout="fail",
    late="restart",
    version=2,
    retention=timedelta(days=1),
)
assert_type(totals, Aggregator[Totals])
assert_type(totals.state, type[Gathered[Totals]])

sorted_line = Event("sorted-line", Line)
lines = Resequencer("lines", line, key=lambda one: one.invoice, number=lambda one: one.number, emits=sorted_line)
assert_type(lines, Resequencer)
Resequencer(
    "more",
    line,
    key=lambda one: one.invoice,
    number=lambda one: one.number,
    emits=sorted_line,
    gap="skip",
    timeout=timedelta(seconds=5),
    first=0,
    last=lambda one: one.cents == 0,
    late="dead_letter",
    version=2,
    retention=timedelta(days=1),
)
