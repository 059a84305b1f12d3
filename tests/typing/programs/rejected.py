"""What must not type-check: each marked line is an error for both checkers, and no other line is."""

from __future__ import annotations

from sagaline.orchestrator.client import Bulk, Client, OnStep, act_on_many
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.sagas import Contract, Node, Rejected, Retry, Saga, pivot, step

from .shared import Checkout, Release, Reserve, Reserved, Returns, release_stock, reserve_stock


@step(reserve_stock)  # expect: error (another command)
def wrong_command(s: Checkout) -> Release:
    return Release(order_id=s.order_id)


@step(reserve_stock)  # expect: error (no command)
def no_command(s: Checkout) -> None:
    return None


@step(reserve_stock)  # expect: error (a business rejection is the worker's to say)
def rejects(s: Checkout) -> Rejected:
    return Rejected("no")


@step(reserve_stock)  # expect: error (async)
async def not_plain(s: Checkout) -> Reserve:
    return Reserve(order_id=s.order_id)


@step(reserve_stock)
def wrong_attribute(s: Checkout) -> Reserve:
    return Reserve(order_id=s.order)  # expect: error (no such attribute)


@step(reserve_stock)
def unknown_yet(s: Checkout) -> Reserve:
    return Reserve(order_id=s.stock.reservation_id)  # expect: error (may be None)


@step(reserve_stock)
def reserve(s: Checkout) -> Reserve:
    return Reserve(order_id=s.order_id)


@reserve.undo(release_stock)  # expect: error (another command)
def wrong_undo_command(s: Checkout) -> Reserve:
    return Reserve(order_id=s.order_id)


@reserve.undo(release_stock)  # expect: error (another state)
def wrong_undo_state(s: Returns) -> Release:
    return Release(order_id=s.parcel)


reserve.undo(release_stock)(lambda s: Release(order_id=s.order))  # expect: error (no such attribute)
reserve.undo(release_stock)(lambda s: Reserve(order_id=s.order_id))  # expect: error (another command)


@step(reserve_stock)
def of_returns(s: Returns) -> Reserve:
    return Reserve(order_id=s.parcel)


Saga("wrong-state", Checkout, flow=[reserve, of_returns])  # expect: error (another state)
Saga("past-pivot", Checkout, flow=[reserve, pivot, of_returns])  # expect: error (another state)
Saga("bare-function", Checkout, flow=[lambda s: Reserve(order_id="1")])  # expect: error (not a node)
Saga("no-model", int, flow=[reserve])  # expect: error (no model)
Saga("no-flow", Checkout)  # expect: error (no flow)

named = step(reserve_stock, name="x")
by_lambda: Node[Checkout] = named(lambda s: Reserve(order_id=s.order))  # expect: error (no such attribute)
of_another: Node[Checkout] = named(lambda s: Release(order_id="1"))  # expect: error (command)
in_a_list: list[Node[Checkout]] = [of_returns]  # expect: error (another state)

Contract("no-queue", Reserve, Reserved)  # expect: error (no queue)
Contract("no-model", int, Reserved, queue="q")  # expect: error (no model)
step("reserve-stock")  # expect: error (a name is no contract)
step(reserve_stock, timeout=30)  # expect: error (seconds are a timedelta)
step(reserve_stock, into=Reserved)  # expect: error (a field's name)
Retry(3)  # expect: error (by keyword only)


async def operate(client: Client, bulk: Bulk) -> None:
    await client.act("checkout/1", "edit")  # expect: error (an act is an ActName)
    await client.act("checkout/1", ActName.EDIT, on={"patch": []})  # expect: error (what it brings is an OnStep)
    OnStep("reserve", [{"op": "remove", "path": "/a"}])  # expect: error (a value is an object)
    Bulk(act=ActName.RETRY)  # expect: error (no id)
    Bulk(id="b", act=ActName.RETRY, older_than=900)  # expect: error (seconds are a timedelta)
    await act_on_many(client, bulk)  # expect: error (dry run or not is said)
