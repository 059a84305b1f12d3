"""The three services of the checkout without an orchestrator. They only subscribe and publish.

Some names trigger failures: a sku that begins with ``sold-out`` is not in stock, a customer whose name begins with
``declined`` has no money.

An event may arrive twice, so every effect is one row whose key is the order and the effect: a second one changes
nothing. What a handler publishes has the same id again, and leaves in one commit with the position of its event.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sagaline.sagas.examples.checkout_by_events import (
    Failed,
    Placed,
    Shipped,
    card_charged,
    card_declined,
    goods_reserved,
    order_failed,
    order_placed,
    order_shipped,
)
from sagaline.workers import Message, Worker

__all__ = ["ServiceBooks", "checkout_services"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS effects (order_id TEXT, what TEXT, PRIMARY KEY (order_id, what)) STRICT"


class ServiceBooks:
    """The effects of the services. Its calls block for some milliseconds: handlers that are not ``async`` make them."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)

    def note(self, order_id: str, what: str) -> None:
        """Records an effect; the same again changes nothing."""
        with closing(sqlite3.connect(self._path, timeout=10.0)) as connection, connection:
            connection.execute(_SCHEMA)
            connection.execute("INSERT OR IGNORE INTO effects VALUES (?, ?)", (order_id, what))

    def of(self, order_id: str) -> list[str]:
        """The effects for an order, in the order in which they were recorded."""
        with closing(sqlite3.connect(self._path, timeout=10.0)) as connection:
            connection.execute(_SCHEMA)
            rows = connection.execute("SELECT what FROM effects WHERE order_id = ? ORDER BY rowid", (order_id,))
            return [what for (what,) in rows]


def checkout_services(books: ServiceBooks) -> tuple[Worker, Worker, Worker]:
    """Stock, payment and shipping."""
    return _stock(books), _payment(books), _shipping(books)


def _stock(books: ServiceBooks) -> Worker:
    service = Worker("stock-service")

    @service.subscribes(order_placed)
    def reserve(event: Placed, message: Message) -> None:
        order = event.order
        if sold_out := [line.sku for line in order.lines if line.sku.startswith("sold-out")]:
            message.publish(order_failed, order.id, Failed(order_id=order.id, reason=f"{sold_out[0]} is sold out"))
            return
        books.note(order.id, "reserved")
        message.publish(goods_reserved, order.id, event)

    @service.subscribes(card_declined)
    def release(event: Placed, message: Message) -> None:
        order = event.order
        books.note(order.id, "released")
        message.publish(order_failed, order.id, Failed(order_id=order.id, reason="the bank declined the card"))

    return service


def _payment(books: ServiceBooks) -> Worker:
    service = Worker("payment-service")

    @service.subscribes(goods_reserved)
    def charge(event: Placed, message: Message) -> None:
        order = event.order
        if order.customer.startswith("declined"):
            message.publish(card_declined, order.id, event)
            return
        books.note(order.id, "charged")
        message.publish(card_charged, order.id, event)

    return service


def _shipping(books: ServiceBooks) -> Worker:
    service = Worker("shipping-service")

    @service.subscribes(card_charged)
    def ship(event: Placed, message: Message) -> None:
        order = event.order
        books.note(order.id, "shipped")
        message.publish(order_shipped, order.id, Shipped(order_id=order.id, tracking_number=f"T-{order.id}"))

    return service
