"""The flow that is measured: three sequential trivial steps. Shared by the bench and by its worker process."""

from __future__ import annotations

from pydantic import BaseModel

from sagaline.sagas import Contract, Saga, Step, step

__all__ = ["CONTRACTS", "QUEUE", "Ask", "Done", "Line", "Order", "State", "flow"]

QUEUE = "bench"


class Line(BaseModel):
    sku: str
    quantity: int


class Ask(BaseModel):
    order_id: str
    lines: list[Line]


class Done(BaseModel):
    reference: str


class Order(BaseModel):
    id: str
    lines: list[Line]


class State(BaseModel):
    order: Order
    a: Done | None = None
    b: Done | None = None
    c: Done | None = None


CONTRACTS = tuple(Contract(f"do-{name}", Ask, Done, queue=QUEUE) for name in "abc")


def _step(name: str, contract: Contract[Ask, Done]) -> Step[State]:
    @step(contract, into=name, name=name)
    def build(s: State) -> Ask:
        return Ask(order_id=s.order.id, lines=s.order.lines)

    return build


flow = Saga("bench", State, flow=[_step(name, contract) for name, contract in zip("abc", CONTRACTS, strict=True)])
