"""What must type-check, without an ignore and without an annotation too many."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from sagaline.orchestrator.client import Acted, Bulk, BulkPage, Client, OnStep, act_on_many
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.ports.read_model import InstanceFilter
from sagaline.sagas import Contract, Node, Rejected, Retry, Saga, Step, pivot, step

from .shared import Base, Checkout, Release, Released, Reserve, Reserved, release_stock, reserve_stock

assert_type(reserve_stock, Contract[Reserve, Reserved])


@step(reserve_stock, into="stock", timeout=timedelta(seconds=30), retry=Retry(max_attempts=5))
def reserve(s: Checkout) -> Reserve:
    return Reserve(order_id=s.order_id)


assert_type(reserve, Step[Checkout])


@reserve.undo(release_stock)
def release(s: Checkout) -> Release:
    return Release(order_id=s.order_id)


assert_type(release(Checkout(order_id="1", total=1)), Release)


@step(reserve_stock, name="for-any")
def for_any(s: Base) -> Reserve:
    """Written for the base model: fits every saga whose state derives from it."""
    return Reserve(order_id=s.order_id)


@for_any.undo(release_stock, timeout=timedelta(hours=1), retry=Retry())
def undo_for_any(s: Base) -> Release:
    return Release(order_id=s.order_id)


flow: list[Node[Checkout]] = [
    reserve,
    for_any,
    pivot,
    step(reserve_stock, name="by-lambda")(lambda s: Reserve(order_id=s.order_id)),
]
checkout = Saga("checkout", Checkout, flow=flow)
assert_type(checkout, Saga[Checkout])
assert_type(checkout.steps, dict[str, Step[Checkout]])

inline = Saga(
    "inline",
    Checkout,
    version=2,
    flow=[for_any, pivot, step(reserve_stock, name="later")(lambda s: Reserve(order_id=s.order_id))],
    retention=timedelta(days=1),
)
assert_type(inline, Saga[Checkout])


def handle(command: Reserve) -> Reserved | Rejected:
    return Rejected("nothing left", code="sold_out") if not command.order_id else Reserved(reservation_id="1")


def undo(command: Release) -> Released:
    return Released(was_reserved=True)


async def operate(client: Client) -> None:
    """Acts with what they bring, of one instance and of many."""
    patch = OnStep(value={"patch": [{"op": "replace", "path": "/total", "value": 1}]})
    assert_type(await client.act("checkout/1", ActName.EDIT, on=patch), Acted)
    await client.act("checkout/1", ActName.FORK, on=OnStep("reserve", {"key": "2"}))
    await client.act("checkout/1", ActName.REPLACE_UNDO, on=OnStep("reserve", {"command": {"order_id": "1"}}))
    bulk = Bulk(id="b", act=ActName.RETRY, where=InstanceFilter("checkout"), older_than=timedelta(minutes=15))
    assert_type(await act_on_many(client, bulk, dry_run=True), BulkPage)
