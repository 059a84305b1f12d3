"""Every node of the language in right code: lambdas in a flow know the state, functions of a base model fit too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel

from sagaline.sagas import Event, Node, Saga, Step, pivot, step
from sagaline.sagas.nodes import (
    Emit,
    Escalation,
    Expected,
    Facts,
    Scatter,
    When,
    ask,
    choose,
    each,
    emit,
    expect,
    fail,
    loop,
    parallel,
    route,
    run,
    scatter,
    sleep,
    wait,
    when,
)

from .shared import Base, Checkout, Reserve, Reserved, Returns, reserve_stock

HOUR = timedelta(hours=1)


class Paid(BaseModel):
    cents: int


class Approval(BaseModel):
    yes: bool


paid = Event("paid", Paid)
shipped = Event("shipped", Reserved, keep=HOUR)
assert_type(paid, Event[Paid])


def reserving(name: str) -> Step[Checkout]:
    return step(reserve_stock, name=name)(lambda s: Reserve(order_id=s.order_id))


one, two, three = reserving("one"), reserving("two"), reserving("three")


def is_large(s: Checkout) -> bool:
    return s.total > 100


def has_order(s: Base) -> bool:
    return bool(s.order_id)


def facts(s: Base) -> Facts:
    return {"order": s.order_id, "large": True, "count": 1, "share": 0.5, "none": None}


@scatter(reserve_stock, queues=["a", "b"], into="stocks", deadline=HOUR, best=lambda reply: len(reply.reservation_id))
def quotes(s: Checkout) -> Reserve:
    return Reserve(order_id=s.order_id)


assert_type(quotes, Scatter[Checkout])
assert_type(when(is_large, one, two), When[Checkout])
assert_type(parallel(one, [two, three], need=1, rest="finish", undo="parallel"), Node[Checkout])
assert_type(choose(when(is_large, one), when(has_order, two), otherwise=three), Node[Checkout])
assert_type(loop(one, while_=is_large, rounds_max=3), Node[Checkout])

returns = Saga("returns", Returns, flow=[sleep("rest", HOUR)])


def parcels(s: Checkout) -> Sequence[Returns]:
    return [Returns(parcel=s.order_id)]


def add(s: Checkout, part: Returns) -> Checkout:
    return s.model_copy(update={"order_id": part.parcel})


assert_type(each(returns, of=parcels, gather=add, concurrency=2, tolerate=1), Node[Checkout])


def body(s: Checkout) -> Paid:
    return Paid(cents=s.total)


def key(s: Base) -> str:
    return s.order_id


assert_type(emit(paid, body, key=key), Emit[Checkout])
assert_type(expect(paid, key=key, into="paid"), Expected[Base])
assert_type(wait(expect(paid, key=key), expect(shipped, key=key), timeout=HOUR, need="any"), Node[Base])

everything = Saga(
    "everything",
    Checkout,
    flow=[
        one,
        parallel(two, [three, sleep("rest", HOUR)], need="any", name="both"),
        choose(when(lambda s: s.total > 100, reserving("a")), otherwise=None),
        choose(when(lambda s: s.total < 0, fail("wrong", reason=lambda s: f"{s.total} is no total")), otherwise=None),
        choose(when(has_order, fail("closed", reason="we are closed"), name="late"), otherwise=None),
        choose(when(has_order, reserving("b"), name="ordered"), otherwise=[reserving("c"), pivot]),
        route("ways", by=lambda s: {"total": s.total}, to={"x": reserving("d"), "y": [reserving("e")]}, otherwise="x"),
        route("ways", by=facts, to={"x": reserving("f")}, otherwise=None, name="again"),
        each(returns, of=lambda s: [Returns(parcel=s.order_id)], gather=lambda s, part: s, name="parts"),
        quotes,
        scatter(reserve_stock, queues=["a", "b"], into="stock", deadline=HOUR, need="first", name="q")(
            lambda s: Reserve(order_id=s.order_id)
        ),
        wait(expect(paid, key=lambda s: s.order_id), timeout=HOUR, on_timeout="go_on"),
        sleep("fixed", HOUR),
        sleep("asked", lambda s: timedelta(seconds=s.total)),
        emit(paid, lambda s: Paid(cents=s.total), key=lambda s: s.order_id),
        run(returns, lambda s: Returns(parcel=s.order_id), into="returned", timeout=HOUR),
        ask(
            "approval",
            Approval,
            question=lambda s: f"is {s.total} right?",
            who=lambda s: ["ann"],
            into="approval",
            due=HOUR,
            escalation=Escalation(after=HOUR, to=["bob"]),
        ),
        loop(reserving("g"), while_=lambda s: s.total > 0, rounds_max=3),
        pivot,
    ],
)
assert_type(everything, Saga[Checkout])
