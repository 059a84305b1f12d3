"""The three workers of the order checkout: inventory, payment and shipping, with their books in one SQLite file.

Some names trigger failures, so that a demo can show them:

- a line whose sku begins with ``sold-out``: the reservation is rejected;
- a customer whose name begins with ``declined``: the card is declined;
- a customer whose name begins with ``flaky``: the first attempt to charge fails, the retry succeeds;
- a customer whose name begins with ``crash``: the first time, the worker crashes in the middle of the charge;
- an order whose id ends in ``-silent``: the carrier never answers.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from sagaline.sagas import Rejected
from sagaline.sagas.examples.order_checkout import (
    BookCarrier,
    CancelCarrier,
    CardCharged,
    CardRefunded,
    CarrierBooked,
    CarrierCancelled,
    ChargeCard,
    OrderShipped,
    RefundCard,
    ReleaseStock,
    ReserveStock,
    ShipOrder,
    StockReleased,
    StockReserved,
    book_carrier,
    cancel_carrier,
    charge_card,
    refund_card,
    release_stock,
    reserve_stock,
    ship_order,
)
from sagaline.workers import Context, Inbox, SqliteInbox, Worker

from .ledger import LEDGER_SCHEMA, Ledger

__all__ = ["inventory_worker", "order_workers", "payment_worker", "shipping_worker"]


def order_workers(path: str | Path = "order-ledger.db") -> tuple[Worker, Worker, Worker]:
    """Inventory, payment and shipping, sharing one file for their inbox and their books."""
    inbox = SqliteInbox(path, schema=LEDGER_SCHEMA)
    return inventory_worker(inbox), payment_worker(inbox, Ledger(path)), shipping_worker(inbox)


def inventory_worker(inbox: Inbox) -> Worker:
    """Reserves stock and releases it."""
    worker = Worker("inventory", inbox=inbox)

    @worker.handles(reserve_stock)
    async def reserve(command: ReserveStock, ctx: Context) -> StockReserved | Rejected:
        if sold_out := [line.sku for line in command.lines if line.sku.startswith("sold-out")]:
            return Rejected(f"{sold_out[0]} is sold out", code="out_of_stock")
        ctx.execute("INSERT INTO reservations VALUES (?, ?, ?)", (command.order_id, ctx.effect_key, len(command.lines)))
        return StockReserved(reservation_id=f"R-{command.order_id}")

    @worker.handles(release_stock)
    async def release(command: ReleaseStock, ctx: Context) -> StockReleased:
        ctx.execute(
            "INSERT INTO releases SELECT order_id, effect_key FROM reservations WHERE effect_key = ?", (ctx.effect_key,)
        )
        return StockReleased(was_reserved=ctx.forward is not None)

    return worker


def payment_worker(inbox: Inbox, ledger: Ledger) -> Worker:
    """Charges cards and refunds them."""
    worker = Worker("payment", inbox=inbox)

    @worker.handles(charge_card)
    async def charge(command: ChargeCard, ctx: Context) -> CardCharged | Rejected:
        if command.customer.startswith("declined"):
            return Rejected("the bank declined the card", code="card_declined")
        if command.customer.startswith("flaky") and ctx.attempt == 1:
            raise ConnectionError("the bank is not reachable")
        ctx.execute("INSERT INTO charges VALUES (?, ?, ?)", (command.order_id, ctx.effect_key, command.amount_cents))
        if command.customer.startswith("crash") and await asyncio.to_thread(ledger.first_crash, ctx.effect_key):
            raise SystemExit("the payment worker crashes in the middle of a charge")
        return CardCharged(charge_id=f"C-{command.order_id}")

    @worker.handles(refund_card)
    async def refund(command: RefundCard, ctx: Context) -> CardRefunded:
        ctx.execute(
            "INSERT INTO refunds SELECT order_id, effect_key, amount_cents FROM charges WHERE effect_key = ?",
            (ctx.effect_key,),
        )
        return CardRefunded(was_charged=ctx.forward is not None)

    return worker


def shipping_worker(inbox: Inbox) -> Worker:
    """Books carriers, cancels them, and ships."""
    worker = Worker("shipping", inbox=inbox)

    @worker.handles(book_carrier)
    async def book(command: BookCarrier, ctx: Context) -> CarrierBooked:
        if command.order_id.endswith("-silent"):
            await asyncio.Event().wait()  # forever: the runtime cancels it at the command's deadline
        ctx.execute("INSERT INTO bookings VALUES (?, ?)", (command.order_id, ctx.effect_key))
        return CarrierBooked(carrier="Postbote")

    @worker.handles(cancel_carrier)
    async def cancel(command: CancelCarrier, ctx: Context) -> CarrierCancelled:
        ctx.execute(
            "INSERT INTO cancellations SELECT order_id, effect_key FROM bookings WHERE effect_key = ?",
            (ctx.effect_key,),
        )
        return CarrierCancelled(was_booked=ctx.forward is not None)

    @worker.handles(ship_order)
    async def ship(command: ShipOrder, ctx: Context) -> OrderShipped:
        tracking_number = f"T-{command.order_id}"
        ctx.execute("INSERT INTO shipments VALUES (?, ?, ?)", (command.order_id, ctx.effect_key, tracking_number))
        return OrderShipped(tracking_number=tracking_number)

    return worker
