"""The order checkout without an orchestrator: the events by which three services tell each other what has happened.

    order-placed ─▶ stock: goods-reserved ─▶ payment: card-charged ─▶ shipping: order-shipped
                          └▶ order-failed          └▶ card-declined ─▶ stock: order-failed

No service knows another one, and none knows the whole: who undoes what follows from which events a service reads.
Compare ``order_checkout``, where one saga says all of it.
"""

from __future__ import annotations

from pydantic import BaseModel

from sagaline.sagas import Event

from .order_checkout import Order

__all__ = [
    "Failed",
    "Placed",
    "Shipped",
    "card_charged",
    "card_declined",
    "goods_reserved",
    "order_failed",
    "order_placed",
    "order_shipped",
]


class Placed(BaseModel):
    """The order as it was placed; it travels with every event, so that no service asks another one."""

    order: Order


class Shipped(BaseModel):
    order_id: str
    tracking_number: str


class Failed(BaseModel):
    order_id: str
    reason: str


order_placed = Event("order-placed", Placed)
goods_reserved = Event("goods-reserved", Placed)
card_charged = Event("card-charged", Placed)
card_declined = Event("card-declined", Placed)
order_shipped = Event("order-shipped", Shipped)
order_failed = Event("order-failed", Failed)
