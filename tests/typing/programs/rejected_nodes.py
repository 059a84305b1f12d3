"""What must not type-check, node by node: each marked line is an error for both checkers, and no other line is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pydantic import BaseModel

from sagaline.sagas import Event, Node, Saga, Step, step
from sagaline.sagas.nodes import (
    Escalation,
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

from .shared import Checkout, Release, Reserve, Reserved, Returns, reserve_stock

HOUR = timedelta(hours=1)


class Paid(BaseModel):
    cents: int


paid = Event("paid", Paid)
returns = Saga("returns", Returns, flow=[sleep("rest", HOUR)])


def reserving(name: str) -> Step[Checkout]:
    return step(reserve_stock, name=name)(lambda s: Reserve(order_id=s.order_id))


ours, more = reserving("ours"), reserving("more")
theirs: Step[Returns] = step(reserve_stock, name="theirs")(lambda s: Reserve(order_id=s.parcel))
node: Node[Checkout]


def is_large(s: Checkout) -> bool:
    return s.total > 100


def is_parcel(s: Returns) -> bool:
    return bool(s.parcel)


def order_id(s: Checkout) -> str:
    return s.order_id


def parcel(s: Returns) -> str:
    return s.parcel


# step
step(reserve_stock, locks=7)  # expect: error (a lock's name is a text)
step(reserve_stock, read_only="yes")  # expect: error (true or false)
step(reserve_stock, expected_within=5)  # expect: error (seconds are a timedelta)

# parallel
node = parallel(ours, theirs)  # expect: error (a branch of another state)
node = parallel([ours], [more, theirs])  # expect: error (a node of another state)
node = parallel(ours, more, need="most")  # expect: error (all, any or a number)
node = parallel(ours, more, rest="forget")  # expect: error (no such end of the rest)
node = parallel(ours, more, undo="forward")  # expect: error (no such order)
node = parallel(ours, lambda s: Reserve(order_id="1"))  # expect: error (not a node)

# choose, when
node = choose(when(is_parcel, theirs), otherwise=None)  # expect: error (of another state)
node = choose(when(is_large, ours), when(is_parcel, theirs), otherwise=None)  # expect: error (a case of another state)
node = choose(when(is_large, ours), otherwise=theirs)  # expect: error (otherwise of another state)
node = choose(when(is_large, ours), otherwise=[more, theirs])  # expect: error (otherwise of another state)
node = choose(when(is_large, ours))  # expect: error (otherwise is missing)
node = choose(ours, otherwise=None)  # expect: error (a case is made by when)
when(is_parcel, ours)  # expect: error (a predicate of another state)
when(order_id, ours)  # expect: error (a text is no answer)
when(lambda s: s.price > 1, ours)  # expect: error (no such attribute)

# route
node = route("t", by=parcel, to={"x": ours}, otherwise=None)  # expect: error (a text is no facts)
node = route("t", by=lambda s: {"x": s.parcel}, to={"x": ours}, otherwise=None)  # expect: error (no such attribute)
node = route("t", by=lambda s: {"x": [s.total]}, to={"x": ours}, otherwise=None)  # expect: error (a list is no fact)
node = route("t", by=lambda s: {}, to={"x": ours, "y": theirs}, otherwise=None)  # expect: error (another state)
node = route("t", by=lambda s: {}, to=[ours], otherwise=None)  # expect: error (branches have names)
node = route("t", by=lambda s: {}, to={"x": ours}, otherwise=ours)  # expect: error (otherwise is a branch's name)
node = route("t", by=lambda s: {}, to={"x": ours})  # expect: error (otherwise is missing)


# each
def parcels(s: Checkout) -> Sequence[Returns]:
    return [Returns(parcel=s.order_id)]


def orders(s: Checkout) -> Sequence[Checkout]:
    return [s]


def add(s: Checkout, part: Returns) -> Checkout:
    return s


def add_other(s: Checkout, part: Checkout) -> Checkout:
    return s


def add_to_part(s: Checkout, part: Returns) -> Returns:
    return part


def add_to_other(s: Returns, part: Returns) -> Returns:
    return s


node = each(returns, of=orders)  # expect: error (parts of another state)
node = each(returns, of=lambda s: [s.total])  # expect: error (no models)
node = each(returns, of=lambda s: [Returns(parcel=s.parcel)])  # expect: error (no such attribute)
node = each(returns, of=parcels, gather=add_other)  # expect: error (gathers another part)
node = each(returns, of=parcels, gather=add_to_part)  # expect: error (gives another state)
node = each(returns, of=parcels, gather=add_to_other)  # expect: error (gathers into another state)
node = each(returns, of=parcels, gather=lambda s, part: part)  # expect: error (gives another state)
node = each(returns, of=parcels, gather=lambda s, part: add(s, part.total))  # expect: error (no such attribute)
node = each(ours, of=parcels)  # expect: error (a step is no saga)
node = each(returns, of=parcels, concurrency="all")  # expect: error (a number)


# scatter
@scatter(reserve_stock, queues=["a", "b"], into="x", deadline=HOUR)  # expect: error (another command)
def wrong_question(s: Checkout) -> Release:
    return Release(order_id=s.order_id)


@scatter(reserve_stock, queues=["a", "b"], into="x", deadline=HOUR)
def wrong_attribute(s: Checkout) -> Reserve:
    return Reserve(order_id=s.parcel)  # expect: error (no such attribute)


def price(reply: Paid) -> float:
    return reply.cents


def rank(reply: Reserved) -> str:
    return reply.reservation_id


scatter(reserve_stock, queues=["a", "b"], into="x", deadline=HOUR, best=price)  # expect: error (of another reply)
scatter(reserve_stock, queues=["a", "b"], into="x", deadline=HOUR, best=rank)  # expect: error (a text is no cost)
scatter(reserve_stock, queues=["a", "b"], into="x", deadline=HOUR, best=lambda r: r.cents)  # expect: error (attribute)
scatter(reserve_stock, queues=["a", "b"], into="x", deadline=5)  # expect: error (seconds are a timedelta)
scatter(reserve_stock, queues=["a", "b"], into="x", deadline=HOUR, need="most")  # expect: error (all, first, number)
scatter("question", queues=["a", "b"], into="x", deadline=HOUR)  # expect: error (a name is no contract)

# wait, expect
expect(Paid, key=order_id)  # expect: error (a model is no event)
expect(paid, key=is_large)  # expect: error (a key is a text)
expect(paid, key="order_id")  # expect: error (a key is a function of the state)
expect(paid)  # expect: error (no key)
node = wait(expect(paid, key=parcel), timeout=HOUR)  # expect: error (a key of another state)
node = wait(expect(paid, key=lambda s: s.parcel), timeout=HOUR)  # expect: error (no such attribute)
node = wait(expect(paid, key=lambda s: s.total), timeout=HOUR)  # expect: error (a number is no key)
node = wait(expect(paid, key=order_id))  # expect: error (no timeout)
node = wait(paid, timeout=HOUR)  # expect: error (made by expect)
node = wait(expect(paid, key=order_id), timeout=HOUR, need="most")  # expect: error (all or any)
node = wait(expect(paid, key=order_id), timeout=HOUR, on_timeout="retry")  # expect: error (fail or go_on)
node = wait(expect(paid, key=order_id), expect(paid, key=parcel), timeout=HOUR)  # expect: error (of two states)

# sleep
node = sleep("nap", 5)  # expect: error (seconds are a timedelta)
node = sleep("nap", lambda s: s.total)  # expect: error (a number is no span)
node = sleep("nap", lambda s: timedelta(seconds=s.seconds))  # expect: error (no such attribute)
node = sleep(HOUR)  # expect: error (no name)


# fail
node = fail("no", reason=lambda s: s.cents)  # expect: error (no such attribute)
fail("no", reason=lambda s: 5)  # expect: error (a reason is a text)
node = fail("no", reason=parcel)  # expect: error (a reason of another state)
fail("no")  # expect: error (no reason)
fail(5, reason="no")  # expect: error (a code is a text)


# emit
def paid_body(s: Checkout) -> Paid:
    return Paid(cents=s.total)


def reserved_body(s: Checkout) -> Reserved:
    return Reserved(reservation_id=s.order_id)


emit(paid, reserved_body, key=order_id)  # expect: error (the body of another event)
node = emit(paid, paid_body, key=parcel)  # expect: error (a key of another state)
emit(paid, paid_body, key=is_large)  # expect: error (a key is a text)
node = emit(paid, lambda s: Paid(cents=s.cents), key=order_id)  # expect: error (no such attribute)
node = emit(paid, lambda s: Reserved(reservation_id="1"), key=order_id)  # expect: error (another body)
node = emit(Paid, paid_body, key=order_id)  # expect: error (a model is no event)
emit(paid, paid_body)  # expect: error (no key)


# run
def as_parcel(s: Checkout) -> Returns:
    return Returns(parcel=s.order_id)


def as_order(s: Checkout) -> Checkout:
    return s


def of_parcel(s: Returns) -> Returns:
    return s


node = run(returns, as_order)  # expect: error (the input of another saga)
node = run(returns, of_parcel)  # expect: error (of another state)
node = run(returns, lambda s: s)  # expect: error (our state is not the child's)
node = run(returns, lambda s: Returns(parcel=s.parcel))  # expect: error (no such attribute)
node = run(ours, as_parcel)  # expect: error (a step is no saga)
node = run(returns, as_parcel, timeout=5)  # expect: error (seconds are a timedelta)
node = run(returns)  # expect: error (no input)


# ask
def people(s: Checkout) -> Sequence[str]:
    return ["ann"]


node = ask("a", dict, question=order_id, who=people, into="x", due=HOUR)  # expect: error (a form is a model)
node = ask("a", Paid, question=is_large, who=people, into="x", due=HOUR)  # expect: error (a question is a text)
node = ask("a", Paid, question=order_id, who=is_large, into="x", due=HOUR)  # expect: error (no people)
node = ask("a", Paid, question=parcel, who=people, into="x", due=HOUR)  # expect: error (of another state)
node = ask("a", Paid, question=lambda s: s.parcel, who=people, into="x", due=HOUR)  # expect: error (no attribute)
node = ask("a", Paid, question=order_id, who=lambda s: [s.total], into="x", due=HOUR)  # expect: error (no names)
node = ask("a", Paid, question=order_id, who=people, into=Paid, due=HOUR)  # expect: error (a field's name)
node = ask("a", Paid, question=order_id, who=people, into="x", due=5)  # expect: error (seconds are a timedelta)
node = ask("a", Paid, question=order_id, who=people, into="x", due=HOUR, escalation="bob")  # expect: error (no value)
Escalation(after=5, to=["bob"])  # expect: error (seconds are a timedelta)
Escalation(after=HOUR, to=7)  # expect: error (people are a list)

# loop
node = loop(ours, while_=is_parcel)  # expect: error (a predicate of another state)
node = loop(theirs, while_=is_parcel)  # expect: error (of another state)
node = loop(ours, theirs, while_=is_large)  # expect: error (a node of another state)
node = loop(ours, while_=order_id)  # expect: error (a text is no answer)
node = loop(ours, while_=lambda s: s.parcel == "")  # expect: error (no such attribute)
node = loop(ours)  # expect: error (a loop ends)
node = loop(ours, while_=is_large, rounds_max="many")  # expect: error (a number)

# in a flow, where the state says what lambdas take
Saga("s1", Checkout, flow=[choose(when(lambda s: s.parcel, ours), otherwise=None)])  # expect: error (no attribute)
Saga("s2", Checkout, flow=[wait(expect(paid, key=lambda s: s.parcel), timeout=HOUR)])  # expect: error (no attribute)
Saga("s3", Checkout, flow=[sleep("nap", lambda s: timedelta(seconds=s.parcel))])  # expect: error (no attribute)
Saga("s4", Checkout, flow=[emit(paid, lambda s: Paid(cents=s.parcel), key=order_id)])  # expect: error (no attribute)
Saga("s5", Checkout, flow=[run(returns, lambda s: Returns(parcel=s.parcel))])  # expect: error (no attribute)
Saga("s6", Checkout, flow=[each(returns, of=lambda s: [Returns(parcel=s.parcel)])])  # expect: error (no attribute)
Saga("s7", Checkout, flow=[route("t", by=lambda s: s.parcel, to={"x": ours}, otherwise=None)])  # expect: error (no)
Saga("s8", Checkout, flow=[loop(ours, while_=lambda s: s.parcel)])  # expect: error (no attribute)
Saga("s9", Checkout, flow=[parallel(ours, loop(theirs, while_=is_parcel))])  # expect: error (deep inside)
Saga("s10", Checkout, flow=[wait(expect(paid, key=parcel), timeout=HOUR)])  # expect: error (of another state)
