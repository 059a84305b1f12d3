"""A process manager in right code: every way to register a handler, and everything that ``Next`` can ask for."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel

from sagaline.sagas import Event, Step, step
from sagaline.sagas.nodes import emit
from sagaline.sagas.process_manager import Next, ProcessManager

from .shared import Base, Checkout, Release, Reserve, release_stock, reserve_stock


class Ordered(BaseModel):
    order_id: str


class Paid(BaseModel):
    order_id: str
    cents: int


ordered, paid = Event("ordered", Ordered), Event("paid", Paid)
done = Event("done", Ordered)


@step(reserve_stock, into="stock")
def reserve(s: Checkout) -> Reserve:
    return Reserve(order_id=s.order_id)


@step(reserve_stock)
def for_any(s: Base) -> Reserve:
    return Reserve(order_id=s.order_id)


@reserve.undo(release_stock)
def release(s: Checkout) -> Release:
    return Release(order_id=s.order_id)


orders = ProcessManager("orders", Checkout, version=2, steps=[reserve, for_any], retention=timedelta(days=1))
assert_type(orders, ProcessManager[Checkout])
assert_type(orders.steps, dict[str, Step[Checkout]])


@orders.starts_on(ordered, key=lambda e: e.order_id)
def begin(e: Ordered) -> Next[Checkout]:
    return Next("new", Checkout(order_id=e.order_id, total=0), do=[reserve], timers={"late": timedelta(hours=1)})


assert_type(begin(Ordered(order_id="1")), Next[Checkout])


@orders.on(paid, key=lambda e: e.order_id, when=["new", "late"])
def pay(s: Checkout, e: Paid) -> Next[Checkout]:
    return Next("paid", s.model_copy(update={"total": e.cents}), do=[for_any], clear=["late"], settles=[reserve])


@orders.on(paid, key=lambda e: e.order_id, when="paid")
def again(s: Checkout, e: Paid) -> Next[Checkout]:
    return Next.deny("it is paid") if e.cents else Next("paid")


@orders.on_done(reserve, when="paid")
def complete(s: Checkout) -> Next[Checkout]:
    return Next.complete(s, emit=[emit(done, lambda s: Ordered(order_id=s.order_id), key=lambda s: s.order_id)])


@orders.on_failed(reserve)
def give_up(s: Checkout) -> Next[Checkout]:
    return Next.fail("nothing left", s)


@orders.on_timer("late")
def remind(s: Base) -> Next[Checkout]:
    """Written for the base model."""
    return Next("late", timers={"late": timedelta(days=1)})


orders.on_timer("by-lambda")(lambda s: Next("late", s, timers={"late": timedelta(seconds=s.total)}))
orders.on(done, key=lambda e: e.order_id)(lambda s, e: Next(e.order_id, s))
