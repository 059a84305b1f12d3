"""Two versions of a saga and its worker, for a rolling deploy: version 2 has an input that 1 does not take."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from sagaline.sagas import Contract, Saga, step
from sagaline.workers import Context, Worker

__all__ = ["new", "new_alone", "old", "worker"]


class Pack(BaseModel):
    order: str


class Packed(BaseModel):
    box: int


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    order: str
    first: Packed | None = None
    second: Packed | None = None


class OrderInCurrency(Order):
    currency: str


pack = Contract("pack", Pack, Packed, queue="packing")


def steps() -> list[Any]:
    @step(pack, into="first", name="first")
    def first(s: Any) -> Pack:
        return Pack(order=s.order)

    @step(pack, into="second", name="second")
    def second(s: Any) -> Pack:
        return Pack(order=s.order)

    return [first, second]


one: Saga[Order] = Saga("shop", Order, version=1, flow=steps())
two: Saga[OrderInCurrency] = Saga("shop", OrderInCurrency, version=2, flow=steps())
migrating: Saga[OrderInCurrency] = Saga("shop", OrderInCurrency, version=2, flow=steps())


@migrating.migrate(from_version=1)
def from_1(before: dict[str, JsonValue]) -> OrderInCurrency:
    return OrderInCurrency.model_validate(before | {"currency": "EUR"})


old, new, new_alone = [one], [one, two], [migrating]
worker = Worker("packer")


@worker.handles(pack)
async def packs(command: Pack, context: Context) -> Packed:
    return Packed(box=len(command.order))
