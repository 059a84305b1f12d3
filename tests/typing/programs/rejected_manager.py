"""What must not type-check in a process manager: a marked line is an error for both checkers, no other line is."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from sagaline.sagas import Event, Step, step
from sagaline.sagas.nodes import emit
from sagaline.sagas.process_manager import Next, ProcessManager

from .shared import Checkout, Reserve, Returns, reserve_stock


class Ordered(BaseModel):
    order_id: str


class Paid(BaseModel):
    cents: int


ordered, paid = Event("ordered", Ordered), Event("paid", Paid)
ours: Step[Checkout] = step(reserve_stock, name="ours")(lambda s: Reserve(order_id=s.order_id))
theirs: Step[Returns] = step(reserve_stock, name="theirs")(lambda s: Reserve(order_id=s.parcel))
orders = ProcessManager("orders", Checkout, steps=[ours])
new = Checkout(order_id="1", total=1)
answer: Next[Checkout]

ProcessManager("p1", int)  # expect: error (no model)
ProcessManager("p2", Checkout, steps=[ours, theirs])  # expect: error (a step of another state)
ProcessManager("p3", Checkout, steps=[lambda s: Reserve(order_id="1")])  # expect: error (not a step)

# starts_on
orders.starts_on(ordered)  # expect: error (no key)
orders.starts_on(Ordered, key=lambda e: "1")  # expect: error (a model is no event)
orders.starts_on(ordered, key=lambda e: e.cents)  # expect: error (no such attribute)
orders.starts_on(paid, key=lambda e: e.cents)  # expect: error (a number is no key)


@orders.starts_on(ordered, key=lambda e: e.order_id)  # expect: error (the body of another event)
def begin_other_event(e: Paid) -> Next[Checkout]:
    return Next("new", new)


@orders.starts_on(ordered, key=lambda e: e.order_id)  # expect: error (another state)
def begin_other_state(e: Ordered) -> Next[Returns]:
    return Next("new", Returns(parcel="1"))


@orders.starts_on(ordered, key=lambda e: e.order_id)  # expect: error (a start has no state yet)
def begin_with_state(s: Checkout, e: Ordered) -> Next[Checkout]:
    return Next("new", s)


@orders.starts_on(ordered, key=lambda e: e.order_id)  # expect: error (a state is no Next)
def begin_plain(e: Ordered) -> Checkout:
    return new


# on
orders.on(paid, key=lambda e: e.order_id)  # expect: error (no such attribute)
orders.on(paid, key="cents")  # expect: error (a key is a function of the body)
orders.on(ordered, key=lambda e: e.order_id, when=1)  # expect: error (a phase is a text)
orders.on(ordered, key=lambda e: e.order_id)(lambda s, e: Next("x", s.parcel))  # expect: error (no such attribute)
orders.on(ordered, key=lambda e: e.order_id)(lambda s, e: Next(e.cents))  # expect: error (no such attribute)
orders.on(ordered, key=lambda e: e.order_id)(lambda s, e: s)  # expect: error (a state is no Next)


@orders.on(ordered, key=lambda e: e.order_id)  # expect: error (the body of another event)
def other_event(s: Checkout, e: Paid) -> Next[Checkout]:
    return Next("x")


@orders.on(ordered, key=lambda e: e.order_id)  # expect: error (another state)
def other_state(s: Returns, e: Ordered) -> Next[Checkout]:
    return Next("x")


@orders.on(ordered, key=lambda e: e.order_id)  # expect: error (gives another state)
def gives_other(s: Checkout, e: Ordered) -> Next[Returns]:
    return Next("x", Returns(parcel="1"))


@orders.on(ordered, key=lambda e: e.order_id)  # expect: error (without the event)
def without_event(s: Checkout) -> Next[Checkout]:
    return Next("x")


@orders.on(ordered, key=lambda e: e.order_id)  # expect: error (async)
async def not_plain(s: Checkout, e: Ordered) -> Next[Checkout]:
    return Next("x")


# on_done, on_failed, on_timer
orders.on_done(theirs)  # expect: error (a step of another state)
orders.on_done("ours")  # expect: error (a name is no step)
orders.on_failed(theirs)  # expect: error (a step of another state)
orders.on_timer(ours)  # expect: error (a timer has a name)
orders.on_timer("late", when=7)  # expect: error (a phase is a text)
orders.on_done(ours)(lambda s: Next("x", s.parcel))  # expect: error (no such attribute)
orders.on_failed(ours)(lambda s: s)  # expect: error (a state is no Next)
orders.on_timer("late")(lambda s: Next.complete(s.parcel))  # expect: error (no such attribute)


@orders.on_done(ours)  # expect: error (another state)
def done_other_state(s: Returns) -> Next[Checkout]:
    return Next("x")


@orders.on_failed(ours)  # expect: error (gives another state)
def failed_gives_other(s: Checkout) -> Next[Returns]:
    return Next("x")


@orders.on_timer("late")  # expect: error (gives nothing)
def timer_gives_nothing(s: Checkout) -> None:
    return None


# Next
answer = Next(1)  # expect: error (a phase is a text)
answer = Next("x", Returns(parcel="1"))  # expect: error (another state)
answer = Next("x", do=[theirs])  # expect: error (a step of another state)
answer = Next("x", settles=[theirs])  # expect: error (a step of another state)
answer = Next("x", do=ours)  # expect: error (steps are a list)
answer = Next("x", emit=[ours])  # expect: error (a step is no event)
answer = Next("x", emit=[emit(paid, lambda s: Paid(cents=s.cents), key=lambda s: "1")])  # expect: error (no attribute)
answer = Next("x", timers={"late": 5})  # expect: error (seconds are a timedelta)
answer = Next("x", timers=["late"])  # expect: error (a timer has a span)
answer = Next("x", clear=7)  # expect: error (timers are a list)
answer = Next.complete(Returns(parcel="1"))  # expect: error (another state)
answer = Next.complete(do=[ours])  # expect: error (the end does nothing more)
answer = Next.fail(7)  # expect: error (a reason is a text)
answer = Next.fail("no", Returns(parcel="1"))  # expect: error (another state)
answer = Next.deny(7)  # expect: error (a reason is a text)
answer = Next("x", new, [ours])  # expect: error (by keyword only)
ProcessManager("p4", Checkout, retention=7)  # expect: error (days are a timedelta)
ProcessManager("p5", Checkout, retention=timedelta(days=7), flow=[ours])  # expect: error (a manager has no flow)
