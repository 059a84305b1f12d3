"""Order checkout: reserve the stock, charge the card, book a carrier, ship. The lead example.

When something fails before the parcel is shipped, the stock is released, the card refunded and the booking cancelled.
Past the pivot the flow only goes forward: shipping is retried until it succeeds or an operator must act.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, Field

from sagaline.sagas import Contract, Retry, Saga, pivot, step
from sagaline.sagas.searchable import Searchable


class OrderLine(BaseModel):
    sku: str = Field(min_length=1, max_length=64)
    quantity: int = Field(ge=1, le=1000)


class Order(BaseModel):
    id: str = Field(min_length=1, max_length=64)
    customer: Annotated[str, Searchable()] = Field(min_length=1, max_length=128)
    lines: list[OrderLine] = Field(min_length=1, max_length=100)
    total_cents: Annotated[int, Searchable()] = Field(ge=0)


class ReserveStock(BaseModel):
    order_id: str
    lines: list[OrderLine]


class StockReserved(BaseModel):
    reservation_id: str


class ReleaseStock(BaseModel):
    order_id: str


class StockReleased(BaseModel):
    was_reserved: bool


class ChargeCard(BaseModel):
    order_id: str
    customer: str
    amount_cents: int


class CardCharged(BaseModel):
    charge_id: str


class RefundCard(BaseModel):
    order_id: str


class CardRefunded(BaseModel):
    was_charged: bool


class BookCarrier(BaseModel):
    order_id: str


class CarrierBooked(BaseModel):
    carrier: str


class CancelCarrier(BaseModel):
    order_id: str


class CarrierCancelled(BaseModel):
    was_booked: bool


class ShipOrder(BaseModel):
    order_id: str
    lines: list[OrderLine]


class OrderShipped(BaseModel):
    tracking_number: str


reserve_stock = Contract("reserve-stock", ReserveStock, StockReserved, queue="inventory")
release_stock = Contract("release-stock", ReleaseStock, StockReleased, queue="inventory")
charge_card = Contract("charge-card", ChargeCard, CardCharged, queue="payment")
refund_card = Contract("refund-card", RefundCard, CardRefunded, queue="payment")
book_carrier = Contract("book-carrier", BookCarrier, CarrierBooked, queue="shipping")
cancel_carrier = Contract("cancel-carrier", CancelCarrier, CarrierCancelled, queue="shipping")
ship_order = Contract("ship-order", ShipOrder, OrderShipped, queue="shipping")


class Checkout(BaseModel):
    """The state of a checkout; stored as JSON in the state topic."""

    order: Order
    stock: StockReserved | None = None
    payment: CardCharged | None = None
    carrier: CarrierBooked | None = None
    shipment: OrderShipped | None = None


@step(reserve_stock, into="stock", timeout=timedelta(seconds=30), retry=Retry(max_attempts=5))
def reserve(s: Checkout) -> ReserveStock:
    return ReserveStock(order_id=s.order.id, lines=s.order.lines)


@reserve.undo(release_stock)
def release(s: Checkout) -> ReleaseStock:
    return ReleaseStock(order_id=s.order.id)


@step(charge_card, into="payment", timeout=timedelta(seconds=30), retry=Retry(max_attempts=5))
def charge(s: Checkout) -> ChargeCard:
    return ChargeCard(order_id=s.order.id, customer=s.order.customer, amount_cents=s.order.total_cents)


@charge.undo(refund_card)
def refund(s: Checkout) -> RefundCard:
    return RefundCard(order_id=s.order.id)


@step(book_carrier, into="carrier", timeout=timedelta(seconds=3))
def book(s: Checkout) -> BookCarrier:
    return BookCarrier(order_id=s.order.id)


@book.undo(cancel_carrier)
def cancel_booking(s: Checkout) -> CancelCarrier:
    return CancelCarrier(order_id=s.order.id)


@step(ship_order, into="shipment", timeout=timedelta(hours=1), retry=Retry(max_attempts=20))
def ship(s: Checkout) -> ShipOrder:
    return ShipOrder(order_id=s.order.id, lines=s.order.lines)


checkout = Saga("order-checkout", Checkout, version=1, flow=[reserve, charge, book, pivot, ship])
