"""An aggregator, a resequencer and the worker that publishes their parts, for processes that are killed."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from sagaline.sagas import Aggregator, Event, Gathered, Resequencer
from sagaline.sagas.retention import Retention
from sagaline.workers import Message, Worker

__all__ = ["PARTS", "Part", "in_order", "part", "raw", "sorting", "summed", "totals", "worker"]

PARTS = 15


class Part(BaseModel):
    key: str
    number: int


class Sum(BaseModel):
    total: int = 0


class Total(BaseModel):
    key: str
    count: int
    total: int


raw, part, summed, in_order = Event("raw", Part), Event("part", Part), Event("summed", Total), Event("in-order", Part)


def result(gathered: Gathered[Sum]) -> Total:
    return Total(key=gathered.key, count=gathered.count, total=gathered.state.total)


totals = Aggregator(
    "totals",
    part,
    key=lambda body: body.key,
    into=Sum,
    add=lambda s, body: Sum(total=s.total + body.number),
    part=lambda body: body.number,
    complete_when=lambda gathered: gathered.count == PARTS,
    emits=summed,
    result=result,
    timeout=timedelta(hours=1),
    retention=Retention(completed=timedelta(seconds=5), archive=True),
)
sorting = Resequencer(
    "sorting", part, key=lambda body: body.key, number=lambda body: body.number, emits=in_order, gap="wait"
)
worker = Worker("parting")


@worker.subscribes(raw, group="parting")
async def parting(body: Part, message: Message) -> None:
    """Each part twice: once more under another id, as from a producer that was not sure."""
    message.publish(part, body.key, body)
    message.publish(part, f"{body.key}/again", body)
